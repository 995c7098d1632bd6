import Foundation
import TestSupport
import Testing

/// What a user sees of a pool that waits for its disks, and of a second server.
@Suite(.serialized) struct StartingTests {
  @Test func aPoolThatWaitsSaysForWhatAndUntilWhen() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    try await server.stop()
    _ = try FileManager.default.moved([disks[1]], suffix: "-away")
    let began = ContinuousClock.now
    try await server.startQuick(diskWait: 6)
    // The control socket answers meanwhile.
    #expect(ContinuousClock.now - began < .seconds(5))
    for command in [["pool", "list"], ["pool", "show", "tank"], ["status"]] {
      let text = try await server.succeed(command)
      #expect(text.contains("waits for missing disks: \(disks[1]) (disk 2), for another") && text.contains("goes on without"), "\(text)")
    }
    #expect(try await server.pool().state == "starting")
    try await server.waitForPool("degraded", health: "warning", timeoutSeconds: 15)
    #expect(ContinuousClock.now - began > .seconds(6))
    #expect(try await server.events().contains("was opened without \(disks[1])"))
    try await succeed("nbdinfo", server.uri("tank/disk"))
    try await server.stop()
  }

  /// The second has all that the first has: a copy of its state directory, and so a witness, too.
  @Test func aSecondServerThatKnowsThePoolNeverOpensItBesideTheFirst() async throws {
    let first = try await SpaceportServer.startedQuick()
    let disks = try await first.makePool(disks: 2, diskByteCount: 256 << 20)
    try await first.createMirror()
    let second = try SpaceportServer()
    try await succeed("cp", "-r", first.stateDirectory, second.stateDirectory)
    try await second.startQuick(diskWait: 1)
    let writer = FlushedWriter(first)
    try await writer.start(round: 1, lines: 100)
    try await second.waitForPool("to have waited in vain") { pool in
      pool.state == "incomplete" && pool.reason?.contains("in use by another server (locked by process \(first.processID)") == true
    }
    try await second.refuse(["pool", "open"] + disks, saying: ["in use by another server", "\(first.processID)", "Stop that server"])
    try await first.end(SIGKILL)
    try await writer.finish()
    // Now it may, and needs nobody to tell it so.
    try await second.waitForPool("ok", health: "healthy", timeoutSeconds: 20)
    try await first.startQuick()
    try await first.waitForPool("to be the other's") { $0.reason?.contains("in use by another server") == true }
    try await second.stop()
    try await first.waitForPool("ok", health: "healthy", timeoutSeconds: 20)
    try await writer.check(round: 2)
    try await first.stop()
  }

  @Test func aSecondServerOnTheSameControlSocketIsRefused() async throws {
    try await SpaceportServer.run { server in
      let second = try await Program.run([
        SpaceportServer.binary, "serve", "--state-dir", server.directory.file("other-state"), "--control", server.controlSocket, "--listen",
        "unix:\(server.directory.file("other-nbd.sock"))",
      ])
      #expect(
        !second.succeeded && second.errors.contains(server.controlSocket) && second.errors.contains("already running"), "\(second.errors)")
      // The first is none the worse for it.
      try await server.succeed("status")
    }
  }
}
