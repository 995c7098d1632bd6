import Foundation
import TestSupport
import Testing

/// What a thousand clients cost that do nothing.
@Suite(.serialized) struct IdleMemoryTests {
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/idle.py").path
  private static let connections = 1000
  private static let limit = 64 << 20

  @Test(arguments: ["in the clear", "by TLS"]) func aThousandIdleConnectionsCostLittle(_ come: String) async throws {
    let certificates = come == "by TLS" ? try await TestCertificates.make().server : nil
    let server = try SpaceportServer()
    try await server.start(extraArguments: certificates.map { ["--tls", "offer", "--tls-certificates", $0] } ?? [])
    try await server.makePool(disks: 2)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    // Data, so that the reads are none of zeros.
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 1 0 2M", "-c", "flush")
    let before = try server.residentByteCount
    let clients = Process()
    clients.executableURL = URL(fileURLWithPath: "/bin/sh")
    clients.arguments =
      [
        "-c", "ulimit -n $(ulimit -Hn); exec /usr/bin/python3 \"$@\"", "sh", Self.script, server.nbdSocket, "tank/disk",
        "\(Self.connections)",
      ] + (certificates.map { ["\($0)/ca-cert.pem"] } ?? [])
    let input = Pipe()
    clients.standardInput = input
    clients.standardOutput = try server.directory.createFile("clients")
    clients.standardError = try server.directory.createFile("client-errors")
    try clients.runWithoutBlockedSignals()
    defer { if clients.isRunning { kill(clients.processIdentifier, SIGKILL) } }
    try await waitUntil(timeoutSeconds: 120, "the clients to have read") {
      if clients.hasEnded { throw ProgramFailure(description: "the clients ended: \(server.directory.text("client-errors"))") }
      return server.directory.text("clients") == "idle\n"
    }
    let busy = try server.residentByteCount - before
    // What their reads have made is given back when they have asked for nothing for 10 s.
    var idle = busy
    try? await waitUntil("the memory to be given back") {
      idle = try server.residentByteCount - before
      return idle < Self.limit
    }
    print("\(Self.connections) connections \(come) cost \(busy >> 20) MiB after their reads, \(idle >> 20) MiB when idle")
    #expect(idle < Self.limit)
    // They are served on.
    try input.fileHandleForWriting.close()
    try await waitUntil("the clients to be served once more") { clients.hasEnded }
    #expect(server.directory.text("clients") == "idle\nserved\n", "\(server.directory.text("client-errors"))")
    try await server.stop()
  }
}
