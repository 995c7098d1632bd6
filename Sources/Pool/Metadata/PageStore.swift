import CLinux

/// The images of all record pages: the one truth of what is committed. A change is first planned (checked, and given room, so that it
/// cannot fail once it is in the journal), then journaled, then applied here.
final class PageStore: @unchecked Sendable {  // reactor-confined
  let pageCount: Int
  private var images: [UnsafeMutableRawPointer?]
  /// Bytes up to the end of the last record of a page, gaps included.
  private var used: [Int32]
  /// Bytes of a page's records; without gaps.
  private var live: [Int32]
  private var recordCounts: [Int32]
  private var index: RecordIndex
  /// Free bytes of a page: capacity less what is live and what is promised to planned changes.
  private var free: FreeSpaceTree
  /// Pages without records and promises.
  private(set) var emptyPageCount: Int
  private(set) var recordCount = 0

  /// Pages that hold, or held, records of kinds of which there are few: who looks for those need not walk through millions of rows.
  private var pagesOfFew = PageSet()

  /// Pages changed since the newest checkpoint began.
  private(set) var dirty = PageSet()
  /// Pages of the checkpoint being written that must not change under it: the first change leaves a copy here.
  private var frozen = PageSet()
  private var copies: [Int: PageImage] = [:]

  init(pageCount: Int, secret: UInt64) {
    self.pageCount = pageCount
    images = Array(repeating: nil, count: pageCount)
    used = Array(repeating: 0, count: pageCount)
    live = used
    recordCounts = used
    index = RecordIndex(secret: secret)
    free = FreeSpaceTree(count: pageCount, each: RecordPage.capacity)
    emptyPageCount = pageCount
  }

  deinit { for image in images { image?.deallocate() } }

  // MARK: Reading

  private func view(_ place: RecordIndex.Place) -> RecordView {
    guard let image = images[place.page] else { preconditionFailure("the index names pages that exist") }
    return RecordView(start: image + place.offset)
  }

  private func find(_ key: RecordKey) -> RecordIndex.Place? { index.find(key, view: view) }

  func withValue<Result>(of key: RecordKey, _ body: (_ version: UInt8, UnsafeRawBufferPointer) -> Result) -> Result? {
    guard let place = find(key) else { return nil }
    let record = view(place)
    return body(record.version, record.value.readOnly)
  }

  func valueByteCount(of key: RecordKey) -> Int? { find(key).map { view($0).valueByteCount } }

  /// In no order that means anything, but the same one for the same history. `body` must not change records.
  func forEach(_ body: (RecordView) -> Void) {
    for page in 0..<pageCount {
      guard let image = images[page] else { continue }
      PageStore.forEachRecord(image, used: Int(used[page])) { body($0) }
    }
  }

  /// The records of one kind, in the same order.
  func forEach(_ kind: RecordKind, _ body: (RecordView) -> Void) {
    let pages = PageStore.isOfMany(kind.rawValue) ? Array(0..<pageCount) : pagesOfFew.sorted
    for page in pages { forEach(kind, inPage: page, body) }
  }

  func forEach(_ kind: RecordKind, inPage page: Int, _ body: (RecordView) -> Void) {
    guard let image = images[page] else { return }
    PageStore.forEachRecord(image, used: Int(used[page])) { if $0.kind == kind.rawValue { body($0) } }
  }

  @inline(__always)
  private static func isOfMany(_ kind: UInt16) -> Bool {
    kind == RecordKind.map.rawValue || kind == RecordKind.row.rawValue || kind == RecordKind.dirtyRegions.rawValue
  }

  @inline(__always)
  static func forEachRecord(_ image: UnsafeMutableRawPointer, used: Int, _ body: (RecordView) -> Void) {
    var offset = FormatLimits.pageHeaderByteCount
    let end = offset + used
    while offset < end {
      let record = RecordView(start: image + offset)
      if !record.isGap { body(record) }
      offset += record.byteCount
    }
  }

  // MARK: Room

  /// Promises `byteCount` bytes in the first page that has them.
  func claim(_ byteCount: Int) -> Int? {
    guard let page = free.first(atLeast: byteCount) else { return nil }
    addFree(-byteCount, to: page)
    return page
  }

  func unclaim(_ byteCount: Int, in page: Int) { addFree(byteCount, to: page) }

