import Foundation
import TestSupport
import Testing

/// The server is killed in the middle of writes; what was flushed must be there.
@Suite(.serialized) struct KillTests {
  @Test func twentyKillsLoseNothingThatWasFlushed() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let writer = FlushedWriter(server)
    for round in 1...20 {
      // Killed at another point each round.
      try await writer.start(round: round, lines: 40 + (round * 37) % 300)
      try await server.end(SIGKILL)
      try await writer.finish()
      try await server.start()
      try await writer.check(round: round)
    }
    #expect(writer.lineCount > 1000)
    try await server.stop()
  }

  /// The same on a mirror of two copies on three disks of which one at a time is missing at a start, lost while clients write, or replaced:
  /// the kills hit the loss, the resynchronisation and the repair as well.
  @Test func fiftyKillsOfAMirrorWhoseDisksComeAndGoLoseNothing() async throws {
    let server = try SpaceportServer()
    let start = { try await server.startQuick(repairDelay: 300, diskWait: 0) }
    try await start()
    var disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    let writer = FlushedWriter(server)
    var freshCount = 0
    for round in 1...50 {
      let victim = round % 3
      let lines = 40 + (round * 37) % 200
      switch round % 5 {
      case 1:  // missing at the next start
        try await server.waitForPool("ok", health: "healthy")
        try await writer.write(round: round, lines: lines, thenEndBy: SIGKILL)
        _ = try FileManager.default.moved([disks[victim]], suffix: "-away")
        try await start()
        try await server.waitForPool("degraded", health: "warning")
        try await writer.check(round: round)
        try await writer.write(round: round + 1000, lines: lines, thenEndBy: SIGKILL)
        try FileManager.default.moveItem(atPath: disks[victim] + "-away", toPath: disks[victim])
      case 3:  // lost while clients write, and replaced; killed again in the midst of that
        try await server.waitForPool("ok", health: "healthy")
        try await writer.start(round: round, lines: lines)
        try FileManager.default.removeItem(atPath: disks[victim])
        try await server.waitForPool("degraded", health: "warning")
        freshCount += 1
        let fresh = try server.directory.sparseFile("fresh\(freshCount)", byteCount: 256 << 20)
        try await server.succeed("disk", "replace", disks[victim], fresh)
        disks[victim] = fresh
        try await server.end(SIGKILL)
        try await writer.finish()
      default: try await writer.write(round: round, lines: lines, thenEndBy: SIGKILL)
      }
      try await start()
      try await writer.check(round: round)
    }
    try await server.waitForPool("ok", health: "healthy")
    #expect(Set(try await server.pool().disks.map(\.path)) == Set(disks))
    #expect(writer.lineCount > 5000)
    try await server.expectCleanScrub()
    try await writer.check(round: 51)
    try await server.stop()
  }
}
