import CLinux

/// A part of a payload buffer: where the bytes are, and which buffer of the pool owns them. Slices are passed down the stack, never
/// copied; the buffer goes back to the pool only when its last holder has let go (BufferPool.release).
public struct BufferSlice: @unchecked Sendable {  // plain memory; who may touch it is a matter of the request that owns the slice
  public let start: UnsafeMutableRawPointer
  public let byteCount: Int
  /// The owning buffer in its pool.
  public let buffer: BufferID

  public init(start: UnsafeMutableRawPointer, byteCount: Int, buffer: BufferID) {
    self.start = start
    self.byteCount = byteCount
    self.buffer = buffer
  }

  /// The bytes `from ..< from + byteCount` of this slice.
  @inlinable
  public func part(from: Int, byteCount: Int) -> BufferSlice {
    assert(from >= 0 && byteCount >= 0 && from + byteCount <= self.byteCount)
    return BufferSlice(start: start + from, byteCount: byteCount, buffer: buffer)
  }

  public var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: byteCount) }
}

/// A buffer of a `BufferPool`.
public struct BufferID: Hashable, Sendable {
  public let index: Int32
  public init(index: Int32) { self.index = index }
  /// Memory that belongs to no pool. A disk may be given it only if it lives as long as the process and is never written to: a disk that
  /// hangs goes on using what it was given after its caller was sent away.
  public static let unpooled = BufferID(index: -1)
}

/// Whoever keeps the pages of the read cache is told who uses them.
public protocol PageKeeper: AnyObject {
  /// One more user of a page: it is sent from, or a disk fills it.
  func pageGained(_ number: Int)
  func pageLost(_ number: Int)
}

/// Page-aligned payload buffers of one reactor. A fixed number of small ones is made at start and registered with the ring; larger ones
/// are made on demand by powers of two and kept for reuse, up to a limit on their sum. Who asks when nothing is left waits its turn.
///
/// All memory that a disk reads or writes comes from here. A request that a disk did not answer in time (BlockError.stalled, or a write
/// that succeeded without that disk) leaves its buffer behind: the disk holds it until the system has let go of it. So who keeps buffers
/// for reuse asks for `exclusive` before each use.
public final class BufferPool: @unchecked Sendable {  // reactor-confined
  private struct Entry {
    var start: UnsafeMutableRawPointer
    var byteCount: Int
    var holders: Int32
    var sizeClass: Int8
  }

  // Unchecked, as in RingReactor.
  @exclusivity(unchecked) private var entries: [Entry] = []
  private var freeByClass: [[Int32]]
  /// Indices whose memory was given back to the system.
  private var vacant: [Int32] = []
  private var waiting = WaitQueue()
  private let region: UnsafeMutableRawPointer
  private let regionEnd: UnsafeMutableRawPointer
  private let limits: BufferLimits
  private var isDiscarded = false
  /// Buffers that somebody holds now.
  public private(set) var heldCount = 0
  /// Bytes that `reserve` has handed out and that are not yet free.
  public private(set) var reservedByteCount = 0
  /// Bytes of large buffers that exist, in use or kept.
  public private(set) var largeByteCount = 0
  /// Small buffers are registered with the kernel as one region: registered buffer index 0.
  public internal(set) var isRegistered = false
  /// The pages of the read cache, side by side; nil where there are none.
  private let pages: UnsafeMutableRawPointer?
  private let pagesEnd: UnsafeMutableRawPointer?
  /// Pages that there are: none where the system has no memory for them.
  public let pageCount: Int
  private let firstPage: Int32
  /// Sets itself, and takes itself out before it goes.
  @exclusivity(unchecked) public unowned(unsafe) var pageKeeper: (any PageKeeper)?
  /// So are the pages, in pieces: registered buffer indices 1 and up.
  public internal(set) var arePagesRegistered = false

