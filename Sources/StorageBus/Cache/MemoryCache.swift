import BlockDevice
import Reactor

/// The first level of the read cache: pages in memory, shared by all disks of one reactor. Write-through: it only ever holds what the disks
/// hold as well, so that losing it costs time and nothing else.
///
/// This class knows which page lies where; `DiskPages` reads and writes one disk through it. A page's memory is a buffer of the reactor's
/// BufferPool, which counts who uses it: a page that is being sent to a client, or that a hung disk may still write to, leaves the
/// directory when it must, and its memory is used again only when the last holder has let go.
public final class MemoryCache: @unchecked Sendable {  // reactor-confined
  public let buffers: BufferPool
  public let pageByteCount: Int
  let pageShift: UInt64
  private var directory: PageDirectory
  /// Pages of memory that hold nothing.
  private var empty: [Int32]
  /// The same, but somebody used them when they were last looked at.
  private var lingering: [Int32] = []
  public internal(set) var counters = CacheCounters()
  private var freeDiskNumbers: [UInt16] = []
  private var lastDiskNumber: UInt16 = 0

  /// nil where the reactor was started without pages.
  public init?(buffers: BufferPool) {
    guard buffers.pageCount > 0 else { return nil }
    self.buffers = buffers
    pageByteCount = buffers.pageByteCount
    pageShift = UInt64(pageByteCount.trailingZeroBitCount)
    directory = PageDirectory(capacity: buffers.pageCount)
    empty = (0..<Int32(buffers.pageCount)).reversed()
    lingering.reserveCapacity(buffers.pageCount)
  }

  public var pageCount: Int { buffers.pageCount }
  public var usedPageCount: Int { directory.count }

  // MARK: Disks

  /// A number for a disk's pages, unique while it is in use; nil when 65,535 disks have one.
  func takeDiskNumber() -> UInt16? {
    if let number = freeDiskNumbers.popLast() { return number }
    if lastDiskNumber == .max { return nil }
    lastDiskNumber += 1
    return lastDiskNumber
  }

  /// Forgets all of a disk's pages, and its number.
  func giveBackDiskNumber(_ number: UInt16) {
    dropPages { $0.disk == number }
    freeDiskNumbers.append(number)
  }

  // MARK: Pages

  /// The memory of a page that is cached, which counts as used now.
  @inline(__always)
  func hit(_ key: PageKey) -> BufferSlice? {
    guard let frame = directory.use(key) else { return nil }
    return buffers.page(Int(frame))
  }

  /// The same without counting as a use.
  @inline(__always)
  func peek(_ key: PageKey) -> BufferSlice? { directory.frame(of: key).map { buffers.page(Int($0)) } }

  /// Memory for a page that is about to be read, of which nobody else knows; nil when all is in use.
  func takeFrame() -> Int32? {
    if let frame = takeEmptyFrame() { return frame }
    guard let frame = directory.evict(where: { [buffers] in buffers.isExclusive(buffers.page(Int($0)).buffer) }) else { return nil }
    counters.evictions &+= 1
    return frame
  }

  private func takeEmptyFrame() -> Int32? {
    while let frame = empty.popLast() {
      if isIdle(frame) { return frame }
      lingering.append(frame)
    }
    // A few are looked at, in turn: most are let go soon.
    for _ in 0..<min(lingering.count, CacheLimits.lingeringLooks) {
      let frame = lingering.removeLast()
      if isIdle(frame) { return frame }
      lingering.insert(frame, at: 0)
    }
    return nil
  }

  private func isIdle(_ frame: Int32) -> Bool { buffers.isExclusive(buffers.page(Int(frame)).buffer) }

  /// `frame`, which `takeFrame` gave, holds the page from now on.
  func insert(_ key: PageKey, _ frame: Int32) {
    if let old = directory.remove(key) { empty.append(old) }
    directory.insert(key, frame)
  }

  /// `frame` holds nothing after all.
  func giveBack(_ frame: Int32) { empty.append(frame) }

  /// The page is not cached any more. Who is just being sent it still gets what it held.
  @inline(__always)
  func drop(_ key: PageKey) {
    if let frame = directory.remove(key) {
      empty.append(frame)
      counters.dropped &+= 1
    }
  }

  /// Drops the pages of `range` of a disk; of a long range by looking at what is cached.
  func drop(_ disk: UInt16, _ range: Range<UInt64>) {
    if UInt64(range.count) > UInt64(directory.count) { return dropPages { $0.disk == disk && range.contains($0.page) } }
    for page in range { drop(PageKey(disk: disk, page: page)) }
  }

  private func dropPages(where isUnwanted: (PageKey) -> Bool) {
    for key in directory.keys where isUnwanted(key) { drop(key) }
  }
}

/// A page of a disk: the disk's number in this cache, and which of its pages.
struct PageKey: Hashable {
  let value: UInt64

  @inline(__always)
  init(disk: UInt16, page: UInt64) { value = UInt64(disk) << 48 | page }

  var disk: UInt16 { UInt16(truncatingIfNeeded: value >> 48) }
  var page: UInt64 { value & (1 << 48 - 1) }
}

/// What a cache did, counted in pages unless said otherwise.
public struct CacheCounters: Sendable, Equatable {
  public var hits: UInt64 = 0
  public var hitBytes: UInt64 = 0
  public var misses: UInt64 = 0
  /// Bytes of misses by what became of them.
  public var admittedBytes: UInt64 = 0
  public var secondMissBytes: UInt64 = 0
  public var bypassedSequentialBytes: UInt64 = 0
  public var bypassedLargeBytes: UInt64 = 0
  /// Bytes that writes refreshed in cached pages.
  public var refreshedBytes: UInt64 = 0
  public var evictions: UInt64 = 0
  /// Pages that writes, trims and lost disks made worthless.
  public var dropped: UInt64 = 0
  /// Pages that were read and could not be kept, because they were written meanwhile.
  public var overtakenFills: UInt64 = 0
  /// Pages that could not be read as a whole.
  public var errors: UInt64 = 0

  public init() {}
}
