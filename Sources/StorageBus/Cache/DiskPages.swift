import BlockDevice
import CLinux
import Reactor

/// One disk's reads and writes through the memory cache. Offsets are the disk's own.
///
/// What keeps old bytes from being seen, whatever overlaps:
/// - A page comes into the cache only when no write of it was under way or begun while it was read (`WriteWatch`).
/// - A write changes the cached page after the disk has it and before it is answered. It does so only when it was the only write of the
///   page all the while, and nobody else uses the page's memory; else, and when it fails, the page is dropped.
/// - Trims and zeroing drop what they touch before they begin, and nothing comes in until they have ended.
final class DiskPages: @unchecked Sendable {  // reactor-confined
  /// A page that is being read from the disk.
  private final class Fill {
    var page: UInt64 = 0
    var waiters = WaitQueue()
  }

  let cache: MemoryCache
  private let number: UInt16
  private unowned let bus: BusDevice
  private var watch = WriteWatch()
  private var fills: [Fill] = []
  private var idleFills: [Fill] = []
  private var isEnded = false
  private let diskByteCount: UInt64

  init?(cache: MemoryCache, bus: BusDevice) {
    guard let number = cache.takeDiskNumber() else { return nil }
    self.number = number
    self.cache = cache
    self.bus = bus
    diskByteCount = bus.disk.geometry.byteCount
    fills.reserveCapacity(CacheLimits.fillsInFlight)
  }

  deinit { if !isEnded { cache.giveBackDiskNumber(number) } }

  /// The disk is gone, or is not believed any more: nothing of it is cached from here on.
  func end() {
    if isEnded { return }
    isEnded = true
    cache.giveBackDiskNumber(number)
  }

  var counters: CacheCounters { isEnded ? CacheCounters() : cache.diskCounters[Int(number)] }

  @inline(__always)
  private func key(_ page: UInt64) -> PageKey { PageKey(disk: number, page: page) }

  @inline(__always)
  private func pages(_ offset: UInt64, _ byteCount: UInt64) -> Range<UInt64> {
    offset >> cache.pageShift..<(offset + byteCount + UInt64(cache.pageByteCount) - 1) >> cache.pageShift
  }

  /// What a run of reads belongs to: a virtual disk on this disk.
  @inline(__always)
  private func stream(_ request: IORequest) -> UInt32 {
    UInt32(number) << 16 | UInt32(UInt16(truncatingIfNeeded: request.virtualDisk.number))
  }

  // MARK: Reading

