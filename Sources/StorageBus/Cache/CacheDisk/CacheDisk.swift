import BlockDevice
import Reactor

/// The second level of the read cache: pages on a fast disk, for the capacity disks that are bound to it (`BusDevice.bind`). It holds nothing
/// that a capacity disk does not hold as well, so losing it costs time and nothing else.
///
/// Why it is never believed wrongly:
/// - What lies in which slot, and what its checksum is, is known in memory alone while the cache is open. A slot that was never written, that
///   a lost or misdirected write left as it was, or that decayed, does not match the checksum: the page is dropped and the capacity disk asked.
/// - A change of a capacity disk drops its pages before the disk is sent the change, so nothing on the cache disk has to be invalidated.
/// - A slot that is being read or written is given to no other page until that has ended, however long the cache disk takes.
/// - The index is written when the cache is closed, and believed only once: `open` erases the clean mark durably before anything else, and
///   takes over pages only of capacity disks that still have the nonce of that closing.
///
/// **For the owner.** At a writable opening of the pool: find out each capacity disk's nonce as it was found; `open` the cache disks with
/// these; only then change nonces and write to capacity disks; `bind` at once. At the end: stop all writing of data, `close` with the nonces that
/// the disks now have. A pool that is only read leaves its cache disks alone.
public final class CacheDisk: @unchecked Sendable {  // reactor-confined
  enum State { case open, closing, closed, lost }

  /// A capacity disk that has, or had, pages here.
  struct Member {
    var id: StorageUUID
    /// Nobody has changed it since its pages were taken over, as far as this cache knows: it was not bound yet.
    var isWarm = false
    var isBound = false
    /// Its pages are being forgotten; until they are, its number is not given to another.
    var isRetiring = false
    var counters = CacheDiskCounters()

    var isFree: Bool { !isWarm && !isBound && !isRetiring }
  }

  public let device: BlockDevice
  public let options: CacheDiskOptions
  let start: UInt64
  let layout: CacheDiskLayout
  let reactor: any Reactor
  /// Of this opening, random.
  let session: UInt64
  /// Of the newest header.
  var generation: UInt64
  var directory: PageDirectory<AdaptiveOrder>
  /// By slot.
  var checksums: FlatArray<UInt32>
  /// By slot: 1 while the cache disk has not got the page yet.
  var isFilling: FlatArray<UInt8>
  var admission: AdmissionFilter
  /// By their numbers in this cache; nobody has number 0.
  var members = [Member(id: StorageUUID(high: 0, low: 0))]
  var bindings: [HybridPages] = []
  var state = State.open
  /// Of disks that are bound no more.
  var pastCounters = CacheDiskCounters()
  /// By the numbers of virtual disks: hits and misses alone.
  var virtualDiskCounters: [CacheDiskCounters] = []
  /// Says once why the cache disk was given up.
  var onLost: (@Sendable (CacheDiskLoss) -> Void)?
  public internal(set) var loss: CacheDiskLoss?

  // What is in flight: see CacheDisk+IO.
  var readers: [PageReader] = []
  var idleReaders: [PageReader] = []
  /// By virtual disk: those that are not idle.
  var readsInFlight: [Int] = []
  var fills: [PageFill] = []
  var idleFills: [PageFill] = []
  var waitingForReader = WaitQueue()
  var waitingForQuiet = WaitQueue()
  var inFlight = 0
  var overdueCount = 0
  var isWatching = false
  /// Rises with errors, falls with successes.
  var trouble = 0

  init(
    _ device: BlockDevice, start: UInt64, layout: CacheDiskLayout, options: CacheDiskOptions, session: UInt64, generation: UInt64
  ) throws(BlockError) {
    self.device = device
    self.start = start
    self.layout = layout
    self.options = options
    self.session = session
    self.generation = generation
    reactor = device.reactor
    let hash = PageHash(seed: reactor.random())
    directory = try PageDirectory(capacity: layout.slotCount, hash: hash)
    checksums = try FlatArray(count: layout.slotCount)
    isFilling = try FlatArray(count: layout.slotCount)
    admission = try AdmissionFilter(rule: options.admission, hash: hash)
    readers.reserveCapacity(CacheLimits.cacheDiskReads)
    idleReaders.reserveCapacity(CacheLimits.cacheDiskReads)
    fills.reserveCapacity(CacheLimits.cacheDiskFills)
    idleFills.reserveCapacity(CacheLimits.cacheDiskFills)
    options.memory?.take(memoryByteCount)
    (device as? BusDevice)?.carriedCache = self
  }

