import BlockDevice

/// A row of a virtual disk as the metadata has it; only there during the call that hands it out.
public struct StoredRow {
  public let index: UInt64
  public let id: RowID
  /// nil where a pool that is only read does not know where the row lies: its data cannot be found.
  private let row: RowRecord.View?
  /// As in MapRecord.
  public let presence: UnsafeRawBufferPointer
  public let dirty: DirtyRegionsRecord?

  fileprivate init(index: UInt64, id: RowID, row: RowRecord.View?, presence: UnsafeRawBufferPointer, dirty: DirtyRegionsRecord?) {
    self.index = index
    self.id = id
    self.row = row
    self.presence = presence
    self.dirty = dirty
  }

  public var isLost: Bool { row == nil }
  public var placeCount: Int { row?.slabCount ?? 0 }
  /// In the order of their places: column by column, the copies of each side by side.
  public func slab(_ place: Int) -> SlabAssignment { row?.assignment(place) ?? .none }
  /// Its copy lacks the dirty regions.
  public func isStale(_ place: Int) -> Bool { row?.state(place) == .stale }

  /// All of its first `count` chunks hold data.
  public func hasAllChunks(_ count: Int) -> Bool {
    guard presence.count >= (count + 7) / 8, presence[..<(count / 8)].allSatisfy({ $0 == 0xff }) else { return false }
    let rest = UInt8(1 << (count % 8) - 1)
    return rest == 0 || presence[count / 8] & rest == rest
  }
}

/// What the first look at all records finds out, for those who look later.
struct RecordSummary {
  /// The record pages that hold map records of a virtual disk: so that opening many virtual disks does not walk through all of them each time.
  var mapPages: [VirtualDiskNumber: [Int]] = [:]
  var dirtyRowCount = 0
}

// What opening a pool finds in its metadata: millions of records, so nothing here decodes one into memory of its own.

extension StoragePool {
  /// Marks the slabs of every row as taken, and checks that no two rows have the same.
  func loadRows() throws(PoolError) {
    var problem: String?
    var summary = RecordSummary()
    try explained { () throws(MetadataError) in
      try store.forEachRecord(VirtualDiskRecord.self) { summary.mapPages[$0.number] = [] }
      var failure: MetadataError?
      for page in 0..<store.pageCount where failure == nil {
        store.forEachRecord(.row, inPage: page) { key, version, value in
          do throws(FormatError) {
            let row = try RowRecord.View(key: key, version: version, value: value)
            take(row, &problem)
          } catch { failure = MetadataStore.unreadable(key, error) }
        }
        store.forEachRecord(.map, inPage: page) { key, _, _ in
          let owner = VirtualDiskNumber(key.first)
          if summary.mapPages[owner]?.last != page { summary.mapPages[owner]?.append(page) }
        }
        store.forEachRecord(.dirtyRegions, inPage: page) { _, _, _ in summary.dirtyRowCount += 1 }
      }
      if let failure { throw failure }
    }
    recordSummary = summary
    // Who only reads does without these slabs.
    if let problem, !isReadOnly {
      throw PoolError(
        .damaged, "The metadata of the pool \(name) contradicts itself: \(problem)",
        remedy: "Keep the disks as they are, run spaceport inspect on each, and report it")
    }
  }

  private func take(_ row: RowRecord.View, _ problem: inout String?) {
    noteNumbers(row)
    for place in 0..<row.slabCount where row.state(place) != .absent && !allocator.take(row.number(place), on: row.disk(place)) {
      doubt(row.disk(place), row.number(place))
      problem =
        problem
        ?? "row \(row.id) has slab \(row.number(place)) of disk \(row.disk(place)), which is not there or has another owner"
    }
  }

  /// The mapped rows of a virtual disk.
  public func forEachStoredRow(of virtualDisk: VirtualDiskNumber, _ body: (StoredRow) throws(PoolError) -> Void) throws(PoolError) {
    // Known from the pool's opening until the virtual disk is opened: what is committed after that, it may have moved.
    let pages = recordSummary.mapPages.removeValue(forKey: virtualDisk) ?? Array(0..<store.pageCount)
    let hasDirtyRows = recordSummary.dirtyRowCount > 0
    var failure: PoolError?
    for page in pages where failure == nil {
      store.forEachRecord(.map, inPage: page) { key, version, value in
        guard key.first == virtualDisk.value, failure == nil else { return }
        do throws(PoolError) { try withRow(of: key, version, value, hasDirtyRows, body) } catch { failure = error }
      }
    }
    if let failure { throw failure }
  }

  private func withRow(
    of key: RecordKey, _ version: UInt8, _ value: UnsafeRawBufferPointer, _ hasDirtyRows: Bool,
    _ body: (StoredRow) throws(PoolError) -> Void
  ) throws(PoolError) {
    let map: MapRecord.View
    do throws(FormatError) { map = try MapRecord.View(version: version, value: value) } catch {
      throw PoolError(MetadataStore.unreadable(key, error), doing: "reading the metadata of the pool \(name)")
    }
    let rowKey = RowRecord.key(map.row)
    var dirty: DirtyRegionsRecord?
    if hasDirtyRows {
      dirty = try explained { () throws(MetadataError) in try store.value(DirtyRegionsRecord.self, for: DirtyRegionsRecord.key(map.row)) }
    }
    let outcome = store.withValue(of: rowKey) { version, bytes in
      Result { () throws(PoolError) -> Void in
        let row: RowRecord.View
        do throws(FormatError) { row = try RowRecord.View(key: rowKey, version: version, value: bytes) } catch {
          throw PoolError(MetadataStore.unreadable(rowKey, error), doing: "reading the metadata of the pool \(name)")
        }
        try body(StoredRow(index: key.second, id: row.id, row: row, presence: map.presence, dirty: dirty))
      }
    }
    guard let outcome else {
      // The other rows are none the worse for it.
      if isReadOnly { return try body(StoredRow(index: key.second, id: map.row, row: nil, presence: map.presence, dirty: nil)) }
      throw PoolError(
        .damaged, "Virtual disk \(key.first) of the pool \(name): row \(key.second) of its map is row \(map.row), which is not there",
        remedy: "Keep the pool's disks as they are, run spaceport inspect on each, and report it")
    }
    try outcome.get()
  }

  /// Which row the metadata has at an index of a virtual disk's map; nil where none.
  public func storedRowID(of virtualDisk: VirtualDiskNumber, index: Int) -> RowID? {
    store.withValue(of: MapRecord.key(virtualDisk, UInt64(index))) { version, value in
      do throws(FormatError) { return try MapRecord.View(version: version, value: value).row } catch { return nil }
    } ?? nil
  }

  /// What the metadata says of virtual disks, in the order of their numbers.
  public func virtualDiskRecords() throws(PoolError) -> [VirtualDiskRecord] {
    var records: [VirtualDiskRecord] = []
    try explained { () throws(MetadataError) in try store.forEachRecord(VirtualDiskRecord.self) { records.append($0) } }
    return records.sorted { $0.number < $1.number }
  }

  private func explained<Value>(_ body: () throws(MetadataError) -> Value) throws(PoolError) -> Value {
    do throws(MetadataError) { return try body() } catch { throw PoolError(error, doing: "reading the metadata of the pool \(name)") }
  }
}
