import BlockDevice
import Reactor

/// One capacity disk's reads and writes through the cache disk that it is bound to: a hybrid disk. Offsets are the capacity disk's own.
///
/// Changes go round the cache: the pages are dropped before the disk is sent the change, and come in again only when no change of them was
/// under way or begun while they were read (`WriteWatch`). Whatever goes wrong with the cache disk, the capacity disk is asked instead.
final class HybridPages: @unchecked Sendable {  // reactor-confined
  /// Whether pages that a read misses come in.
  enum Keeping {
    /// As the memory cache has decided.
    case decided(Bool)
    /// As the cache disk's own admission filter says, for a read of so many bytes.
    case asked(byteCount: Int, isSequential: Bool)
  }

  /// One read on its way through the pages.
  private struct Passage {
    let keeping: Keeping
    /// The decision about the page that was asked about last: each is asked about once.
    var decided: (page: UInt64, decision: AdmissionDecision)?
    /// The cache disk failed this page: it is not asked again.
    var passedOver: UInt64?
  }

  let store: CacheDisk
  let number: UInt16
  unowned let bus: BusDevice
  private var watch = WriteWatch()
  private(set) var isEnded = false
  /// Changes under way that `watch` knows of.
  private(set) var changesInFlight = 0
  private let pageShift: UInt64
  private let diskByteCount: UInt64

  init(_ store: CacheDisk, number: UInt16, bus: BusDevice) {
    self.store = store
    self.number = number
    self.bus = bus
    pageShift = UInt64(store.pageByteCount.trailingZeroBitCount)
    diskByteCount = bus.disk.geometry.byteCount
  }

  /// Nothing is cached from here on. The cache disk forgets, or keeps for the next session, what it has.
  func end() {
    if isEnded { return }
    isEnded = true
    bus.hybridHasEnded(self)
  }

  /// The same, when there is no bus any more.
  func busIsGone() {
    isEnded = true
    store.remove(self)
  }

  var counters: CacheDiskCounters { isEnded ? CacheDiskCounters() : store.members[Int(number)].counters }

  @inline(__always)
  private func key(_ page: UInt64) -> PageKey { PageKey(disk: number, page: page) }

  @inline(__always)
  private func pages(_ offset: UInt64, _ byteCount: UInt64) -> Range<UInt64> {
    offset >> pageShift..<(offset + byteCount + UInt64(store.pageByteCount) - 1) >> pageShift
  }

  // MARK: Reading

  /// Without a memory cache: this cache decides what comes in.
  func read(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let stream = UInt32(number) << 16 | UInt32(UInt16(truncatingIfNeeded: request.virtualDisk.number))
    let isSequential = store.admission.noteRead(stream: stream, offset: offset, byteCount: UInt64(slice.byteCount))
    try await read(at: offset, into: slice, .asked(byteCount: slice.byteCount, isSequential: isSequential), request)
  }

  func read(at offset: UInt64, into slice: BufferSlice, _ keeping: Keeping, _ request: IORequest) async throws(BlockError) {
    var passage = Passage(keeping: keeping)
    var done = 0
    let virtualDisk = request.virtualDisk
    while done < slice.byteCount {
      // A disk that failed a flush may have forgotten what the cache still has.
      if isEnded || bus.disk.hasFailedFlush {
        return try await bus.readCapacity(
          at: offset + UInt64(done), into: slice.part(from: done, byteCount: slice.byteCount - done), request)
      }
      let position = offset + UInt64(done)
      let count = await readCached(at: position, into: slice.part(from: done, byteCount: slice.byteCount - done), &passage, virtualDisk)
      if count > 0 {
        store.count(hit: count, pages(position, UInt64(count)).count, virtualDisk)
        done += count
        continue
      }
      done += try await readMissed(at: position, into: slice.part(from: done, byteCount: slice.byteCount - done), &passage, request)
    }
  }

  /// What part of a page `position` and what follows it is.
  @inline(__always)
  private func piece(_ position: UInt64, _ byteCount: Int) -> (page: UInt64, skip: Int, byteCount: Int) {
    let skip = Int(position & UInt64(store.pageByteCount - 1))
    return (position >> pageShift, skip, min(byteCount, store.pageByteCount - skip))
  }

  /// Copies the pages that the cache disk has, from `offset` on up to the first that it has not; some are read at the same time.
  /// - Returns: bytes; 0 when it has not got the first.
  private func readCached(
    at offset: UInt64, into slice: BufferSlice, _ passage: inout Passage, _ virtualDisk: VirtualDiskHandle
  ) async -> Int {
    let first = offset >> pageShift
    while store.mayRead && first != passage.passedOver && store.isCached(key(first)) && !store.hasReader(for: virtualDisk) {
      await store.waitForReader()
    }
    if isEnded || first == passage.passedOver { return 0 }
    var oldest: PageReader?
    var newest: PageReader?
    var begun = 0
    var ahead = 0
    var done = 0
    while true {
      // Keep a few reads ahead of the one that is waited for.
      while ahead < CacheLimits.cacheDiskReadsPerRequest && begun < slice.byteCount && !isEnded {
        let next = piece(offset + UInt64(begun), slice.byteCount - begun)
        guard let reader = store.beginRead(key(next.page), for: virtualDisk) else { break }
        reader.next = nil
        if newest == nil { oldest = reader } else { newest?.next = reader }
        newest = reader
        begun += next.byteCount
        ahead += 1
      }
      guard let reader = oldest else { return done }
      oldest = reader.next.take()
      if oldest == nil { newest = nil }
      ahead -= 1
      let part = piece(offset + UInt64(done), slice.byteCount - done)
      guard await store.finish(reader) else {
        passage.passedOver = part.page
        while let left = oldest {
          oldest = left.next.take()
          store.leave(left)
        }
        return done
      }
      (slice.start + done).copyMemory(from: reader.buffer.start + part.skip, byteCount: part.byteCount)
      store.giveBack(reader)
      store.members[Int(number)].counters.hits &+= 1
      store.members[Int(number)].counters.hitBytes &+= UInt64(part.byteCount)
      done += part.byteCount
    }
  }

