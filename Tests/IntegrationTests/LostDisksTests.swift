import Foundation
import TestSupport
import Testing

/// Disks that are pulled away under load, also two at once: what MirrorTests does not do with one file.
@Suite(.serialized) struct LostDisksTests {
  @Test func aThreeWayMirrorLosesTwoDisksUnderFio() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror(copies: 3)
    let load = FioLoad(server)
    try await load.start()
    // At the same moment: one of three is no majority, the witness has to do.
    try await succeed("truncate", "-s", "30M", disks[0])
    try FileManager.default.removeItem(atPath: disks[2])
    try await server.waitForPool("to have lost both") { $0.disks.count { $0.state == "failedMedia" } == 2 }
    #expect(load.isRunning)
    try await load.finish()
    #expect(try await server.pool().state == "degraded")
    let status = try await server.succeed("status")
    #expect(status.contains("goes on without \(disks[0]), \(disks[2])"), "\(status)")
    // Also after a kill the one that stayed speaks for the pool.
    try await server.end(SIGKILL)
    try await server.startQuick(repairDelay: 300)
    try await server.waitForPool("degraded", health: "warning")
    try await load.verify()
    for (index, number) in [1, 3].enumerated() {
      let fresh = try server.directory.sparseFile("fresh\(index)", byteCount: 256 << 20)
      try await server.succeed("disk", "replace", "--pool", "tank", "\(number)", fresh)
    }
    try await server.succeed("job", "watch", "tank")
    try await server.waitForPool("ok", health: "healthy")
    #expect(try await server.pool().disks.map(\.number) == [2, 4, 5])
    try await server.expectCleanScrub()
    try await load.verify()
    try await server.stop()
  }

  /// A file that is only renamed is the same disk: nothing happens but that it is found under its new name.
  @Test func aFileThatIsRenamedUnderFioGoesOnServing() async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let load = FioLoad(server, size: "24M")
    try await load.start()
    let moved = try FileManager.default.moved([disks[1]], suffix: "-moved")
    try await load.finish()
    let pool = try await server.pool()
    #expect(pool.state == "ok" && pool.health == "healthy")
    try await server.stop()
    try await server.start()
    try await server.succeed("pool", "open", disks[0], moved[0])
    #expect(try await server.pool().disks.map(\.path) == [disks[0], moved[0]])
    try await server.expectCleanScrub()
    try await load.verify()
    try await server.stop()
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices")) func aBlockDeviceThatShrinksUnderFioIsReplaced() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let loops = try (0..<3).map { _ in try LoopDevice(sector: 512, byteCount: 256 << 20) }
    let paths = loops.map(\.path)
    try await server.succeed(["pool", "create", "tank"] + paths[0..<2])
    try await server.createMirror()
    let load = FioLoad(server)
    try await load.start()
    try loops[1].shrink(to: 20 << 20)
    try await server.waitForPool("degraded", health: "warning")
    try await load.finish()
    let lost = try #require(try await server.pool().disk(paths[1]))
    #expect(lost.state == "failedMedia", "\(lost)")
    try await server.succeed("disk", "replace", paths[1], paths[2])
    try await server.succeed("job", "watch", "tank")
    try await server.waitForPool("ok", health: "healthy")
    try await server.expectCleanScrub()
    try await load.verify()
    try await server.stop()
  }
}
