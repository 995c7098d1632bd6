import Management
import StorageBus

// What the read cache tells.

extension StorageService {
  var cacheInfo: CacheInfo {
    guard let cache else { return CacheInfo() }
    let served = sortedPools
    return CacheInfo(
      memoryBytes: UInt64(cache.pageCount) * UInt64(cache.pageByteCount), pageBytes: UInt64(cache.pageByteCount),
      pages: UInt64(cache.pageCount), freePages: UInt64(cache.pageCount - cache.usedPageCount), evictions: cache.evictions,
      isLocked: reactor.unregisteredPagesReason == nil, counters: CacheInfo.Counters(cache.counters),
      advice: cache.advised.map { CacheInfo.Advice(half: $0.half, same: $0.same, twice: $0.twice, fourTimes: $0.fourTimes) },
      disks: served.flatMap(\.disks).map { CacheInfo.Part(name: $0.path, counters: CacheInfo.Counters($0.bus.cacheCounters)) },
      virtualDisks: served.flatMap(\.sortedVirtualDisks).map { disk in
        CacheInfo.Part(name: disk.disk.label, counters: CacheInfo.Counters(cache.counters(of: disk.disk.handle)))
      })
  }
}

extension CacheInfo.Counters {
  init(_ counters: CacheCounters) {
    self.init(
      hits: counters.hits, misses: counters.misses, hitBytes: counters.hitBytes, admittedBytes: counters.admittedBytes,
      secondMissBytes: counters.secondMissBytes, bypassedSequentialBytes: counters.bypassedSequentialBytes,
      bypassedLargeBytes: counters.bypassedLargeBytes, refreshedBytes: counters.refreshedBytes, dropped: counters.dropped,
      overtaken: counters.overtaken, errors: counters.errors)
  }
}
