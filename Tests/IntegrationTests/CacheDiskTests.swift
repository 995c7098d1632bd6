import Foundation
import TestSupport
import Testing

/// Cache disks as a person uses them. Whatever becomes of one, no client sees an error or a wrong byte.
@Suite(.serialized) struct CacheDiskTests {
  @Test func aCacheDiskIsAddedUnderLoadServesReadsAndIsTakenOut() async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    let load = FioLoad(server)
    try await load.start()
    let before = try await server.pool()
    let cache = try await server.addCacheDisk("cache1")
    try await load.finish()
    for _ in 0..<2 { try await load.verify() }

    let pool = try await server.pool()
    #expect(pool.disk(cache)?.usage == "cache" && pool.disk(cache)?.number == 4)
    #expect(disks.allSatisfy { pool.disk($0)?.cachedBy == cache }, "\(pool.disks)")
    #expect(pool.capacityBytes == before.capacityBytes && pool.disk(cache)?.allocatedBytes ?? 0 > 16 << 20, "\(pool)")
    let report = try #require(try await server.cacheDisks().first)
    #expect(report.counters.fills > 1000 && report.counters.hits > 1000 && report.counters.checksumErrors == 0, "\(report)")
    #expect(report.disks.count == 3 && report.virtualDisks.first { $0.name == "tank/disk" }?.counters.hits == report.counters.hits)
    #expect(try await server.succeed("stack", "--json").contains("cached on "))
    #expect(try await server.succeed("cache", "show", "tank").contains("disk 4 of the pool tank"))

