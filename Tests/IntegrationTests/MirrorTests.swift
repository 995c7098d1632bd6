import Foundation
import TestSupport
import Testing

/// Mirrors on the real server and real files: disks that are lost, come back, and are replaced.
@Suite(.serialized) struct MirrorTests {
  /// Short waits, so that the tests are quick; all else as in real life.
  private static let quick = ["--disk-wait", "2", "--repair-delay", "1"]

  private func started() async throws -> SpaceportServer {
    let server = try SpaceportServer()
    try await server.start(extraArguments: Self.quick)
    return server
  }

  private func createMirror(_ server: SpaceportServer, copies: Int = 2) async throws {
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB", "--resiliency", "mirror", "--copies", "\(copies)")
  }

  private func waitForPool(_ server: SpaceportServer, _ state: String, health: String) async throws {
    var text = ""
    try await waitUntil(
      timeoutSeconds: 60, "the pool to be \(state), \(health); it is:\n\(text)\nThe server's log: \(server.log.suffix(3000))"
    ) {
      text = try await server.spaceport("pool", "show", "tank", "--json").output
      if let pool = try Pool(text), pool.state == state, pool.health == health { return true }
      // Each look runs a program: a few a second are enough.
      try await Task.sleep(for: .milliseconds(200))
      return false
    }
  }

  /// What the tests look at of `pool show --json`.
  private struct Pool: Decodable {
    struct Disk: Decodable {
      var path: String
      var number: Int
      var state: String
      var health: String
      var allocatedBytes: UInt64
      var nextStep: String?
    }
    var state: String
    var health: String
    var disks: [Disk]

    init?(_ text: String) throws {
      if text.isEmpty { return nil }
      self = try JSONDecoder().decode(Pool.self, from: Data(text.utf8))
    }
  }

  private func pool(_ server: SpaceportServer) async throws -> Pool {
    try #require(try Pool(try await server.succeed("pool", "show", "tank", "--json")))
  }

  // MARK: Losing a disk while serving

  @Test func aDiskThatIsDeletedUnderFioIsReplacedWithoutAnyErrorForClients() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await createMirror(server)
    let job = [
      "fio", "--name=load", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--size=48M", "--rw=randwrite", "--bs=16k",
      "--iodepth=8", "--fsync=16", "--verify=crc32c", "--loops=1",
    ]
    async let load = Program.run(job + ["--rate_iops=400", "--do_verify=1"], timeoutSeconds: 300)
    try await waitUntil("fio to have written") {
      try await self.pool(server).disks.allSatisfy { $0.allocatedBytes > 4 << 20 }
    }
    try FileManager.default.removeItem(atPath: disks[1])
    try await waitForPool(server, "degraded", health: "warning")
    let result = try await load
    #expect(result.succeeded, "fio: \(result.output)\(result.errors)")
    let lost = try #require(try await pool(server).disks.first { $0.path == disks[1] })
    #expect(lost.number == 2 && lost.state == "failedMedia" && lost.health == "unhealthy" && lost.nextStep?.contains("replace") == true)
    #expect(try await server.succeed("event", "list", "tank").contains("diskEvicted"))
    #expect(try await server.succeed("status").contains("goes on without \(disks[1])"))

