import Foundation
import TestSupport
import Testing

/// A mirror with a disk that does not answer any more: nobody waits for it longer than the stall limit, and it can come back.
@Suite(.serialized) struct StallTests {
  /// With `alsoAttributes` not even stat(2) of the disk's path returns.
  @Test(.enabled(if: FuseDisk.isAvailable, "needs FUSE"), arguments: [false, true])
  func aDiskThatHangsUnderFioIsGivenUpAndComesBack(alsoAttributes: Bool) async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let hanging = try await FuseDisk()
    let others = try (1...2).map { try server.directory.sparseFile("disk\($0)", byteCount: 256 << 20) }
    try await server.succeed(["pool", "create", "tank", hanging.path] + others)
    try await server.createMirror()
    let load = FioLoad(server, iops: 150)
    try await load.start()
    hanging.hang(alsoAttributes: alsoAttributes)
    try await server.waitForPool("to have given the disk up", timeoutSeconds: 30) { $0.disk(hanging.path)?.state == "lostCommunication" }
    #expect(load.isRunning)
    let lost = try #require(try await server.pool().disk(hanging.path))
    #expect(lost.reason?.contains("did not answer") == true, "\(lost)")

    // Whatever is asked about the disk while it hangs is answered soon, and keeps nothing else waiting.
    try await server.refuse(["pool", "add", "tank", hanging.path], saying: [hanging.path, "what it was sent"])
    for command in [["disk", "list"], ["pool", "show", "tank"], ["status"], ["stack"], ["event", "list"]] {
      try await server.succeed(command)
    }
    let other = try server.directory.sparseFile("other", byteCount: 256 << 20)
    try await server.succeed("pool", "create", "second", other)
    try await server.succeed("disk", "set", hanging.path, "--usage", "auto")
    try await load.finish()

    // What it was sent lands late; then it is taken back and brought up to date.
    hanging.resume()
    try await waitUntil(timeoutSeconds: 60, "the disk to be taken back") {
      try await server.spaceport("pool", "add", "tank", hanging.path).succeeded
    }
    try await server.waitForPool("ok", health: "healthy")
    #expect(try await server.events().contains("is up to date"))
    try await server.expectCleanScrub()
    try await load.verify()
    try await server.stop()
  }
}
