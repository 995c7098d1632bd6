import Foundation
import Testing

/// SIGTERM under load: the server ends well, and everything that was answered is there afterwards.
@Suite(.serialized) struct StopTests {
  @Test func whatWasAnsweredBeforeAnOrderlyStopIsKept() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let log = server.directory.file("writes")
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    for round in 1...3 {
      let writer = Process()
      writer.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
      writer.arguments = [KillTests.writer, "write", server.uri("tank/disk"), log, "\(round)"]
      try writer.runWithoutBlockedSignals()
      let wanted = KillTests.lineCount(log) + 300
      try await waitUntil("the writer to have written") { KillTests.lineCount(log) >= wanted }
      try await server.stop()
      try await waitUntil("the writer to see that the server is gone") { !writer.isRunning }
      try await server.start()
      try await succeed("/usr/bin/python3", KillTests.writer, "check", server.uri("tank/disk"), log)
    }
    try await server.stop()
  }

  @Test func aPoolWithAMissingDiskDoesNotKeepTheOthersFromStarting() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 2)
    let other = try server.directory.sparseFile("other", byteCount: 256 << 20)
    try await server.succeed("pool", "create", "second", other)
    try await server.stop()
    let moved = try FileManager.default.moved([disks[1]], suffix: "-away")
    try await server.start()
    let list = try await server.succeed("pool", "list", "--json")
    #expect(list.contains("\"starting\"") && list.contains("\"ok\""), "\(list)")
    try await server.refuse(["vdisk", "create", "tank/disk", "--size", "1GiB"], saying: ["tank", disks[1]])
    // The disk comes back, and with it the pool.
    try FileManager.default.moveItem(atPath: moved[0], toPath: disks[1])
    try await waitUntil("the pool to open by itself") {
      try await server.succeed("pool", "show", "tank", "--json").contains("\"state\" : \"ok\"")
    }
    try await server.stop()
  }

  @Test func aSecondServerOnTheSameStateDirectoryIsRefused() async throws {
    try await SpaceportServer.run { server in
      let second = try await Command.run([
        SpaceportServer.binary, "serve", "--state-dir", server.stateDirectory, "--control", server.directory.file("other.sock"), "--listen",
        "unix:\(server.directory.file("other-nbd.sock"))",
      ])
      #expect(!second.succeeded && second.errors.contains("state directory"), "\(second.errors)")
    }
  }
}
