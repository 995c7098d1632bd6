import BlockDevice
import Reactor

/// The first level of the read cache: pages in memory, shared by all disks of one reactor. Write-through: it only ever holds what the disks
/// hold as well, so that losing it costs time and nothing else.
///
/// This class knows which page lies where, what may come in and what goes; `DiskPages` reads and writes one disk through it. A page's memory
/// is a buffer of the reactor's BufferPool, which tells who uses it: a page that is being sent to a client, or that a hung disk may still
/// write to, leaves the directory when it must, and its memory is used again only when the last user has let go.
public final class MemoryCache: PageKeeper, @unchecked Sendable {  // reactor-confined
  let buffers: BufferPool
  public let pageByteCount: Int
  let pageShift: UInt64
  private let clock: ReactorClock
  // Unchecked, as in RingReactor.
  @exclusivity(unchecked) private var directory: PageDirectory<AdaptiveOrder>
  @exclusivity(unchecked) private var admission: AdmissionFilter
  @exclusivity(unchecked) private var advice: CacheAdvice
  /// By frame: 1 while the disk has not answered yet. Nobody is handed such a frame.
  @exclusivity(unchecked) private var isFilling: FlatArray<UInt8>
  /// Of disks that are there no more.
  private var pastCounters = CacheCounters()
  /// By the numbers of disks, and of virtual disks.
  @exclusivity(unchecked) var diskCounters = [CacheCounters()]
  @exclusivity(unchecked) private var virtualDiskCounters = [CacheCounters()]
  private var freeDiskNumbers: [UInt16] = []
  private var lastDiskNumber: UInt16 = 0

  /// nil where the reactor was started without pages, or the system has no memory to know them.
  public init?(reactor: any Reactor, admission rule: CacheAdmission = .windows) {
    buffers = reactor.buffers
    clock = reactor.clock
    guard buffers.pageCount > 0 else { return nil }
    pageByteCount = buffers.pageByteCount
    pageShift = UInt64(pageByteCount.trailingZeroBitCount)
    do throws(BlockError) {
      let hash = PageHash(seed: reactor.random())
      directory = try PageDirectory(capacity: buffers.pageCount, hash: hash)
      admission = try AdmissionFilter(rule: rule, hash: hash)
      advice = try CacheAdvice(capacity: buffers.pageCount, hash: hash)
      isFilling = try FlatArray(count: buffers.pageCount)
    } catch { return nil }
    buffers.pageKeeper = self
  }

  deinit { if buffers.pageKeeper === self { buffers.pageKeeper = nil } }

  public var pageCount: Int { buffers.pageCount }
  public var usedPageCount: Int { directory.count }

  public func pageGained(_ number: Int) { directory.pin(number) }
  public func pageLost(_ number: Int) { directory.unpin(number) }

  // MARK: Disks

  /// A number for a disk's pages, unique while it is in use; nil when 65,535 disks have one.
  func takeDiskNumber() -> UInt16? {
    if let number = freeDiskNumbers.popLast() { return number }
    if lastDiskNumber == .max { return nil }
    lastDiskNumber += 1
    diskCounters.append(CacheCounters())
    return lastDiskNumber
  }

  /// Forgets all of a disk's pages, and its number.
  func giveBackDiskNumber(_ number: UInt16) {
    for frame in 0..<pageCount {
      if let page = directory.page(in: frame), PageKey(value: page).disk == number { _ = drop(PageKey(value: page)) }
    }
    pastCounters.add(diskCounters[Int(number)])
    diskCounters[Int(number)] = CacheCounters()
    freeDiskNumbers.append(number)
  }

  // MARK: Pages

  /// The memory of a page that is cached, which counts as used now.
  @inline(__always)
  func hit(_ key: PageKey) -> BufferSlice? {
    guard let frame = directory.read(key.value), isFilling[frame] == 0 else { return nil }
    advice.note(key.value)
    return buffers.page(frame)
  }

  /// The same for who wants to send from it; nil also when too many do so already.
  @inline(__always)
  func hitToSend(_ key: PageKey) -> BufferSlice? {
    guard let frame = directory.read(key.value), isFilling[frame] == 0, directory.mayPin(frame) else { return nil }
    advice.note(key.value)
    let memory = buffers.page(frame)
    buffers.retain(memory.buffer)
    return memory
  }

  @inline(__always)
  func isCached(_ key: PageKey) -> Bool { directory.frame(of: key.value).map { isFilling[$0] == 0 } ?? false }

  /// To be told of every read: whether it is part of a sequential run, which passes the cache by.
  @inline(__always)
  func noteRead(_ stream: UInt32, _ offset: UInt64, _ byteCount: Int) -> Bool {
    admission.noteRead(stream: stream, offset: offset, byteCount: UInt64(byteCount))
  }

  /// What becomes of a missed page. Asked once for each miss.
  func decide(_ key: PageKey, byteCount: Int, isSequential: Bool) -> AdmissionDecision {
    let decision = admission.decide(
      page: key.value, byteCount: UInt64(byteCount), isSequential: isSequential, at: clock.now.nanoseconds / 1000)
    if decision.isAdmitted { advice.note(key.value) }
    return decision
  }