  private func addFree(_ delta: Int, to page: Int) {
    if free[page] == RecordPage.capacity { emptyPageCount -= 1 }
    free.add(delta, to: page)
    if free[page] == RecordPage.capacity { emptyPageCount += 1 }
  }

  // MARK: Changing

  /// Applies a planned change. `claimed` is the page that room was claimed in, nil when the change needs none.
  func apply(_ change: MetadataChange, claimed: Int?) {
    switch change {
    case .put(let record):
      record.value.withUnsafeBytes { put(record.key, version: record.version, $0, claimed: claimed) }
    case .delete(let key): remove(key)
    case .patch(let key, let byteOffset, let bytes): edit(key, byteOffset, bytes) { _, new in new }
    case .setBits(let key, let byteOffset, let bytes): edit(key, byteOffset, bytes) { old, new in old | new }
    case .clearBits(let key, let byteOffset, let bytes): edit(key, byteOffset, bytes) { old, new in old & ~new }
    }
  }

  private func edit(_ key: RecordKey, _ byteOffset: Int, _ bytes: [UInt8], _ combine: (UInt8, UInt8) -> UInt8) {
    guard let place = find(key) else { return assertionFailure("planned changes fit") }
    touch(place.page)
    let value = view(place).value
    guard byteOffset >= 0, byteOffset + bytes.count <= value.count else { return assertionFailure("planned changes fit") }
    for (index, byte) in bytes.enumerated() { value[byteOffset + index] = combine(value[byteOffset + index], byte) }
  }

  private func put(_ key: RecordKey, version: UInt8, _ value: UnsafeRawBufferPointer, claimed: Int?) {
    let byteCount = RecordPage.byteCount(ofValue: value.count)
    guard let page = claimed else {
      guard let place = find(key), view(place).byteCount == byteCount else { return assertionFailure("planned changes fit") }
      touch(place.page)
      view(place).write(key, version: version, value: value)
      return
    }
    remove(key)
    touch(page)
    if !PageStore.isOfMany(key.kind.rawValue) { pagesOfFew.insert(page) }
    if Int(used[page]) + byteCount > RecordPage.capacity { compact(page) }
    guard let image = images[page], Int(used[page]) + byteCount <= RecordPage.capacity else {
      return assertionFailure("claimed room is there")
    }
    let offset = FormatLimits.pageHeaderByteCount + Int(used[page])
    RecordView(start: image + offset).write(key, version: version, value: value)
    index.insert(key, at: RecordIndex.Place(page: page, offset: offset), view: view)
    used[page] += Int32(byteCount)
    live[page] += Int32(byteCount)
    recordCounts[page] += 1
    recordCount += 1
  }

  private func remove(_ key: RecordKey) {
    guard let place = find(key) else { return }
    let page = place.page
    touch(page)
    let record = view(place)
    let byteCount = record.byteCount
    index.remove(key, at: place)
    record.erase()
    live[page] -= Int32(byteCount)
    recordCounts[page] -= 1
    recordCount -= 1
    if live[page] == 0 { used[page] = 0 }
    addFree(byteCount, to: page)
  }

  /// Closes the gaps of a page.
  private func compact(_ page: Int) {
    guard let image = images[page] else { return }
    var target = FormatLimits.pageHeaderByteCount
    var offset = target
    let end = offset + Int(used[page])
    while offset < end {
      let record = RecordView(start: image + offset)
      let byteCount = record.byteCount
      if !record.isGap {
        if target != offset {
          let key = record.key
          memmove(image + target, image + offset, byteCount)
          index.move(key, from: RecordIndex.Place(page: page, offset: offset), to: RecordIndex.Place(page: page, offset: target))
        }
        target += byteCount
      }
      offset += byteCount
    }
    used[page] = Int32(target - FormatLimits.pageHeaderByteCount)
  }

  /// Before any change of a page.
  private func touch(_ page: Int) {
    if images[page] == nil {
      let image = UnsafeMutableRawPointer.allocate(byteCount: FormatLimits.pageByteCount, alignment: 8)
      memset(image, 0, FormatLimits.pageByteCount)
      images[page] = image
    }
    if frozen.contains(page), copies[page] == nil { copies[page] = PageImage(copying: self, page) }
    dirty.insert(page)
  }

  // MARK: Loading

  /// Before the first page is loaded, when it is known about how many records there are.
  func reserve(recordCount: UInt64) {
    let most = pageCount * (RecordPage.capacity / FormatLimits.recordHeaderByteCount)
    index.reserve(Int(min(recordCount, UInt64(most))))
  }

