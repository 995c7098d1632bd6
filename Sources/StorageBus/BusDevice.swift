import BlockDevice
import Reactor

/// A physical disk as the pool sees it: the storage bus layer (SBL) decides which request goes next (`DiskScheduler`), and what the read
/// cache has need not go to the disk at all. It knows nothing of resiliency.
public final class BusDevice: BlockDevice, @unchecked Sendable {  // reactor-confined
  public let disk: BlockDevice
  private let scheduler: DiskScheduler
  /// Its pages in the read cache; nil without one.
  private var pages: DiskPages?

  /// - Parameter shares: of the virtual disks, the same for all disks of a reactor.
  public init(disk: BlockDevice, cache: MemoryCache? = nil, shares: VirtualDiskShares = VirtualDiskShares()) {
    self.disk = disk
    scheduler = DiskScheduler(disk: disk, shares: shares)
    super.init(reactor: disk.reactor, layerName: "StorageBus", label: disk.label)
    if let cache { pages = DiskPages(cache: cache, bus: self) }
  }

  /// What the read cache did for this disk.
  public var cacheCounters: CacheCounters { pages?.counters ?? CacheCounters() }

  public override var geometry: BlockGeometry { disk.geometry }
  public override var lowerDevices: [BlockDevice] { [disk] }

  public override var remarks: [String] {
    var remarks = ["\(scheduler.inFlight) of \(scheduler.depth) requests at a time"]
    if scheduler.meanLatency > 0 {
      remarks.append("latency \(scheduler.meanLatency / 1000) us of at most \(scheduler.latencyBound / 1000) us")
    }
    if scheduler.waitingCount > 0 { remarks.append("\(scheduler.waitingCount) wait") }
    if scheduler.backgroundInFlight > 0 { remarks.append("\(scheduler.backgroundInFlight) in the background") }
    return remarks
  }

  /// Metadata has caches of its own, and repair, resynchronisation and scrub want to know what the disk has (rules C).
  @inline(__always)
  private func mayBeCached(_ request: IORequest) -> Bool { request.ioClass == .application && request.cacheHint != .bypass }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let pages, mayBeCached(request) { return try await pages.read(at: offset, into: slice, request) }
    try await readDisk(at: offset, into: slice, request)
  }

  public override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    guard let pages, mayBeCached(request) else { return nil }
    return pages.readInPlace(at: offset, byteCount: byteCount, request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let pages { return try await pages.write(at: offset, from: slice, request) }
    try await writeDisk(at: offset, from: slice, request)
  }

  /// Reads from the disk itself, when it is the request's turn.
  @inline(__always)
  func readDisk(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let turn = scheduler.enter(request, byteCount: slice.byteCount) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.read(at: offset, into: slice, request)
  }

  @inline(__always)
  func writeDisk(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if let turn = scheduler.enter(request, byteCount: slice.byteCount) { try await scheduler.wait(turn, request) }
    defer { scheduler.leave(request) }
    try await disk.write(at: offset, from: slice, request)
  }

  /// Not queued: a flush that waited behind writes would hold up the acknowledgement of all of them.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await disk.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    guard let pages else { return try await disk.discard(at: offset, byteCount: byteCount, request) }
    try await pages.change(at: offset, byteCount: byteCount) { () async throws(BlockError) in
      try await disk.discard(at: offset, byteCount: byteCount, request)
    }
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    guard let pages else { return try await disk.writeZeroes(at: offset, byteCount: byteCount, request) }
    try await pages.change(at: offset, byteCount: byteCount) { () async throws(BlockError) in
      try await disk.writeZeroes(at: offset, byteCount: byteCount, request)
    }
  }

  // MARK: What the pool asks of the disk

  public override func oldestRequestAge(now: Instant) -> UInt64 { disk.oldestRequestAge(now: now) }

  /// Requests that wait here for their turn are sent away, too.
  public override func abandon() {
    pages?.end()
    disk.abandon()
    scheduler.abandon()
  }

  public override var hasDrained: Bool { disk.hasDrained }
  public override var hasFailedFlush: Bool { disk.hasFailedFlush }
  public override func checkIntegrity() async throws(BlockError) { try await disk.checkIntegrity() }
  public override var ailment: String? { disk.ailment }
}