  /// A frame for a page that is not cached, to be filled by the caller; nil when all are in use.
  func beginFill(_ key: PageKey, for virtualDisk: VirtualDiskHandle) -> Int? {
    if directory.frame(of: key.value) != nil { return nil }
    guard let insertion = directory.insert(key.value) else { return nil }
    if let evicted = insertion.evicted {
      diskCounters[Int(PageKey(value: evicted).disk)].evictions &+= 1
      count(virtualDisk) { $0.evictions &+= 1 }
    }
    isFilling[insertion.frame] = 1
    return insertion.frame
  }

  /// The frame holds the page from now on; or not, where it could not be read whole, or was written meanwhile. False when it does not.
  func endFill(_ key: PageKey, _ frame: Int, isGood: Bool) -> Bool {
    isFilling[frame] = 0
    let isThere = directory.holds(key.value, in: frame)
    if isThere && !isGood { directory.remove(key.value) }
    directory.unpin(frame)
    return isThere && isGood
  }

  /// The page is not cached any more. Who is just being sent it still gets what it held.
  @inline(__always)
  func drop(_ key: PageKey) -> Bool {
    guard directory.remove(key.value) else { return false }
    advice.remove(key.value)
    return true
  }

  /// Drops the pages of `range` of a disk: by asking for each, or, of a range that is longer than the cache, by looking at every frame. Says how
  /// many there were.
  func drop(_ disk: UInt16, _ range: Range<UInt64>) -> Int {
    if directory.count == 0 { return 0 }
    var count = 0
    if range.count <= pageCount {
      for page in range where drop(PageKey(disk: disk, page: page)) { count += 1 }
      return count
    }
    for frame in 0..<pageCount {
      guard let key = directory.page(in: frame).map(PageKey.init(value:)), key.disk == disk, range.contains(key.page) else { continue }
      if drop(key) { count += 1 }
    }
    return count
  }

  /// The memory of a cached page that may be changed; nil where it is not cached. Where somebody uses it, it is dropped, and nil as well.
  func refreshable(_ key: PageKey) -> BufferSlice? {
    guard let frame = directory.write(key.value) else { return nil }
    if isFilling[frame] == 0 && !directory.isPinned(frame) { return buffers.page(frame) }
    if isFilling[frame] != 0 && PlantedBug.overtakenFillKept.isPlanted { return nil }
    _ = drop(key)
    return nil
  }
}

/// A page of a disk: the disk's number in this cache, and which of its pages.
struct PageKey: Hashable {
  let value: UInt64

  @inline(__always)
  init(value: UInt64) { self.value = value }

  @inline(__always)
  init(disk: UInt16, page: UInt64) { value = UInt64(disk) << 48 | page }

  var disk: UInt16 { UInt16(truncatingIfNeeded: value >> 48) }
  var page: UInt64 { value & (1 << 48 - 1) }
}

// MARK: - What it tells

extension MemoryCache {
  /// Of all disks, those that are gone included.
  public var counters: CacheCounters { diskCounters.reduce(into: pastCounters) { $0.add($1) } }

  public func counters(of virtualDisk: VirtualDiskHandle) -> CacheCounters {
    Int(virtualDisk.number) < virtualDiskCounters.count ? virtualDiskCounters[Int(virtualDisk.number)] : CacheCounters()
  }

  @inline(__always)
  func count(hit byteCount: Int, _ disk: UInt16, _ virtualDisk: VirtualDiskHandle) {
    diskCounters[Int(disk)].hit(byteCount)
    count(virtualDisk) { $0.hit(byteCount) }
  }

  func count(miss byteCount: Int, _ decision: AdmissionDecision, _ disk: UInt16, _ virtualDisk: VirtualDiskHandle) {
    diskCounters[Int(disk)].miss(decision, byteCount)
    count(virtualDisk) { $0.miss(decision, byteCount) }
  }

  /// What both a disk and a virtual disk are told of.
  @inline(__always)
  func count(_ disk: UInt16, _ virtualDisk: VirtualDiskHandle, _ change: (inout CacheCounters) -> Void) {
    change(&diskCounters[Int(disk)])
    count(virtualDisk, change)
  }

  @inline(__always)
  private func count(_ virtualDisk: VirtualDiskHandle, _ change: (inout CacheCounters) -> Void) {
    if Int(virtualDisk.number) >= virtualDiskCounters.count { makeCounters(upTo: virtualDisk) }
    change(&virtualDiskCounters[Int(virtualDisk.number)])
  }

  private func makeCounters(upTo virtualDisk: VirtualDiskHandle) {
    virtualDiskCounters += repeatElement(CacheCounters(), count: Int(virtualDisk.number) + 1 - virtualDiskCounters.count)
  }

  /// What hit ratio other sizes would have given lately; nil before the first reads.
  public var advised: (half: Double, same: Double, twice: Double, fourTimes: Double)? {
    advice.ratios.map { ($0.half, $0.same, $0.twice, $0.fourTimes) }
  }
}