  deinit { options.memory?.giveBack(memoryByteCount) }

  public var pageByteCount: Int { layout.pageByteCount }
  public var pageCount: Int { layout.slotCount }
  public var usedPageCount: Int { directory.count }
  public var freePageCount: Int { directory.freeCount }
  /// It is asked for pages and given new ones.
  public var isUsable: Bool { state == .open }
  /// It takes so long to answer that nobody asks it anything at the moment.
  public var isOverdue: Bool { overdueCount > 0 }
  /// Bytes of memory that the directory takes, at most.
  public var memoryByteCount: Int { layout.slotCount * CacheLimits.cacheDiskMemoryPerPage }
  /// Bytes of the disk that lie idle for want of memory for the directory.
  public var idleByteCount: UInt64 {
    let whole = CacheDiskLayout(byteCount: layout.byteCount, pageByteCount: pageByteCount, mostSlots: .max)
    return UInt64((whole?.slotCount ?? 0) - layout.slotCount) * UInt64(pageByteCount)
  }

  /// For people, of the disk that it lies on.
  var remarks: [String] {
    let idle = idleByteCount
    if idle == 0 { return [] }
    return [
      "\(idle >> 20) MiB lie idle: to know the pages there would take more memory than the \(options.memoryByteCount >> 20) MiB that it may take"
    ]
  }

  /// Of all capacity disks, those that are bound no more included.
  public var counters: CacheDiskCounters { members.reduce(into: pastCounters) { $0.add($1.counters) } }

  /// The capacity disks that are bound to it.
  public var boundDisks: [StorageUUID] { members.filter(\.isBound).map(\.id) }

  // MARK: Pages

  @inline(__always)
  func isCached(_ key: PageKey) -> Bool { directory.frame(of: key.value).map { isFilling[$0] == 0 } ?? false }

  /// The page is not cached any more. Whoever is reading its slot finds that out, and nobody else is given the slot before.
  @inline(__always)
  func drop(_ key: PageKey) {
    if directory.remove(key.value) { members[Int(key.disk)].counters.dropped &+= 1 }
  }

  /// Drops a range of pages: by asking for each, or, of a range that is longer than the cache disk, by looking at every slot.
  func drop(_ disk: UInt16, _ range: Range<UInt64>) {
    if directory.count == 0 { return }
    if range.count <= layout.slotCount {
      for page in range { drop(PageKey(disk: disk, page: page)) }
      return
    }
    for slot in 0..<layout.slotCount {
      guard let key = directory.page(in: slot).map(PageKey.init(value:)), key.disk == disk, range.contains(key.page) else { continue }
      drop(key)
    }
  }

  // MARK: Capacity disks

  /// A number for a capacity disk's pages; nil when 65,535 have one, or the disk is bound already.
  /// - Parameter isWarm: whether pages that were taken over may be believed: nobody has changed the disk since it was found.
  func addMember(_ id: StorageUUID, isWarm: Bool) -> UInt16? {
    if let number = members.firstIndex(where: { $0.id == id && ($0.isWarm || $0.isBound) }) {
      if members[number].isBound { return nil }
      members[number].isWarm = false
      if isWarm {
        members[number].isBound = true
        return UInt16(number)
      }
      retire(UInt16(number))
    }
    guard let number = freeNumber() else { return nil }
    members[Int(number)] = Member(id: id, isBound: true)
    return number
  }

  private func freeNumber() -> UInt16? {
    if let number = members.indices.dropFirst().first(where: { members[$0].isFree }) { return UInt16(number) }
    guard members.count <= Int(UInt16.max) else { return nil }
    members.append(Member(id: StorageUUID(high: 0, low: 0)))
    return UInt16(members.count - 1)
  }

  /// A capacity disk is bound no more.
  func remove(_ binding: HybridPages) {
    bindings.removeAll { $0 === binding }
    if state == .open { retire(binding.number) }
  }

  /// Forgets a disk's pages, a few at a time: nobody asks for them any more.
  func retire(_ number: UInt16) {
    pastCounters.add(members[Int(number)].counters)
    members[Int(number)].counters = CacheDiskCounters()
    members[Int(number)].isWarm = false
    members[Int(number)].isBound = false
    members[Int(number)].isRetiring = true
    reactor.spawn { [self] in
      for first in stride(from: 0, to: layout.slotCount, by: CacheLimits.cacheDiskSlotsPerTurn) {
        if state != .open { return }
        for slot in first..<min(layout.slotCount, first + CacheLimits.cacheDiskSlotsPerTurn) {
          if let page = directory.page(in: slot), PageKey(value: page).disk == number { directory.remove(page) }
        }
        await reactor.sleep(milliseconds: 0)
      }
      members[Int(number)].isRetiring = false
    }
  }

