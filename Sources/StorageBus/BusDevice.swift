import BlockDevice
import Reactor

/// A physical disk as the pool sees it: the storage bus layer (SBL) decides which request goes next (`DiskScheduler`), and what the read
/// cache has need not go to the disk at all. It knows nothing of resiliency.
public final class BusDevice: BlockDevice, @unchecked Sendable {  // reactor-confined
  public let disk: BlockDevice
  let scheduler: DiskScheduler
  /// Its pages in the read cache; nil without one.
  private var pages: DiskPages?
  /// Its pages on a cache disk; nil while it is bound to none.
  private(set) var hybrid: HybridPages?
  /// The cache that lies on it, where it is a cache disk.
  weak var carriedCache: CacheDisk?
  /// Changes under way that `hybrid` does not know of, because it was not there when they began: nothing comes in until they are over.
  private(set) var unwatchedChanges = 0
  /// Changes so far, but for the pool's metadata, which is never cached.
  private(set) var dataChangeCount: UInt64 = 0

  /// - Parameter shares: of the virtual disks, the same for all disks of a reactor.
  public init(disk: BlockDevice, cache: MemoryCache? = nil, shares: VirtualDiskShares = VirtualDiskShares()) {
    self.disk = disk
    scheduler = DiskScheduler(disk: disk, shares: shares)
    super.init(reactor: disk.reactor, layerName: "StorageBus", label: disk.label)
    if let cache { pages = DiskPages(cache: cache, bus: self) }
  }

  deinit { hybrid?.busIsGone() }

  /// What the read cache did for this disk.
  public var cacheCounters: CacheCounters { pages?.counters ?? CacheCounters() }

  public override var geometry: BlockGeometry { disk.geometry }
  /// The cache disk beside the disk itself: a hybrid disk.
  public override var lowerDevices: [BlockDevice] { [disk] + (hybrid.map { [$0.store.device] } ?? []) }

  public override var remarks: [String] {
    var remarks = ["\(scheduler.inFlight) of \(scheduler.depth) requests at a time"]
    if scheduler.meanLatency > 0 {
      remarks.append("latency \(Self.words(scheduler.meanLatency)) of at most \(Self.words(scheduler.latencyBound))")
    }
    if let hybrid { remarks.append("cached on \(hybrid.store.device.label)") }
    if let carriedCache { remarks += carriedCache.remarks }
    if scheduler.waitingCount > 0 { remarks.append("\(scheduler.waitingCount) wait") }
    if scheduler.backgroundInFlight > 0 { remarks.append("\(scheduler.backgroundInFlight) in the background") }
    return remarks
  }

  private static func words(_ nanoseconds: UInt64) -> String {
    let microseconds = nanoseconds / 1000
    return switch microseconds {
    case ..<1000: "\(microseconds) µs"
    case ..<10_000: "\(microseconds / 1000).\(microseconds / 100 % 10) ms"
    default: "\(microseconds / 1000) ms"
    }
  }

  public override var readCacheByteCount: UInt64 {
    let memory = pages.map { UInt64($0.cache.pageCount) * UInt64($0.cache.pageByteCount) } ?? 0
    return memory + (hybrid.map { UInt64($0.store.pageCount) * UInt64($0.store.pageByteCount) } ?? 0)
  }

