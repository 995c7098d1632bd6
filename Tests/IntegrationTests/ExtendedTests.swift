import Foundation
import TestSupport
import Testing

/// Extended headers of the real server: lengths of 64 bits, on a virtual disk that is larger than 32 bits can say. libnbd and qemu of Debian 12 do
/// without them, so it is a client of our own: Clients/extended.py.
@Suite(.serialized) struct ExtendedTests {
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/extended.py").path
  private static let byteCount: UInt64 = 8 << 40

  @Test(arguments: [[], ["--cache-memory", "64MiB"]]) func requestsOfTerabytesHoldUpNobody(arguments: [String]) async throws {
    let server = try SpaceportServer()
    try await server.start(extraArguments: arguments)
    try await server.makePool(disks: 2)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "8TiB")
    let output = try await succeed("/usr/bin/python3", Self.script, server.nbdSocket, "tank/disk", "\(Self.byteCount)", timeoutSeconds: 240)
    #expect(output.hasSuffix("all as it must be\n"), "\(output)")
    try await server.stop()
  }
}
