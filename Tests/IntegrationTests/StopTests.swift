import Foundation
import TestSupport
import Testing

/// SIGTERM under load: the server ends well, and everything that was answered is there afterwards.
@Suite(.serialized) struct StopTests {
  @Test func whatWasAnsweredBeforeAnOrderlyStopIsKept() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let writer = FlushedWriter(server)
    for round in 1...3 {
      try await writer.start(round: round, lines: 300)
      try await server.stop()
      try await writer.finish()
      try await server.start()
      try await writer.check(round: round)
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
    for command in [["vdisk", "list"], ["status"]] {
      let text = try await server.succeed(command)
      #expect(text.contains("waits for missing disks") && text.contains(disks[1]), "\(text)")
    }
    // The disk comes back, and with it the pool.
    try FileManager.default.moveItem(atPath: moved[0], toPath: disks[1])
    try await waitUntil("the pool to open by itself") {
      try await server.succeed("pool", "show", "tank", "--json").contains("\"state\" : \"ok\"")
    }
    try await server.stop()
  }

  @Test func aPoolWhoseDiskIsLostCanBeForgotten() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 2)
    try await server.stop()
    try FileManager.default.removeItem(atPath: disks[1])
    try await server.start()
    let other = try server.directory.sparseFile("other", byteCount: 256 << 20)
    // Its name is taken until then: it could never open beside another of that name.
    try await server.refuse(["pool", "create", "tank", other], saying: ["tank", "waits", "pool close tank"])
    try await server.succeed("pool", "close", "tank")
    #expect(try await server.succeed("pool", "list", "--json").contains("tank") == false)
    try await server.succeed("pool", "create", "tank", other)
    try await server.stop()
  }

  @Test func aSecondServerOnTheSameStateDirectoryIsRefused() async throws {
    try await SpaceportServer.run { server in
      let second = try await Program.run([
        SpaceportServer.binary, "serve", "--state-dir", server.stateDirectory, "--control", server.directory.file("other.sock"), "--listen",
        "unix:\(server.directory.file("other-nbd.sock"))",
      ])
      #expect(!second.succeeded && second.errors.contains("state directory"), "\(second.errors)")
    }
  }
}