  /// Metadata has caches of its own, and repair, resynchronisation and scrub want to know what the disk has (rules C). A disk of which a flush
  /// has failed may have forgotten what the cache still has: a read that found it there, and the next one not, would change its mind.
  @inline(__always)
  private func mayBeCached(_ request: IORequest) -> Bool {
    request.ioClass == .application && request.cacheHint != .bypass && !disk.hasFailedFlush
  }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let pages, mayBeCached(request) { return try await pages.read(at: offset, into: slice, request) }
    if let hybrid, mayBeCached(request) {
      if request.cacheHint == .willNeed { return try await hybrid.read(at: offset, into: slice, .decided(true), request) }
      return try await hybrid.read(at: offset, into: slice, request)
    }
    try await readCapacity(at: offset, into: slice, request)
  }

  public override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    guard let pages, mayBeCached(request) else { return nil }
    return pages.readInPlace(at: offset, byteCount: byteCount, request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let pages { return try await pages.write(at: offset, from: slice, request) }
    try await writeDisk(at: offset, from: slice, request)
  }

  /// Reads what the memory cache has not got: from the cache disk, or else the disk itself.
  /// - Parameter keeps: whether the pages come in.
  @inline(__always)
  func readDisk(at offset: UInt64, into slice: BufferSlice, keeps: Bool = false, _ request: IORequest) async throws(BlockError) {
    if let hybrid { return try await hybrid.read(at: offset, into: slice, .decided(keeps), request) }
    try await readCapacity(at: offset, into: slice, request)
  }

  /// Reads from the disk itself, when it is the request's turn.
  @inline(__always)
  func readCapacity(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let turn = scheduler.enter(request, byteCount: slice.byteCount) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.read(at: offset, into: slice, request)
  }

  @inline(__always)
  func writeDisk(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let watcher = beginChange(offset, UInt64(slice.byteCount), request)
    defer { endChange(watcher, offset, UInt64(slice.byteCount)) }
    if let turn = scheduler.enter(request, byteCount: slice.byteCount) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.write(at: offset, from: slice, request)
  }

  private func discardDisk(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let watcher = beginChange(offset, byteCount, request)
    defer { endChange(watcher, offset, byteCount) }
    if let turn = scheduler.enter(request, byteCount: 0) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.discard(at: offset, byteCount: byteCount, request)
  }

  private func zeroDisk(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let watcher = beginChange(offset, byteCount, request)
    defer { endChange(watcher, offset, byteCount) }
    // A disk that cannot zero is written zeros.
    let cost = disk.geometry.zeroesCheaply ? 0 : Int(clamping: byteCount)
    if let turn = scheduler.enter(request, byteCount: cost) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.writeZeroes(at: offset, byteCount: byteCount, request)
  }

  /// Not queued: a flush that waited behind writes would hold up the acknowledgement of all of them.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await disk.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    guard let pages else { return try await discardDisk(at: offset, byteCount: byteCount, request) }
    try await pages.change(at: offset, byteCount: byteCount) { () async throws(BlockError) in
      try await discardDisk(at: offset, byteCount: byteCount, request)
    }
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    guard let pages else { return try await zeroDisk(at: offset, byteCount: byteCount, request) }
    try await pages.change(at: offset, byteCount: byteCount) { () async throws(BlockError) in
      try await zeroDisk(at: offset, byteCount: byteCount, request)
    }
  }

  // MARK: What the pool asks of the disk

  public override func oldestRequestAge(now: Instant) -> UInt64 { disk.oldestRequestAge(now: now) }

  /// Requests that wait here for their turn are sent away, too.
  public override func abandon() {
    pages?.end()
    unbind()
    disk.abandon()
    scheduler.abandon()
  }

  public override var hasDrained: Bool { disk.hasDrained }
  public override var hasFailedFlush: Bool { disk.hasFailedFlush }
  public override func checkIntegrity() async throws(BlockError) { try await disk.checkIntegrity() }
  public override var ailment: String? { disk.ailment }

  // MARK: The cache disk

  /// Binds the disk to a cache disk: reads are answered from there where they can be, and what they miss comes in. Takes the place of an earlier
  /// binding. Pages that the cache disk has taken over from an earlier session are kept where the disk's data has not been changed since it was
  /// opened: so this belongs right behind `CacheDisk.open`.
  /// - Parameter id: the disk's, as in the nonces that the cache disk was opened with.
  /// - Returns: false when the cache disk takes no more disks (65,535), has this one already, or is lost.
  @discardableResult
  public func bind(_ cacheDisk: CacheDisk, as id: StorageUUID) -> Bool {
    unbind()
    guard !scheduler.isAbandoned, cacheDisk.isUsable, let number = cacheDisk.addMember(id, isWarm: dataChangeCount == 0) else {
      return false
    }
    let hybrid = HybridPages(cacheDisk, number: number, bus: self)
    cacheDisk.bindings.append(hybrid)
    self.hybrid = hybrid
    return true
  }

  /// Ends the binding, if there is one; the cache disk forgets this disk's pages.
  public func unbind() {
    guard let hybrid else { return }
    hybrid.end()
    hybrid.store.remove(hybrid)
  }

  /// The cache disk that it is bound to.
  public var cacheDisk: CacheDisk? { hybrid?.store }

  /// What the cache disk did for this disk since it was bound.
  public var cacheDiskCounters: CacheDiskCounters { hybrid?.counters ?? CacheDiskCounters() }

  func hybridHasEnded(_ ended: HybridPages) {
    unwatchedChanges += ended.changesInFlight
    hybrid = nil
  }

  /// Before the disk is sent a change: what is cached of it goes. Returns who is to be told of its end.
  @inline(__always)
  private func beginChange(_ offset: UInt64, _ byteCount: UInt64, _ request: IORequest) -> HybridPages? {
    if request.ioClass != .metadata || request.cacheHint != .bypass { dataChangeCount &+= 1 }
    guard let hybrid else {
      unwatchedChanges += 1
      return nil
    }
    hybrid.beginChange(offset, byteCount)
    return hybrid
  }

  @inline(__always)
  private func endChange(_ watcher: HybridPages?, _ offset: UInt64, _ byteCount: UInt64) {
    if let watcher, !watcher.isEnded { return watcher.endChange(offset, byteCount) }
    unwatchedChanges -= 1
  }
}