    let text = ["disk", "set", "--pool", "tank", "4", "--usage", "auto"]
    try await server.refuse(text, saying: ["is a cache disk", "spaceport pool remove tank 4"])
    try await server.refuse(["disk", "set", disks[0], "--usage", "cache"], saying: ["cannot be made a cache disk", "--usage cache"])
    let other = try server.directory.sparseFile("cache2", byteCount: 128 << 20)
    try await server.succeed("disk", "replace", cache, other)
    #expect(try await server.pool().disks.map(\.path) == disks + [other])
    try await server.succeed("pool", "remove", "tank", other)
    #expect(try await server.pool().disks.map(\.path) == disks)
    #expect(try await server.cacheDisks().isEmpty)
    try await load.verify()
    try await server.stop()
  }

  /// After a clean stop nothing has to be read from the disks; after a kill nothing is believed.
  @Test func aCleanRestartIsWarmAndOneAfterAKillIsCold() async throws {
    let server = try await SpaceportServer.startedQuick()
    try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let cache = try await server.addCacheDisk("cache1")
    let load = FioLoad(server)
    try await load.start()
    try await load.finish()
    for _ in 0..<2 { try await load.verify() }
    try await server.stop()
    let closed = try await Program.run([SpaceportServer.binary, "inspect", cache])
    #expect(closed.succeeded && closed.output.contains("in order, with ") && closed.output.contains("cache header"), "\(closed.text)")
    #expect(closed.output.split(separator: "\n").count { $0.hasPrefix("Caches") } == 2, "\(closed.text)")

    try await server.startQuick()
    let warm = try #require(try await server.cacheDisks().first?.counters.warm)
    #expect(warm > 1000)
    try await load.verify()
    let report = try #require(try await server.cacheDisks().first)
    #expect(report.counters.hits > 1000 && report.counters.hits > 20 * report.counters.misses, "\(report)")
    try await server.end(SIGKILL)

    try await server.startQuick()
    #expect(try await server.cacheDisks().first?.counters.warm == 0)
    try await load.verify()
    #expect(try await server.cacheDisks().first?.counters.checksumErrors == 0)
    try await server.stop()
  }

  @Test func killsUnderLoadLoseNothing() async throws {
    let server = try await SpaceportServer.startedQuick()
    try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    _ = try await server.addCacheDisk("cache1")
    let writer = FlushedWriter(server)
    for round in 1...8 {
      try await writer.start(round: round, lines: 40 + (round * 37) % 300)
      try await server.end(round % 3 == 0 ? SIGTERM : SIGKILL)
      try await writer.finish()
      try await server.startQuick()
      try await writer.check(round: round)
    }
    try await server.stop()
  }

  enum Loss: CaseIterable { case deleted, truncated, garbage, allGarbage }

  /// While fio writes and checks.
  @Test(arguments: Loss.allCases) func aCacheDiskIsLostUnderLoad(_ loss: Loss) async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    let cache = try await server.addCacheDisk("cache1")
    let load = FioLoad(server)
    try await load.start()
    try await destroy(cache, loss, server)
    try await load.finish()
    for _ in 0..<2 { try await load.verify() }
    if loss == .deleted || loss == .truncated {
      try await server.waitForPool("to go on without its cache disk") { $0.disk(cache)?.health == "warning" }
      let pool = try await server.pool()
      #expect(pool.state == "ok" && pool.health == "healthy", "\(pool)")
      #expect(pool.warnings.contains { $0.contains("slower, and nothing is lost") && $0.contains("spaceport pool remove tank 4") })
      #expect(disks.allSatisfy { pool.disk($0)?.cachedBy == nil })
      #expect(try await server.events().contains("is not used as a cache disk any more"))
    }
    try await server.succeed("pool", "remove", "tank", "4")
    try await server.waitForPool("to have let it go") { $0.disks.count == 3 }
    try await load.verify()
    try await server.expectCleanScrub()
    try await server.stop()
  }

  private func destroy(_ path: String, _ loss: Loss, _ server: SpaceportServer) async throws {
    switch loss {
    case .deleted: try FileManager.default.removeItem(atPath: path)
    case .truncated: try await succeed("truncate", "-s", "1M", path)
    case .garbage:
      // From the first page on, but for the superblocks.
      try await succeed("dd", "if=/dev/urandom", "of=\(path)", "bs=1M", "seek=8", "count=112", "conv=notrunc")
    case .allGarbage: try await succeed("dd", "if=/dev/urandom", "of=\(path)", "bs=1M", "count=128", "conv=notrunc")
    }
  }

  /// Cache disks change their places, or come from the past, while the server is stopped.
  @Test func swappedAndOldCacheDisksAreNotBelieved() async throws {
    let server = try await SpaceportServer.startedQuick()
    try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let caches = [try await server.addCacheDisk("cache1"), try await server.addCacheDisk("cache2")]
    let load = FioLoad(server)
    try await load.start()
    try await load.finish()
    for _ in 0..<2 { try await load.verify() }
    try await server.stop()
    for cache in caches { try await succeed("cp", "--sparse=always", cache, cache + "-old") }

    // Other data, then the first in the place of the second, and the old one for the first.
    try await server.startQuick()
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 7 0 48M", "-c", "flush")
    try await server.stop()
    let files = FileManager.default
    try files.moveItem(atPath: caches[0], toPath: caches[0] + "-new")
    try files.moveItem(atPath: caches[1], toPath: caches[0])
    try files.moveItem(atPath: caches[0] + "-new", toPath: caches[1])
    try await server.startQuick()
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P 7 0 48M")
    #expect(try await server.cacheDisks().count == 2)
    try await server.stop()

    for cache in caches { try files.removeItem(atPath: cache) }
    for cache in caches { try files.moveItem(atPath: cache + "-old", toPath: cache) }
    try await server.startQuick()
    let pool = try await server.pool()
    #expect(pool.state == "ok")
    #expect(pool.disks.map(\.path).sorted() == Set(pool.disks.map(\.path)).sorted(), "each disk once")
    for _ in 0..<2 {
      try await succeed(
        "fio", "--name=check", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--rw=randread", "--bs=16k", "--size=48M",
        "--iodepth=8")
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P 7 0 48M")
    }
    try await server.stop()
  }

  /// The pool does not wait for it, is whole without it, and takes it back.
  @Test func aMissingCacheDiskIsNotWaitedFor() async throws {
    let server = try await SpaceportServer.startedQuick()
    try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let cache = try await server.addCacheDisk("cache1")
    try await server.stop()
    try FileManager.default.moveItem(atPath: cache, toPath: cache + "-away")
    try await server.startQuick(diskWait: 600)
    let pool = try await server.pool()
    #expect(pool.state == "ok" && pool.health == "healthy" && pool.disk(cache)?.state == "lostCommunication", "\(pool)")
    #expect(pool.warnings.contains { $0.contains(cache) })
    try FileManager.default.moveItem(atPath: cache + "-away", toPath: cache)
    try await server.waitForPool("to have its cache disk back") { $0.disk(cache)?.state == "ok" }
    #expect(try await server.pool().disks.filter { $0.usage == "auto" }.allSatisfy { $0.cachedBy == cache })
    try await server.stop()
  }
}

/// What `cache show` says of a cache disk, as far as tests need it.
struct CacheDiskState: Decodable {
  struct Counters: Decodable, Equatable {
    var hits = 0
    var misses = 0
    var fills = 0
    var checksumErrors = 0
    var warm = 0
  }
  struct Part: Decodable {
    var name: String
    var counters: Counters
  }
  var path: String
  var counters: Counters
  var disks: [Part]
  var virtualDisks: [Part]
}

extension SpaceportServer {
  func cacheDisks() async throws -> [CacheDiskState] {
    struct Report: Decodable { var cacheDisks: [CacheDiskState] }
    return try JSONDecoder().decode(Report.self, from: Data(try await succeed("cache", "show", "--json").utf8)).cacheDisks
  }

  func addCacheDisk(_ name: String) async throws -> String {
    let path = try directory.sparseFile(name, byteCount: 128 << 20)
    try await succeed("pool", "add", "tank", path, "--usage", "cache")
    return path
  }
}