  /// Reads from the capacity disk: a page that comes in whole, or a run of pages that fare alike in one piece.
  /// - Returns: bytes.
  private func readMissed(
    at offset: UInt64, into slice: BufferSlice, _ passage: inout Passage, _ request: IORequest
  ) async throws(BlockError) -> Int {
    let first = piece(offset, slice.byteCount)
    let keeps = keeps(first.page, &passage)
    countMiss(first.byteCount, passage, request)
    if keeps && first.byteCount < store.pageByteCount {
      try await readPage(first.page, first.skip, into: slice.part(from: 0, byteCount: first.byteCount), request)
      return first.byteCount
    }
    var end = first.byteCount
    while end < slice.byteCount {
      let next = piece(offset + UInt64(end), slice.byteCount - end)
      if store.mayRead && store.isCached(key(next.page)) { break }
      if self.keeps(next.page, &passage) != keeps || (keeps && next.byteCount < store.pageByteCount) { break }
      countMiss(next.byteCount, passage, request)
      end += next.byteCount
    }
    try await readRun(at: offset, into: slice.part(from: 0, byteCount: end), keeps: keeps, request)
    return end
  }

  private func countMiss(_ byteCount: Int, _ passage: Passage, _ request: IORequest) {
    if isEnded { return }
    let decision: AdmissionDecision? =
      switch passage.keeping {
      case .decided(let keeps): keeps ? .admitted : nil
      case .asked: passage.decided?.decision
      }
    store.count(miss: byteCount, decision, number, request.virtualDisk)
  }

  private func keeps(_ page: UInt64, _ passage: inout Passage) -> Bool {
    switch passage.keeping {
    case .decided(let keeps): return keeps
    case .asked(let byteCount, let isSequential):
      if let decided = passage.decided, decided.page == page { return decided.decision.isAdmitted }
      let decision = store.admission.decide(
        page: key(page).value, byteCount: UInt64(byteCount), isSequential: isSequential, at: store.reactor.now.nanoseconds / 1000)
      passage.decided = (page, decision)
      return decision.isAdmitted
    }
  }

  /// Reads the whole page into a buffer of the cache's, hands out the part that is wanted, and lets the rest go to the cache disk in the
  /// background.
  private func readPage(_ page: UInt64, _ skip: Int, into part: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let offset = page << pageShift
    let (began, isQuiet) = (watch.now, bus.unwatchedChanges == 0)
    guard !isEnded, offset + UInt64(store.pageByteCount) <= diskByteCount, watch.isUntouched(page, since: began), isQuiet,
      let fill = store.takeFill(key(page), for: request.virtualDisk)
    else { return try await bus.readCapacity(at: offset + UInt64(skip), into: part, request) }
    do throws(BlockError) { try await bus.readCapacity(at: offset, into: fill.buffer, request) } catch {
      store.giveBack(fill)
      if error.cause == .stalled { throw error }
      // Perhaps only a part that nobody asked for cannot be read.
      return try await bus.readCapacity(at: offset + UInt64(skip), into: part, request)
    }
    part.start.copyMemory(from: fill.buffer.start + skip, byteCount: part.byteCount)
    if isGood(page, since: began) { store.start(fill, key(page), for: request.virtualDisk) } else { store.giveBack(fill) }
  }

  /// Reads a run of pages straight to where it is wanted; the whole pages of it go to the cache disk.
  private func readRun(at offset: UInt64, into slice: BufferSlice, keeps: Bool, _ request: IORequest) async throws(BlockError) {
    let (began, isQuiet) = (watch.now, bus.unwatchedChanges == 0)
    try await bus.readCapacity(at: offset, into: slice, request)
    guard keeps && isQuiet else { return }
    for page in pages(offset, UInt64(slice.byteCount)) {
      guard isGood(page, since: began), let fill = store.takeFill(key(page), for: request.virtualDisk) else { continue }
      fill.buffer.start.copyMemory(from: slice.start + Int(page << pageShift - offset), byteCount: store.pageByteCount)
      store.start(fill, key(page), for: request.virtualDisk)
    }
  }

  /// Whether what was read of the page since that moment is what the disk has.
  private func isGood(_ page: UInt64, since began: UInt64) -> Bool {
    if isEnded { return false }
    if watch.isUntouched(page, since: began) || PlantedBug.overtakenFillKept.isPlanted { return true }
    store.members[Int(number)].counters.overtaken &+= 1
    return false
  }

  // MARK: Changing

  /// The capacity disk is about to be sent a write, trim or zeroing. Comes with one `endChange`.
  func beginChange(_ offset: UInt64, _ byteCount: UInt64) {
    changesInFlight += 1
    let pages = pages(offset, byteCount)
    watch.beginChange(pages)
    if !isEnded && !PlantedBug.cacheRefreshedAfterAnswer.isPlanted { store.drop(number, pages) }
  }

  /// The disk has answered, or failed.
  func endChange(_ offset: UInt64, _ byteCount: UInt64) {
    changesInFlight -= 1
    let pages = pages(offset, byteCount)
    watch.endChange(pages)
    if PlantedBug.cacheRefreshedAfterAnswer.isPlanted { dropLater(pages) }
  }

  /// Only for a planted bug.
  private func dropLater(_ pages: Range<UInt64>) {
    store.reactor.spawn { [self] in
      await store.reactor.sleep(milliseconds: 5)
      if !isEnded { store.drop(number, pages) }
    }
  }
}