    let fresh = try server.directory.sparseFile("fresh", byteCount: 256 << 20)
    try await server.succeed("pool", "add", "tank", fresh)
    let removed = try await server.succeed("pool", "remove", "tank", "2")
    #expect(removed.hasSuffix("is removed from pool tank.\n"))
    try await waitForPool(server, "ok", health: "healthy")
    #expect(try await pool(server).disks.map(\.path) == [disks[0], disks[2], fresh])
    try await server.expectCleanScrub()
    let again = try await Program.run(job + ["--verify_only=1"], timeoutSeconds: 120)
    #expect(again.succeeded, "fio: \(again.output)\(again.errors)")
    try await server.stop()
  }

  @Test func aDiskThatWasCutIsNotTrustedAgainEvenAtItsFullSize() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await createMirror(server)
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 200)
    try await succeed("truncate", "-s", "30M", disks[0])
    try await waitForPool(server, "degraded", health: "warning")
    let before = writer.lineCount
    try await waitUntil("the writer to go on") { writer.lineCount > before + 200 }
    try await server.end(SIGKILL)
    try await writer.finish()
    try await succeed("truncate", "-s", "256M", disks[0])
    try await server.start(extraArguments: Self.quick)
    try await waitForPool(server, "degraded", health: "warning")
    #expect(try await pool(server).disks.first?.state == "failedMedia")
    try await writer.check(round: 1)
    // The operator may: as a new disk.
    try await server.refuse(["pool", "add", "tank", disks[0]], saying: ["belongs to the pool tank", "--force"])
    try await server.succeed("pool", "add", "tank", disks[0], "--force")
    try await server.succeed("pool", "remove", "tank", "1")
    try await waitForPool(server, "ok", health: "healthy")
    try await writer.check(round: 2)
    try await server.stop()
  }

  // MARK: Starting without a disk

  @Test func aTwoDiskMirrorStartsWithEitherDiskOnceItIsUpToDate() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await createMirror(server)
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 200)
    try await server.end(SIGKILL)
    try await writer.finish()
    for (round, away) in [(2, disks[1]), (3, disks[0]), (4, disks[1])] {
      try FileManager.default.moveItem(atPath: away, toPath: away + "-away")
      try await server.start(extraArguments: Self.quick)
      try await waitForPool(server, "degraded", health: "warning")
      #expect(server.log.contains("was opened without \(away)"))
      try await writer.check(round: round)
      try await writer.start(round: round, lines: 200)
      try FileManager.default.moveItem(atPath: away + "-away", toPath: away)
      try await waitForPool(server, "ok", health: "healthy")
      try await server.end(SIGKILL)
      try await writer.finish()
    }
    try await server.start(extraArguments: Self.quick)
    try await writer.check(round: 5)
    try await server.expectCleanScrub()
    try await server.stop()
  }

  @Test func theStaleHalfNeverStartsAlone() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await createMirror(server)
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 100)
    try await server.end(SIGKILL)
    try await writer.finish()
    try FileManager.default.moveItem(atPath: disks[1], toPath: disks[1] + "-away")
    try await server.start(extraArguments: Self.quick)
    try await waitForPool(server, "degraded", health: "warning")
    try await writer.check(round: 2)
    try await writer.start(round: 2, lines: 100)
    try await server.end(SIGKILL)
    try await writer.finish()
    // Now only the disk that was left behind.
    try FileManager.default.moveItem(atPath: disks[0], toPath: disks[0] + "-away")
    try FileManager.default.moveItem(atPath: disks[1] + "-away", toPath: disks[1])
    try await server.start(extraArguments: Self.quick)
    try await waitForPool(server, "incomplete", health: "unhealthy")
    try await server.refuse(["vdisk", "show", "tank/disk"], saying: ["tank"])
    try await server.refuse(["pool", "open", disks[1]], saying: ["tank"])
    try FileManager.default.moveItem(atPath: disks[0] + "-away", toPath: disks[0])
    try await waitForPool(server, "ok", health: "healthy")
    try await writer.check(round: 3)
    try await server.stop()
  }

  @Test func withoutAMajorityTheOperatorDecidesAndIsToldHow() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await createMirror(server)
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 100)
    try await server.end(SIGKILL)
    try await writer.finish()
    // Another machine: the witness is not there.
    try FileManager.default.removeItem(atPath: server.stateDirectory)
    try await server.start(extraArguments: Self.quick)
    try await server.refuse(["pool", "open", disks[0]], saying: ["Missing", disks[1], "pool open \(disks[0]) --accept-loss"])
    try await server.refuse(["pool", "open", disks[0], "--accept-loss", "7"], saying: ["misses no disk 7", disks[1]])
    try await server.succeed("pool", "open", disks[0], "--accept-loss", disks[1])
    try await writer.check(round: 2)
    try await server.stop()
  }

  @Test func aVirtualDiskThatLacksDataIsOfflineAloneAndComesBack() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await createMirror(server)
    try await server.succeed("vdisk", "create", "tank/simple", "--size", "64MiB")
    let written = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/simple"), "-c", "write -P 7 0 32M", "-c", "flush"])
    #expect(written.succeeded)
    try await server.stop()
    try FileManager.default.moveItem(atPath: disks[2], toPath: disks[2] + "-away")
    try await server.start(extraArguments: Self.quick)
    try await waitForPool(server, "degraded", health: "unhealthy")
    let shown = try await server.succeed("vdisk", "show", "tank/simple")
    #expect(shown.contains("detached") && shown.contains("no whole copy") && shown.contains(disks[2]), "\(shown)")
    let refused = try await Program.run(["nbdinfo", server.uri("tank/simple")])
    #expect(!refused.succeeded)
    try await succeed("nbdinfo", server.uri("tank/disk"))
    try FileManager.default.moveItem(atPath: disks[2] + "-away", toPath: disks[2])
    try await waitForPool(server, "ok", health: "healthy")
    let read = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/simple"), "-c", "read -P 7 0 32M"])
    #expect(read.succeeded && !read.output.contains("verification failed"), "\(read.text)")
    try await server.stop()
  }

  // MARK: By the operator

  @Test func disksAreAddedReplacedAndRetired() async throws {
    let server = try await started()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.refuse(
      ["vdisk", "create", "tank/disk", "--size", "64MiB", "--resiliency", "mirror", "--copies", "3"],
      saying: ["3 copies", "3 disks", "has 2"])
    try await createMirror(server)
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 100)
    #expect(try await server.succeed("pool", "show", "tank").contains("has no reserve"))

    let fresh = try (3...5).map { try server.directory.sparseFile("disk\($0)", byteCount: 256 << 20) }
    try await succeed("mkfs.ext4", "-q", "-F", fresh[0])
    try await server.refuse(["pool", "add", "tank", fresh[0]], saying: ["ext4", "--force"])
    try await server.succeed("pool", "add", "tank", fresh[0], "--force", "--usage", "hotspare")
    try await waitForPool(server, "ok", health: "healthy")
    #expect(try await !server.succeed("pool", "show", "tank").contains("has no reserve"))

    try await server.succeed("disk", "replace", disks[0], fresh[1])
    try await server.succeed("job", "watch", "tank")
    #expect(try await pool(server).disks.map(\.path) == [disks[1], fresh[0], fresh[1]])
    // The old one is nobody's any more.
    #expect(try await Program.run(["wipefs", disks[0]]).output.isEmpty)

    try await server.succeed("disk", "set", "--pool", "tank", "3", "--usage", "auto")
    try await server.succeed("pool", "add", "tank", fresh[2])
    try await server.succeed("pool", "optimize", "tank")
    try await server.succeed("job", "watch", "tank")
    let allocated = try await pool(server).disks.map(\.allocatedBytes)
    #expect((allocated.max() ?? 0) - (allocated.min() ?? 0) <= 4 << 20, "not equally full: \(allocated)")
    try await server.succeed("pool", "remove", "tank", disks[1])
    #expect(try await pool(server).disks.map(\.path) == fresh)
    try await server.end(SIGKILL)
    try await writer.finish()
    try await server.start(extraArguments: Self.quick)
    try await waitForPool(server, "ok", health: "healthy")
    try await writer.check(round: 2)
    try await server.stop()
  }
}