  /// Forgets what was taken over of capacity disks that have not been bound: they are changed without this cache knowing.
  public func forgetUnbound() {
    for number in members.indices where members[number].isWarm { retire(UInt16(number)) }
  }
}

/// How a cache disk is used.
public struct CacheDiskOptions: Sendable {
  public var pool: StorageUUID
  /// The cache disk's own.
  public var id: StorageUUID
  /// One of `CacheLimits.pageByteCounts`; nil for 16 KiB, or 32 or 64 where the memory for so many pages would be too much. Another size than
  /// before makes the cache cold.
  public var pageByteCount: Int?
  /// Bytes of memory that may be taken to know its pages; of a disk with more of them the rest lies idle.
  public var memoryByteCount = CacheLimits.cacheDiskMemoryByteCount
  /// What that memory is taken from; nil where nobody counts.
  public var memory: DirectoryMemory?
  /// For capacity disks without a memory cache; those with one admit what that admits.
  public var admission = CacheAdmission.windows
  public var patienceMilliseconds = CacheLimits.cacheDiskPatienceMilliseconds
  public var stallMilliseconds = CacheLimits.cacheDiskStallMilliseconds

  public init(pool: StorageUUID, id: StorageUUID) {
    self.pool = pool
    self.id = id
  }

  /// Whether what a cache disk with this header holds may be taken over.
  func mayBeWarm(_ header: CacheDiskHeader) -> Bool { header.isClean && header.pool == pool && header.cacheDisk == id }

  /// How the range of a cache disk with this header is divided: as it is, so that it is warm, while there is memory to know its pages and another
  /// division would not use more than twice as much of it. What each of several may have changes when one is added. nil where there is no room
  /// for a single page.
  func layout(byteCount: UInt64, of header: CacheDiskHeader?) -> CacheDiskLayout? {
    guard let new = layout(byteCount: byteCount) else { return nil }
    let mostSlots = min(memory?.freeByteCount ?? memoryByteCount, CacheLimits.cacheDiskMemoryByteCount) / CacheLimits.cacheDiskMemoryPerPage
    guard let header, mayBeWarm(header), header.slotCount <= UInt64(max(0, mostSlots)),
      CacheLimits.pageByteCounts.contains(header.pageByteCount), pageByteCount ?? header.pageByteCount == header.pageByteCount,
      let present = CacheDiskLayout(byteCount: byteCount, pageByteCount: header.pageByteCount, mostSlots: Int(header.slotCount)),
      header.hasLayout(present), new.usableByteCount / 2 <= present.usableByteCount
    else { return new }
    return present
  }

  /// How a range of so many bytes is divided at first; nil where there is no room for a single page.
  func layout(byteCount: UInt64) -> CacheDiskLayout? {
    let mostSlots = memoryByteCount / CacheLimits.cacheDiskMemoryPerPage
    if let pageByteCount { return CacheDiskLayout(byteCount: byteCount, pageByteCount: pageByteCount, mostSlots: mostSlots) }
    let sizes = CacheLimits.pageByteCounts.filter { $0 >= CacheLimits.pageByteCount }
    let pageByteCount = sizes.first { byteCount / UInt64($0) <= UInt64(mostSlots) } ?? sizes[sizes.count - 1]
    return CacheDiskLayout(byteCount: byteCount, pageByteCount: pageByteCount, mostSlots: mostSlots)
  }
}

/// Why a cache disk was given up.
public enum CacheDiskLoss: Equatable, Sendable, CustomStringConvertible {
  /// It did not answer for so long.
  case stalled(milliseconds: UInt64)
  /// It failed too often, at last with this.
  case errors(BlockError)
  /// Too often it did not hold what was written to it.
  case corrupt
  /// It is not there any more, or its owner has given it up.
  case gone(BlockError)

  public var description: String {
    switch self {
    case .stalled(let milliseconds): "the cache disk has not answered for \(milliseconds / 1000) seconds"
    case .errors(let error): "the cache disk failed too often, at last: \(error)"
    case .corrupt: "the cache disk does not keep what is written to it"
    case .gone(let error): "the cache disk is gone: \(error)"
    }
  }
}
