import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

@Suite struct MemoryCacheTests {
  /// A trim of a few pages costs what these cost, however large the cache is and however little is in it.
  @Test func droppingFewPagesDoesNotLookAtAll() throws {
    var limits = SimulationLimits.buffers
    (limits.pageCount, limits.pageByteCount) = (1 << 18, 4096)
    let cache = try #require(MemoryCache(reactor: SimulatedReactor(seed: 1, bufferLimits: limits), admission: .all))
    let disk = try #require(cache.takeDiskNumber())
    for page in [0, 5, 7] as [UInt64] {
      let key = PageKey(disk: disk, page: page)
      let frame = try #require(cache.beginFill(key, for: .pool))
      #expect(cache.endFill(key, frame, isGood: true))
    }
    let clock = ContinuousClock()
    let all = clock.measure { #expect(cache.drop(disk, 8..<UInt64(cache.pageCount) + 9) == 0) }
    let few = clock.measure { for page in 100..<200 as Range<UInt64> { #expect(cache.drop(disk, page..<page + 4) == 0) } }
    #expect(few < all * 20, "\(few) for a hundred times a few, \(all) for all")
    #expect(cache.drop(disk, 0..<6) == 2 && cache.drop(disk, 0..<UInt64.max >> 16) == 1 && cache.usedPageCount == 0)
  }

  /// An eviction is counted for the disk that loses the page, and for the virtual disk that needs its place.
  @Test func evictionsAreCountedByDiskAndVirtualDisk() throws {
    var limits = SimulationLimits.buffers
    (limits.pageCount, limits.pageByteCount) = (64, 4096)
    let cache = try #require(MemoryCache(reactor: SimulatedReactor(seed: 1, bufferLimits: limits), admission: .all))
    let (first, second) = (try #require(cache.takeDiskNumber()), try #require(cache.takeDiskNumber()))
    let virtualDisk = VirtualDiskHandle(number: 3)
    func fill(_ disk: UInt16) throws {
      for page in 0..<64 as Range<UInt64> {
        let key = PageKey(disk: disk, page: page)
        let frame = try #require(cache.beginFill(key, for: virtualDisk))
        #expect(cache.endFill(key, frame, isGood: true))
      }
    }
    try fill(first)
    #expect(cache.counters.evictions == 0 && cache.usedPageCount == 64)
    try fill(second)
    let ofDisks = [first, second].map { cache.diskCounters[Int($0)].evictions }
    #expect(ofDisks[0] > 0 && ofDisks.reduce(0, +) == 64)
    #expect(cache.counters(of: virtualDisk).evictions == 64 && cache.counters(of: .pool).evictions == 0)
  }
}