  public init(limits: BufferLimits = .standard) {
    self.limits = limits
    let regionBytes = limits.smallCount * limits.smallByteCount
    guard let region = BufferPool.map(regionBytes) else { preconditionFailure("no memory for the payload buffers at start") }
    self.region = region
    regionEnd = region + regionBytes
    freeByClass = [[Int32]](repeating: [], count: limits.classCount)
    for index in 0..<limits.smallCount {
      entries.append(
        Entry(start: region + index * limits.smallByteCount, byteCount: limits.smallByteCount, holders: 0, sizeClass: 0))
    }
    freeByClass[0] = (0..<Int32(limits.smallCount)).reversed()
    firstPage = Int32(entries.count)
    pages = limits.pageCount > 0 ? BufferPool.map(limits.pageCount * limits.pageByteCount) : nil
    pageCount = pages == nil ? 0 : limits.pageCount
    pagesEnd = pages.map { $0 + limits.pageCount * limits.pageByteCount }
    guard let pages else { return }
    entries.reserveCapacity(entries.count + pageCount)
    for number in 0..<pageCount {
      entries.append(
        Entry(start: pages + number * limits.pageByteCount, byteCount: limits.pageByteCount, holders: 1, sizeClass: BufferPool.page))
    }
  }

  deinit { discardMemory() }

  /// Gives all memory back to the system, for good: for the simulator, whose tasks that a power cut has left waiting for ever keep the pool.
  package func discardMemory() {
    if isDiscarded { return }
    isDiscarded = true
    munmap(region, limits.smallCount * limits.smallByteCount)
    if let pages { munmap(pages, pageCount * limits.pageByteCount) }
    for entry in entries where entry.sizeClass != 0 && entry.sizeClass != BufferPool.page && entry.byteCount > 0 {
      munmap(entry.start, entry.byteCount)
    }
  }