  /// The bytes, held for the caller, when they are within one page that is cached.
  @inline(__always)
  func readInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    let skip = Int(offset & UInt64(cache.pageByteCount - 1))
    guard !isEnded, byteCount > 0, skip + byteCount <= cache.pageByteCount, let memory = cache.hitToSend(key(offset >> cache.pageShift))
    else { return nil }
    _ = cache.noteRead(stream(request), offset, byteCount)
    cache.count(hit: byteCount, number, request.virtualDisk)
    return memory.part(from: skip, byteCount: byteCount)
  }

  /// Cached pages are copied; what lies between them comes from the disk, whole pages that are admitted in one piece.
  func read(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if isEnded || slice.byteCount == 0 { return try await bus.readDisk(at: offset, into: slice, request) }
    let isWanted = request.cacheHint == .willNeed
    let isSequential = !isWanted && cache.noteRead(stream(request), offset, slice.byteCount)
    var decided: AdmissionDecision?
    var done = 0
    while done < slice.byteCount {
      let position = offset + UInt64(done)
      let page = position >> cache.pageShift
      let skip = Int(position & UInt64(cache.pageByteCount - 1))
      let count = min(slice.byteCount - done, cache.pageByteCount - skip)
      let part = slice.part(from: done, byteCount: count)
      if copyCached(page, skip, into: part, request) {
        decided = nil
        done += count
        continue
      }
      let decision = isWanted ? .admitted : decided ?? decide(page, slice.byteCount, isSequential)
      decided = nil
      cache.count(miss: count, decision, number, request.virtualDisk)
      if decision.isAdmitted && (count < cache.pageByteCount || done + count == slice.byteCount) {
        try await readPage(page, skip, into: part, request)
        done += count
        continue
      }
      // The run of pages that fare alike.
      var end = done + count
      while end < slice.byteCount && !(isEnded || cache.isCached(key((offset + UInt64(end)) >> cache.pageShift))) {
        let next = min(slice.byteCount - end, cache.pageByteCount)
        let nextDecision = isWanted ? .admitted : decide((offset + UInt64(end)) >> cache.pageShift, slice.byteCount, isSequential)
        if nextDecision != decision || (decision.isAdmitted && next < cache.pageByteCount) {
          decided = nextDecision
          break
        }
        cache.count(miss: next, nextDecision, number, request.virtualDisk)
        end += next
      }
      try await readRun(at: position, into: slice.part(from: done, byteCount: end - done), keeps: decision.isAdmitted, request)
      done = end
    }
  }

  private func decide(_ page: UInt64, _ byteCount: Int, _ isSequential: Bool) -> AdmissionDecision {
    cache.decide(key(page), byteCount: byteCount, isSequential: isSequential)
  }

  private func copyCached(_ page: UInt64, _ skip: Int, into part: BufferSlice, _ request: IORequest) -> Bool {
    guard !isEnded, let memory = cache.hit(key(page)) else { return false }
    part.start.copyMemory(from: memory.start + skip, byteCount: part.byteCount)
    cache.count(hit: part.byteCount, number, request.virtualDisk)
    return true
  }

  /// Reads the whole page into the cache, and hands out the part that is wanted.
  private func readPage(_ page: UInt64, _ skip: Int, into part: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let offset = page << cache.pageShift + UInt64(skip)
    if let fill = fills.first(where: { $0.page == page }) {
      // Somebody is reading this page: one read serves all who want it.
      await withUnsafeContinuation { fill.waiters.append($0) }
      if copyCached(page, skip, into: part, request) { return }
      return try await bus.readDisk(at: offset, into: part, request)
    }
    let end = (page + 1) << cache.pageShift
    let began = watch.now
    guard !isEnded, end <= diskByteCount, fills.count < CacheLimits.fillsInFlight, watch.isUntouched(page, since: began),
      let frame = cache.beginFill(key(page), for: request.virtualDisk)
    else { return try await bus.readDisk(at: offset, into: part, keeps: true, request) }
    do throws(BlockError) { try await fill(page, frame, began, skip, part, request) } catch {
      if error.cause == .stalled { throw error }
      // Perhaps only a part that nobody asked for cannot be read.
      try await bus.readDisk(at: offset, into: part, request)
    }
  }

  private func fill(
    _ page: UInt64, _ frame: Int, _ began: UInt64, _ skip: Int, _ part: BufferSlice, _ request: IORequest
  ) async throws(BlockError) {
    let fill = idleFills.popLast() ?? Fill()
    fill.page = page
    fills.append(fill)
    defer {
      fills.removeAll { $0 === fill }
      fill.waiters.wakeAll()
      idleFills.append(fill)
    }
    let memory = cache.buffers.page(frame)
    do throws(BlockError) { try await bus.readDisk(at: page << cache.pageShift, into: memory, keeps: true, request) } catch {
      _ = cache.endFill(key(page), frame, isGood: false)
      if !isEnded { cache.count(number, request.virtualDisk) { $0.errors &+= 1 } }
      throw error
    }
    part.start.copyMemory(from: memory.start + skip, byteCount: part.byteCount)
    let isGood = !isEnded && isGood(page, since: began)
    if !cache.endFill(key(page), frame, isGood: isGood) && !isEnded { cache.count(number, request.virtualDisk) { $0.overtaken &+= 1 } }
  }

  /// Whether what was read of the page since that moment is what the disk has.
  @inline(__always)
  private func isGood(_ page: UInt64, since began: UInt64) -> Bool {
    watch.isUntouched(page, since: began) || PlantedBug.overtakenFillKept.isPlanted
  }

  /// Reads a run of pages in one piece, straight to where it is wanted; the whole pages of it are copied into the cache.
  private func readRun(at offset: UInt64, into slice: BufferSlice, keeps: Bool, _ request: IORequest) async throws(BlockError) {
    let began = watch.now
    try await bus.readDisk(at: offset, into: slice, keeps: keeps, request)
    guard keeps else { return }
    for page in pages(offset, UInt64(slice.byteCount)) {
      guard !isEnded, isGood(page, since: began), let frame = cache.beginFill(key(page), for: request.virtualDisk) else { continue }
      let source = slice.start + Int(page << cache.pageShift - offset)
      cache.buffers.page(frame).start.copyMemory(from: source, byteCount: cache.pageByteCount)
      _ = cache.endFill(key(page), frame, isGood: true)
    }
  }

  // MARK: Writing

  func write(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if isEnded || slice.byteCount == 0 { return try await bus.writeDisk(at: offset, from: slice, request) }
    let pages = pages(offset, UInt64(slice.byteCount))
    for page in pages { watch.beginWrite(page) }
    var failure: BlockError?
    do throws(BlockError) { try await bus.writeDisk(at: offset, from: slice, request) } catch { failure = error }
    for page in pages {
      let wasAlone = watch.endWrite(page)
      if isEnded { continue }
      if PlantedBug.cacheRefreshedAfterAnswer.isPlanted {
        dropLater(page)
      } else if wasAlone && failure == nil {
        refresh(page, offset, slice, request)
      } else {
        drop(page)
      }
    }
    if let failure { throw failure }
  }

  /// Only for a planted bug.
  private func dropLater(_ page: UInt64) {
    let reactor = bus.reactor
    reactor.spawn { [self] in
      await reactor.sleep(milliseconds: 5)
      if !isEnded { drop(page) }
    }
  }

  /// The cached page gets what was written, unless somebody still uses its memory.
  private func refresh(_ page: UInt64, _ offset: UInt64, _ slice: BufferSlice, _ request: IORequest) {
    guard let memory = cache.refreshable(key(page)) else { return }
    let pageStart = page << cache.pageShift
    let from = max(pageStart, offset)
    let to = min(pageStart + UInt64(cache.pageByteCount), offset + UInt64(slice.byteCount))
    (memory.start + Int(from - pageStart)).copyMemory(from: slice.start + Int(from - offset), byteCount: Int(to - from))
    cache.count(number, request.virtualDisk) { $0.refreshedBytes &+= to - from }
  }

  private func drop(_ page: UInt64) { if cache.drop(key(page)) { cache.diskCounters[Int(number)].dropped &+= 1 } }

  /// Runs a trim or a zeroing: what it touches is not cached when it begins, and does not come in before it has ended.
  func change(at offset: UInt64, byteCount: UInt64, _ body: () async throws(BlockError) -> Void) async throws(BlockError) {
    if isEnded || byteCount == 0 { return try await body() }
    let pages = pages(offset, byteCount)
    cache.diskCounters[Int(number)].dropped &+= UInt64(cache.drop(number, pages))
    watch.beginChange(pages)
    defer { watch.endChange(pages) }
    try await body()
  }
}
