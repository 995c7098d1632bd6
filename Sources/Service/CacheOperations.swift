import Management
import Pool
import StorageBus

// What the read cache tells, level by level.

extension StorageService {
  /// Of all pools, or of the disks and virtual disks of one; the memory cache is one for all.
  func cacheInfo(ofPool name: String?) throws(APIError) -> CacheInfo {
    let served = if let name { [try servedPool(name)] } else { sortedPools }
    var info = CacheInfo(cacheDisks: served.flatMap(cacheDiskReports))
    guard let cache else { return info }
    info.memoryBytes = UInt64(cache.pageCount) * UInt64(cache.pageByteCount)
    info.pageBytes = UInt64(cache.pageByteCount)
    info.pages = UInt64(cache.pageCount)
    info.freePages = UInt64(cache.pageCount - cache.usedPageCount)
    info.isLocked = reactor.unregisteredPagesReason == nil
    info.counters = CacheInfo.Counters(cache.counters)
    info.advice = cache.advised.map { CacheInfo.Advice(half: $0.half, same: $0.same, twice: $0.twice, fourTimes: $0.fourTimes) }
    // A cache disk's own reads are not cached.
    info.disks = served.flatMap { served in served.disks.filter { disk in !served.pool.cache.disks.contains { $0.disk === disk.bus } } }
      .map { CacheInfo.Part(name: $0.path, counters: CacheInfo.Counters($0.bus.cacheCounters)) }
    info.virtualDisks = served.flatMap(\.sortedVirtualDisks).map { disk in
      CacheInfo.Part(name: disk.disk.label, counters: CacheInfo.Counters(cache.counters(of: disk.disk.handle)))
    }
    return info
  }

  private func cacheDiskReports(of served: ServedPool) -> [CacheDiskReport] {
    served.pool.cache.disks.map { disk in
      let path = served.path(of: disk.number)
      guard let store = disk.store, disk.isUsable else {
        return CacheDiskReport(pool: served.name, path: path, number: disk.number.value, isUsed: false)
      }
      let bound = served.disks.filter { $0.bus.cacheDisk === store }
      return CacheDiskReport(
        pool: served.name, path: path, number: disk.number.value, isUsed: true, isOverdue: store.isOverdue,
        pageBytes: UInt64(store.pageByteCount), pages: UInt64(store.pageCount), freePages: UInt64(store.freePageCount),
        memoryBytes: UInt64(store.memoryByteCount), idleBytes: store.idleByteCount, counters: CacheDiskReport.Counters(store.counters),
        disks: bound.map { CacheDiskReport.Part(name: $0.path, counters: CacheDiskReport.Counters($0.bus.cacheDiskCounters)) },
        virtualDisks: served.sortedVirtualDisks.map { disk in
          CacheDiskReport.Part(name: disk.disk.label, counters: CacheDiskReport.Counters(store.counters(of: disk.disk.handle)))
        })
    }
  }

  /// What the operator should know of the pool's cache disks.
  func cacheWarnings(of served: ServedPool) -> [String] {
    let unused = served.pool.cache.disks.filter { !$0.isUsable }.map(\.number) + served.pool.cache.absentNumbers
    return unused.sorted().map { number in
      "The cache disk \(served.path(of: number)) of the pool \(served.name) is not used: reads are slower, and nothing is lost. "
        + "`spaceport disk list` says why. Bring it back, or take it out of the pool: spaceport pool remove \(served.name) \(number)."
    }
  }
}

extension CacheInfo.Counters {
  init(_ counters: CacheCounters) {
    self.init(
      hits: counters.hits, misses: counters.misses, hitBytes: counters.hitBytes, admittedBytes: counters.admittedBytes,
      secondMissBytes: counters.secondMissBytes, bypassedSequentialBytes: counters.bypassedSequentialBytes,
      bypassedLargeBytes: counters.bypassedLargeBytes, refreshedBytes: counters.refreshedBytes, dropped: counters.dropped,
      overtaken: counters.overtaken, evictions: counters.evictions, errors: counters.errors)
  }
}

extension CacheDiskReport.Counters {
  init(_ counters: CacheDiskCounters) {
    self.init(
      hits: counters.hits, misses: counters.misses, hitBytes: counters.hitBytes, admittedBytes: counters.admittedBytes,
      secondMissBytes: counters.secondMissBytes, bypassedSequentialBytes: counters.bypassedSequentialBytes,
      bypassedLargeBytes: counters.bypassedLargeBytes, bypassedBytes: counters.bypassedBytes, fills: counters.fills,
      skippedFills: counters.skippedFills, overtaken: counters.overtaken, dropped: counters.dropped, evictions: counters.evictions,
      errors: counters.errors, checksumErrors: counters.checksumErrors, timeouts: counters.timeouts, warm: counters.warm)
  }
}