  /// Takes over a page from disk that `RecordPage.check` has passed. False when it holds a key that another page holds too.
  func load(_ bytes: UnsafeRawBufferPointer, page: Int, used usedByteCount: Int) -> Bool {
    let image = UnsafeMutableRawPointer.allocate(byteCount: FormatLimits.pageByteCount, alignment: 8)
    images[page]?.deallocate()
    images[page] = image
    memcpy(image, bytes.baseAddress!, FormatLimits.pageByteCount)
    var isGood = true
    var offset = FormatLimits.pageHeaderByteCount
    let end = offset + usedByteCount
    var liveByteCount = 0
    while offset < end {
      let record = RecordView(start: image + offset)
      let byteCount = record.byteCount
      if !record.isGap {
        let key = record.key
        if !index.insertIfAbsent(key, at: RecordIndex.Place(page: page, offset: offset), view: view) { isGood = false }
        if !PageStore.isOfMany(key.kind.rawValue) { pagesOfFew.insert(page) }
        liveByteCount += byteCount
        recordCounts[page] += 1
        recordCount += 1
      }
      offset += byteCount
    }
    used[page] = Int32(usedByteCount)
    live[page] = Int32(liveByteCount)
    addFree(-liveByteCount, to: page)
    return isGood
  }

  // MARK: Checkpoints

  /// Begins a checkpoint: the pages to write, which stay as they are for it (`image`) until `thaw`.
  func freeze() -> PageSet {
    assert(frozen.isEmpty, "one checkpoint at a time")
    frozen = dirty
    dirty = PageSet()
    return frozen
  }

  /// Freezes further pages: those a voter lacks although they did not change.
  func freeze(also pages: PageSet) {
    for page in pages.sorted { frozen.insert(page) }
  }

  func thaw() {
    frozen = PageSet()
    copies.removeAll()
  }

  /// The checkpoint could not be written: what it should have held is dirty still.
  func restoreDirty(_ pages: PageSet) {
    for page in pages.sorted { dirty.insert(page) }
    thaw()
  }

  /// Copies the page as it was when it was frozen, not yet sealed. Nil when it had no records.
  func copyFrozen(_ page: Int, to bytes: UnsafeMutableRawBufferPointer) -> (usedByteCount: Int, recordCount: Int)? {
    if let copy = copies[page] {
      guard copy.recordCount > 0 else { return nil }
      bytes.copyMemory(from: UnsafeRawBufferPointer(start: copy.start, count: FormatLimits.pageByteCount))
      return (copy.usedByteCount, copy.recordCount)
    }
    guard let image = images[page], recordCounts[page] > 0 else { return nil }
    bytes.copyMemory(from: UnsafeRawBufferPointer(start: image, count: FormatLimits.pageByteCount))
    return (Int(used[page]), Int(recordCounts[page]))
  }

  /// Whether a page of another voter holds the very same records, byte for byte.
  func hasSameContent(_ page: Int, as bytes: UnsafeRawBufferPointer, used usedByteCount: Int) -> Bool {
    guard let image = images[page], Int(used[page]) == usedByteCount else { return false }
    let header = FormatLimits.pageHeaderByteCount
    return memcmp(image + header, bytes.baseAddress! + header, usedByteCount) == 0
  }

  func isUsed(_ page: Int) -> Bool { recordCounts[page] > 0 }

  private final class PageImage {
    let start: UnsafeMutableRawPointer
    let usedByteCount: Int
    let recordCount: Int

    init(copying store: PageStore, _ page: Int) {
      start = .allocate(byteCount: FormatLimits.pageByteCount, alignment: 8)
      if let image = store.images[page] { memcpy(start, image, FormatLimits.pageByteCount) }
      usedByteCount = Int(store.used[page])
      recordCount = Int(store.recordCounts[page])
    }

    deinit { start.deallocate() }
  }
}

/// A set of page numbers.
struct PageSet {
  private var members: Set<Int> = []
  var isEmpty: Bool { members.isEmpty }
  var count: Int { members.count }
  var sorted: [Int] { members.sorted() }
  func contains(_ page: Int) -> Bool { members.contains(page) }
  mutating func insert(_ page: Int) { members.insert(page) }
  mutating func formUnion(_ other: PageSet) { members.formUnion(other.members) }
}
