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

  @inline(__always)
  private func key(_ page: UInt64) -> PageKey { PageKey(disk: number, page: page) }

  @inline(__always)
  private func pages(_ offset: UInt64, _ byteCount: UInt64) -> Range<UInt64> {
    offset >> cache.pageShift..<(offset + byteCount + UInt64(cache.pageByteCount) - 1) >> cache.pageShift
  }

  // MARK: Reading

  /// The bytes, held for the caller, when they are within one page that is cached.
  @inline(__always)
  func readInPlace(at offset: UInt64, byteCount: Int) -> BufferSlice? {
    let page = offset >> cache.pageShift
    let skip = Int(offset & UInt64(cache.pageByteCount - 1))
    guard !isEnded, byteCount > 0, skip + byteCount <= cache.pageByteCount, let memory = cache.hit(key(page)) else { return nil }
    count(hit: byteCount)
    cache.buffers.retain(memory.buffer)
    return memory.part(from: skip, byteCount: byteCount)
  }

  private func count(hit byteCount: Int) {
    cache.counters.hits &+= 1
    cache.counters.hitBytes &+= UInt64(byteCount)
  }

  /// Page by page where single pages are wanted; what lies between pages that are cached comes from the disk in one piece.
  func read(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if isEnded || slice.byteCount == 0 { return try await bus.readDisk(at: offset, into: slice, request) }
    let admits = true
    var done = 0
    while done < slice.byteCount {
      let position = offset + UInt64(done)
      let skip = Int(position & UInt64(cache.pageByteCount - 1))
      let rest = slice.byteCount - done
      let count = min(rest, cache.pageByteCount - skip)
      let part = slice.part(from: done, byteCount: count)
      if copyCached(position >> cache.pageShift, skip, into: part) {
        done += count
      } else if admits && (count < cache.pageByteCount || rest == count) {
        try await readPage(position >> cache.pageShift, skip, into: part, request)
        done += count
      } else {
        let run = slice.part(from: done, byteCount: missingByteCount(position, rest, wholePages: admits))
        try await readRun(at: position, into: run, keeps: admits, request)
        done += run.byteCount
      }
    }
  }

  private func copyCached(_ page: UInt64, _ skip: Int, into part: BufferSlice) -> Bool {
    guard let memory = cache.hit(key(page)) else { return false }
    part.start.copyMemory(from: memory.start + skip, byteCount: part.byteCount)
    count(hit: part.byteCount)
    return true
  }

  /// From `position` on up to the next page that is cached; with `wholePages` only whole ones.
  private func missingByteCount(_ position: UInt64, _ rest: Int, wholePages: Bool) -> Int {
    var count = min(rest, cache.pageByteCount - Int(position & UInt64(cache.pageByteCount - 1)))
    while count < rest && cache.peek(key((position + UInt64(count)) >> cache.pageShift)) == nil {
      let next = min(rest - count, cache.pageByteCount)
      if wholePages && next < cache.pageByteCount { break }
      count += next
    }
    return count
  }

  /// Reads the whole page into the cache, and hands out the part that is wanted.
  private func readPage(_ page: UInt64, _ skip: Int, into part: BufferSlice, _ request: IORequest) async throws(BlockError) {
    cache.counters.misses &+= 1
    let offset = page << cache.pageShift + UInt64(skip)
    if let fill = fills.first(where: { $0.page == page }) {
      // Somebody is reading this page: one read serves all who want it.
      await withUnsafeContinuation { fill.waiters.append($0) }
      if !isEnded && copyCached(page, skip, into: part) { return }
      return try await bus.readDisk(at: offset, into: part, request)
    }
    let end = (page + 1) << cache.pageShift
    guard end <= diskByteCount, fills.count < CacheLimits.fillsInFlight, let frame = cache.takeFrame() else {
      return try await bus.readDisk(at: offset, into: part, request)
    }
    do throws(BlockError) { try await fill(page, frame, skip, part, request) } catch {
      cache.counters.errors &+= 1
      if error.cause == .stalled { throw error }
      // Perhaps only a part that nobody asked for cannot be read.
      try await bus.readDisk(at: offset, into: part, request)
    }
  }

  private func fill(
    _ page: UInt64, _ frame: Int32, _ skip: Int, _ part: BufferSlice, _ request: IORequest
  ) async throws(BlockError) {
    let fill = idleFills.popLast() ?? Fill()
    fill.page = page
    fills.append(fill)
    defer {
      fills.removeAll { $0 === fill }
      fill.waiters.wakeAll()
      idleFills.append(fill)
    }
    let memory = cache.buffers.page(Int(frame))
    let began = watch.now
    do throws(BlockError) { try await bus.readDisk(at: page << cache.pageShift, into: memory, request) } catch {
      cache.giveBack(frame)
      throw error
    }
    part.start.copyMemory(from: memory.start + skip, byteCount: part.byteCount)
    keep(page, frame, readSince: began)
  }

  /// Puts a page that was read into the cache, unless it was written meanwhile.
  private func keep(_ page: UInt64, _ frame: Int32, readSince began: UInt64) {
    if !isEnded && watch.isUntouched(page, since: began) { return cache.insert(key(page), frame) }
    cache.counters.overtakenFills &+= 1
    cache.giveBack(frame)
  }

  /// Reads a run of pages in one piece, straight to where it is wanted; whole pages of it are copied into the cache.
  private func readRun(at offset: UInt64, into slice: BufferSlice, keeps: Bool, _ request: IORequest) async throws(BlockError) {
    let pages = pages(offset, UInt64(slice.byteCount))
    cache.counters.misses &+= UInt64(pages.count)
    let began = watch.now
    try await bus.readDisk(at: offset, into: slice, request)
    guard keeps else { return }
    for page in pages {
      guard !isEnded, watch.isUntouched(page, since: began), cache.peek(key(page)) == nil, let frame = cache.takeFrame() else { continue }
      let source = slice.start + Int(page << cache.pageShift - offset)
      cache.buffers.page(Int(frame)).start.copyMemory(from: source, byteCount: cache.pageByteCount)
      cache.insert(key(page), frame)
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
      if wasAlone && failure == nil { refresh(page, offset, slice) } else { cache.drop(key(page)) }
    }
    if let failure { throw failure }
  }

  /// The cached page gets what was written, unless somebody still uses its memory.
  private func refresh(_ page: UInt64, _ offset: UInt64, _ slice: BufferSlice) {
    guard !isEnded, let memory = cache.peek(key(page)) else { return }
    guard cache.buffers.isExclusive(memory.buffer) else { return cache.drop(key(page)) }
    let pageStart = page << cache.pageShift
    let from = max(pageStart, offset)
    let to = min(pageStart + UInt64(cache.pageByteCount), offset + UInt64(slice.byteCount))
    (memory.start + Int(from - pageStart)).copyMemory(from: slice.start + Int(from - offset), byteCount: Int(to - from))
    cache.counters.refreshedBytes &+= to - from
  }

  /// Runs a trim or a zeroing: what it touches is not cached when it begins, and does not come in before it has ended.
  func change(
    at offset: UInt64, byteCount: UInt64, _ body: () async throws(BlockError) -> Void
  ) async throws(BlockError) {
    if isEnded || byteCount == 0 { return try await body() }
    let pages = pages(offset, byteCount)
    cache.drop(number, pages)
    for page in pages { watch.beginWrite(page) }
    defer { for page in pages { _ = watch.endWrite(page) } }
    try await body()
  }
}
