import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// Reads with the hint that their pages are wanted: they come in, whatever the admission says of such reads otherwise.
@Suite struct PrefetchTests {
  private static func read(_ bus: BusDevice, at offset: UInt64, _ byteCount: Int, _ hint: CacheHint) async throws {
    let slice = await bus.reactor.buffers.acquire(byteCount: byteCount)
    defer { bus.reactor.buffers.release(slice.buffer) }
    try await bus.read(at: offset, into: slice, IORequest(cacheHint: hint))
  }

  @Test func wantedPagesComeIntoMemory() throws {
    var limits = SimulationLimits.buffers
    limits.pageCount = 64
    limits.pageByteCount = 4096
    let reactor = SimulatedReactor(seed: 1, bufferLimits: limits)
    let disk = RacingDisk(reactor: reactor, sectorCount: 1024, seed: 1, fails: false)
    let cache = try #require(MemoryCache(reactor: reactor, admission: .windows))
    let bus = BusDevice(disk: disk, cache: cache)
    try reactor.runToCompletion {
      #expect(bus.readCacheByteCount == 64 * 4096)
      try await PrefetchTests.read(bus, at: 0, 128 << 10, .normal)
      #expect(cache.usedPageCount == 0, "a long run passes the cache by")
      try await PrefetchTests.read(bus, at: 512, 128 << 10, .willNeed)
      #expect(cache.usedPageCount == 33, "and every page that it touches is wanted")
      let held = try #require(bus.readInPlace(at: 1024, byteCount: 2048, IORequest()))
      reactor.buffers.release(held.buffer)
      disk.flushHasFailed = true
      try await PrefetchTests.read(bus, at: 256 << 10, 64 << 10, .willNeed)
      #expect(cache.usedPageCount == 33, "of a disk that failed a flush nothing comes in")
    }
  }

  @Test func withoutACacheThereIsNoRoom() throws {
    let reactor = SimulatedReactor(seed: 1)
    let disk = RacingDisk(reactor: reactor, sectorCount: 64, seed: 1, fails: false)
    #expect(BusDevice(disk: disk).readCacheByteCount == 0 && disk.readCacheByteCount == 0)
  }

  @Test func wantedPagesComeOntoTheCacheDisk() throws {
    let bench = CacheDiskBench(seed: 3, slots: 64)
    bench.options.admission = .windows
    try bench.run { bench in
      try await bench.open()
      let bus = bench.buses[0]
      #expect(bus.readCacheByteCount == UInt64(try #require(bench.store).pageCount * 4096))
      try await PrefetchTests.read(bus, at: 0, 64 << 10, .willNeed)
      try await bench.settle()
      #expect(bench.store?.counters.fills == 16)
      let before = bench.capacityReads
      try await bench.read(0..<128)
      #expect(bench.capacityReads == before)
      #expect(try await bench.close())
    }
  }
}
