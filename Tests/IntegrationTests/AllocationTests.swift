import Foundation
import TestSupport
import Testing

/// The data path allocates nothing per request: slots, buffers and tasks are made as depth grows and kept. Counted, not timed.
@Suite(.serialized) struct AllocationTests {
  private static let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/count_malloc.c")
    .path

  private static let simpleClient = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/simple.py")
    .path

  @Test(arguments: ["randread", "randwrite"]) func requestsAllocateNothing(pattern: String) async throws {
    let (server, counter) = try await start()
    try await expectNoAllocations(pattern, server, counter)
    let cache = try await server.cache()
    #expect(cache.pages == 0 && cache.counters == .init(), "there is a cache that nobody asked for: \(cache)")
    try await server.stop()
  }

  /// The same with simple replies, which is how the kernel's client asks; fio's agrees on structured ones.
  @Test(arguments: ["randread", "randwrite"]) func requestsWithSimpleRepliesAllocateNothing(pattern: String) async throws {
    let (server, counter) = try await start()
    try await expectNoAllocations(counter) { requests in
      try await Program.succeed(["/usr/bin/python3", Self.simpleClient, server.nbdSocket, "tank/disk", pattern, "\(requests)"])
    }
    try await server.stop()
  }

  /// The same for a partition of it, and for the whole disk while that is open and every write is compared with where its table lies.
  @Test func requestsOfPartitionsAllocateNothing() async throws {
    let (server, counter) = try await start()
    try await server.succeed("partition", "init", "tank/disk", "--yes")
    try await server.succeed("partition", "create", "tank/disk", "--size", "40MiB")
    let holder = try await PartitionHolder(server, export: "tank/disk/1")
    holder.pause()
    for export in ["tank/disk/1", "tank/disk"] {
      for pattern in ["randread", "randwrite"] { try await expectNoAllocations(pattern, server, counter, export: export, offset: "2M") }
    }
    try await holder.leave()
    try await server.stop()
  }

  /// Of pages that are there: nothing else is done for them than to send them.
  @Test func cacheHitsAllocateNothing() async throws {
    let (server, counter) = try await start("--cache-memory", "128MiB")
    try await fillCache(server)
    let before = try await server.cache().counters
    try await expectNoAllocations("randread", server, counter)
    let after = try await server.cache().counters
    #expect(after.hits - before.hits >= 24_000 && after.misses == before.misses, "not all were hits: \(before), then \(after)")
    try await server.stop()
  }

  /// Writes that refresh cached pages, and reads of what does not fit, so that pages come and go all the time.
  @Test(arguments: ["randwrite", "randread"]) func cachedPagesComeAndGoWithoutAllocations(pattern: String) async throws {
    let (server, counter) = try await start("--cache-memory", "32MiB")
    try await fillCache(server)
    try await expectNoAllocations(pattern, server, counter)
    let cache = try await server.cache()
    #expect(cache.counters.evictions > 1000 && (pattern == "randread" || cache.counters.refreshedBytes > 0), "\(cache)")
    try await server.stop()
  }

  /// Every block is read once, in no order that looks like a run.
  private func fillCache(_ server: SpaceportServer) async throws {
    try await succeed(
      "fio", "--name=fill", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--rw=randread", "--bs=4k", "--size=64M", "--iodepth=16")
  }

  /// A server that counts its allocations in a file, with a virtual disk that is written all over.
  private func start(_ arguments: String...) async throws -> (server: SpaceportServer, counter: String) {
    let server = try SpaceportServer()
    let library = server.directory.file("count.so")
    try await succeed("clang", "-O1", "-shared", "-fPIC", "-o", library, AllocationTests.source, "-ldl")
    let counter = server.directory.file("count")
    try await server.start(extraArguments: arguments, environment: ["LD_PRELOAD": library, "COUNT_MALLOC_FILE": counter])
    try await server.makePool(disks: 2)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB", "--provisioning", "fixed")
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 1 0 64M", "-c", "flush")
    return (server, counter)
  }

  private func expectNoAllocations(
    _ pattern: String, _ server: SpaceportServer, _ counter: String, export: String = "tank/disk", offset: String = "0"
  ) async throws {
    let target = [
      "--name=count", "--ioengine=nbd", "--uri=\(server.uri(export))", "--rw=\(pattern)", "--offset=\(offset)",
      "--size=\(offset == "0" ? "64M" : "32M")",
    ]
    try await expectNoAllocations(counter) { requests in
      try await Program.succeed(
        ["fio"] + target + ["--bs=4k", "--iodepth=16", "--norandommap", "--number_ios=\(requests)", "--io_size=1G"])
    }
  }

  /// - Parameter load: sends so many requests on one connection.
  private func expectNoAllocations(_ counter: String, load: (Int) async throws -> Void) async throws {
    var counts: [Int] = []
    for requests in [2_000, 22_000] {
      let before = try read(counter)
      try await load(requests)
      counts.append(try read(counter) - before)
    }
    // The same connection and depth both times: what differs is 20,000 requests, and the seconds they take: the clock and the housekeeping
    // allocate a few a second.
    let perRequest = Double(max(0, counts[1] - counts[0])) / 20_000
    print("\(counts) allocations for 2,000 and 22,000 requests")
    #expect(perRequest < 0.1, "\(perRequest) allocations a request (\(counts))")
  }

  private func read(_ path: String) throws -> Int {
    let bytes = try #require(FileManager.default.contents(atPath: path))
    return bytes.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self)) }
  }
}

/// What `cache show` says, as far as tests need it.
struct CacheReport: Decodable {
  struct Counters: Decodable, Equatable {
    var hits = 0
    var misses = 0
    var refreshedBytes = 0
    var evictions = 0
  }

  var pages: Int
  var counters: Counters
}

extension SpaceportServer {
  func cache() async throws -> CacheReport {
    try JSONDecoder().decode(CacheReport.self, from: Data(try await succeed("cache", "show", "--json").utf8))
  }
}