  /// The small buffers as one span of memory, for registration.
  var registeredRegion: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: region, count: limits.smallCount * limits.smallByteCount)
  }

  /// The pages as one span of memory, for locking and registration; empty where there are none.
  var pageRegion: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: pages, count: pageCount * limits.pageByteCount)
  }

  // MARK: Pages of the read cache

  private static let page: Int8 = -2

  public var pageByteCount: Int { limits.pageByteCount }

  /// A page of the read cache, `0 ..< pageCount`. The cache holds each of them once for ever; who is handed one to read from holds it too
  /// (`retain`), and until it is let go (`isExclusive`) the cache leaves its bytes as they are.
  @inline(__always)
  public func page(_ number: Int) -> BufferSlice {
    assert(number >= 0 && number < pageCount)
    let index = firstPage + Int32(truncatingIfNeeded: number)
    return BufferSlice(
      start: (pages ?? region) + number * limits.pageByteCount, byteCount: limits.pageByteCount, buffer: BufferID(index: index))
  }

  /// A slice of exactly `byteCount` bytes, held once. Waits when the limit is reached. `byteCount` is at most `BufferLimits.largestByteCount`.
  public func acquire(byteCount: Int) async -> BufferSlice {
    precondition(byteCount <= limits.largestByteCount, "callers check the request limit first")
    while true {
      if let slice = tryAcquire(byteCount: byteCount) { return slice }
      await withUnsafeContinuation { waiting.append($0) }
    }
  }

  /// The same without waiting; nil when nothing is free. When the small ones are all held, the next size serves as well: otherwise one
  /// busy connection could keep all others waiting.
  public func tryAcquire(byteCount: Int) -> BufferSlice? {
    let sizeClass = limits.sizeClass(for: byteCount)
    if let slice = tryAcquire(byteCount, fromClass: sizeClass) { return slice }
    return sizeClass == 0 && limits.classCount > 1 ? tryAcquire(byteCount, fromClass: 1) : nil
  }

  private func tryAcquire(_ byteCount: Int, fromClass sizeClass: Int) -> BufferSlice? {
    if let index = freeByClass[sizeClass].popLast() { return hold(index, byteCount) }
    if sizeClass == 0 { return nil }
    let size = limits.smallByteCount << sizeClass
    if largeByteCount + size > limits.largeTotalByteCount { releaseIdleLargeBuffers() }
    guard largeByteCount + size <= limits.largeTotalByteCount, let start = BufferPool.map(size) else { return nil }
    largeByteCount += size
    return hold(add(Entry(start: start, byteCount: size, holders: 0, sizeClass: Int8(sizeClass))), byteCount)
  }

  private func add(_ entry: Entry) -> Int32 {
    guard let index = vacant.popLast() else {
      entries.append(entry)
      return Int32(entries.count - 1)
    }
    entries[Int(index)] = entry
    return index
  }

  private func hold(_ index: Int32, _ byteCount: Int) -> BufferSlice {
    entries[Int(index)].holders = 1
    heldCount += 1
    return BufferSlice(start: entries[Int(index)].start, byteCount: byteCount, buffer: BufferID(index: index))
  }

  // MARK: Buffers outside the limits

  /// A page-aligned zeroed buffer beyond the limits of the pool, held once; nil when the system has no memory. For the few that their owner
  /// keeps for long and must never wait for (journal, bounce buffers). It goes back to the system with its last holder.
  public func reserve(byteCount: Int) -> BufferSlice? {
    guard !refusesToReserve, let start = BufferPool.map(byteCount) else { return nil }
    let index = add(Entry(start: start, byteCount: byteCount, holders: 1, sizeClass: BufferPool.reserved))
    reservedByteCount += byteCount
    return BufferSlice(start: start, byteCount: byteCount, buffer: BufferID(index: index))
  }

  private static let reserved: Int8 = -1
  /// For tests: as if the system had no memory.
  package var refusesToReserve = false

  // MARK: Holders

  /// One more holder: a disk keeps the buffer of a hung request until the kernel has let go of it.
  public func retain(_ buffer: BufferID) {
    if buffer == .unpooled { return }
    entries[Int(buffer.index)].holders += 1
    if entries[Int(buffer.index)].sizeClass == BufferPool.page { pageKeeper?.pageGained(Int(buffer.index - firstPage)) }
  }

  /// Nobody but the caller, who holds it, holds this buffer: no hung request can change or send its bytes.
  public func isExclusive(_ buffer: BufferID) -> Bool { buffer != .unpooled && entries[Int(buffer.index)].holders == 1 }

  /// For who keeps `slice`, a whole buffer, and is about to use it again: the same slice while nobody else holds it, else a reserved one of the
  /// same size in its place; nil when the system has no memory for that (`slice` stays the caller's, not to be used yet).
  public func exclusive(_ slice: BufferSlice) -> BufferSlice? {
    if isExclusive(slice.buffer) { return slice }
    guard let fresh = reserve(byteCount: slice.byteCount) else { return nil }
    release(slice.buffer)
    return fresh
  }

  /// One holder less; the last one gives the buffer back.
  public func release(_ buffer: BufferID) {
    if buffer == .unpooled { return }
    let index = Int(buffer.index)
    entries[index].holders -= 1
    assert(entries[index].holders >= 0, "released more often than held")
    if entries[index].sizeClass == BufferPool.page { return pageLost(buffer.index) }
    if entries[index].holders == 0 { free(buffer.index) }
  }

  private func pageLost(_ index: Int32) {
    assert(entries[Int(index)].holders >= 1, "the cache holds its pages for ever")
    pageKeeper?.pageLost(Int(index - firstPage))
  }

  private func free(_ index: Int32) {
    let sizeClass = entries[Int(index)].sizeClass
    if sizeClass == BufferPool.reserved { return unmapReserved(index) }
    heldCount -= 1
    freeByClass[Int(sizeClass)].append(index)
    if !waiting.isEmpty { waiting.wakeAll() }  // of different sizes: each looks again
  }

  private func unmapReserved(_ index: Int32) {
    if isDiscarded { return }
    munmap(entries[Int(index)].start, entries[Int(index)].byteCount)
    reservedByteCount -= entries[Int(index)].byteCount
    entries[Int(index)].byteCount = 0
    vacant.append(index)
  }

  /// The registered buffer that `slice` lies in; -1 for none.
  @inline(__always)
  func registeredIndex(of slice: BufferSlice) -> Int32 {
    if isRegistered && slice.start >= region && slice.start < regionEnd { return 0 }
    guard arePagesRegistered, let pages, let pagesEnd, slice.start >= pages, slice.start < pagesEnd else { return -1 }
    return 1 + Int32(truncatingIfNeeded: (slice.start - pages) / RingLimits.registeredBufferByteCount)
  }

  /// Gives the memory of large buffers that nobody uses back to the system.
  public func releaseIdleLargeBuffers() {
    if isDiscarded { return }
    for sizeClass in 1..<limits.classCount {
      for index in freeByClass[sizeClass] where entries[Int(index)].byteCount > 0 {
        munmap(entries[Int(index)].start, entries[Int(index)].byteCount)
        largeByteCount -= entries[Int(index)].byteCount
        entries[Int(index)].byteCount = 0
        vacant.append(index)
      }
      freeByClass[sizeClass].removeAll(keepingCapacity: true)
    }
  }

  /// Anonymous zeroed memory on a page boundary, or nil when the system has none.
  private static func map(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return start == UnsafeMutableRawPointer(bitPattern: -1) ? nil : start  // MAP_FAILED
  }
}
