import BlockDevice

/// A row of a virtual disk as the metadata has it.
public struct StoredRow: Sendable {
  public var index: UInt64
  public var id: RowID
  /// In the order of their places: column by column, the copies of each side by side.
  public var slabs: [SlabAssignment]
  /// Places whose copy lacks the dirty regions.
  public var stalePlaces: [Int]
  public var dirty: DirtyRegionsRecord?
  /// As in MapRecord.
  public var presence: [UInt8]
}

// What opening a pool finds in its metadata.

extension StoragePool {
  /// Marks the slabs of every row as taken, and checks that no two rows have the same.
  func loadRows() throws(PoolError) {
    var problem: String?
    try explained { () throws(MetadataError) in
      try store.forEachRecord(RowRecord.self) { row in
        noteNumbers(row)
        for slab in row.slabs where slab.state != .absent && !allocator.take(slab.number, on: slab.disk) {
          doubt(slab.disk, slab.number)
          problem = problem ?? "row \(row.id) has slab \(slab.number) of disk \(slab.disk), which is not there or has another owner"
        }
      }
    }
    // Who only reads does without these slabs.
    if let problem, !isReadOnly {
      throw PoolError(
        .damaged, "The metadata of the pool \(name) contradicts itself: \(problem)",
        remedy: "Keep the disks as they are, run spaceport inspect on each, and report it")
    }
  }

  /// The mapped rows of a virtual disk.
  public func storedRows(of virtualDisk: VirtualDiskNumber) throws(PoolError) -> [StoredRow] {
    var rows: [StoredRow] = []
    var problem: String?
    try explained { () throws(MetadataError) in
      // By the keys first: a pool has many more map records than the one virtual disk.
      var keys: [RecordKey] = []
      store.forEachRecord(.map) { key, _, _ in if key.first == virtualDisk.value { keys.append(key) } }
      for key in keys {
        guard let map: MapRecord = try store.value(for: key) else { continue }
        guard let row: RowRecord = try store.value(for: RowRecord.key(map.row)) else {
          if isReadOnly {
            // Its data cannot be found; the other rows are none the worse for it.
            rows.append(StoredRow(index: map.index, id: map.row, slabs: [], stalePlaces: [], presence: map.presence))
            continue
          }
          problem = "row \(map.index) of its map is row \(map.row), which is not there"
          return
        }
        let slabs = row.slabs.map { slab in
          slab.state == .absent || isDoubtful(slab.disk, slab.number)
            ? .none : SlabAssignment(disk: slab.disk, slab: slab.number, generation: slab.generation)
        }
        let dirty: DirtyRegionsRecord? = try store.value(for: DirtyRegionsRecord.key(map.row))
        let stale = row.slabs.indices.filter { row.slabs[$0].state == .stale }
        rows.append(StoredRow(index: map.index, id: map.row, slabs: slabs, stalePlaces: stale, dirty: dirty, presence: map.presence))
      }
    }
    if let problem {
      throw PoolError(
        .damaged, "Virtual disk \(virtualDisk) of the pool \(name): \(problem)",
        remedy: "Keep the disks as they are, run spaceport inspect on each, and report it")
    }
    return rows
  }

  /// What the metadata says of virtual disks, in the order of their numbers.
  public func virtualDiskRecords() throws(PoolError) -> [VirtualDiskRecord] {
    var records: [VirtualDiskRecord] = []
    try explained { () throws(MetadataError) in try store.forEachRecord(VirtualDiskRecord.self) { records.append($0) } }
    return records.sorted { $0.number < $1.number }
  }

  private func explained(_ body: () throws(MetadataError) -> Void) throws(PoolError) {
    do throws(MetadataError) { try body() } catch { throw PoolError(error, doing: "reading the metadata of the pool \(name)") }
  }
}
