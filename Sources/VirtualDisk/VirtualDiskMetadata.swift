import BlockDevice
import Pool

// How a virtual disk's rows stand in the metadata: a map record (index -> row, presence bits) and a row record (row -> slabs) each.

extension VirtualDisk {
  func mapRecord(of row: MappedRow) -> MapRecord {
    MapRecord(virtualDisk: record.number, index: UInt64(row.index), row: row.id, presence: row.presence.bytes)
  }

  /// What brings a row into the metadata. The map is as it was when the flush began; which slabs the row has and which regions are dirty is
  /// said as it is at this moment, because what was committed of that meanwhile must not be taken back.
  func metadataOfNew(_ row: MappedRow, _ map: MapRecord) -> [MetadataChange] {
    if row.state == .freed { return [] }
    return [.put(rowRecord(of: row)), .put(map)] + (row.dirty.isEmpty ? [] : [dirtyChange(of: row)])
  }

  func rowRecord(of row: MappedRow) -> RowRecord {
    let stale = slabTable.condition(row.index)?.storedStale ?? []
    let slabs = slabTable.slabs(ofRow: row.index).enumerated().map { place, slab in
      RowRecord.Slab(
        disk: slab.disk, number: slab.slab, generation: slab.generation,
        state: slab.isNone ? .absent : stale.contains(place) ? .stale : .inSync)
    }
    return RowRecord(
      id: row.id, resiliency: record.resiliency, columns: record.columns, copies: UInt8(copies), interleave: record.interleave,
      virtualDisk: record.number, slabs: slabs)
  }

  /// The record of the row's dirty regions as they are now.
  func dirtyChange(of row: MappedRow) -> MetadataChange {
    if row.dirty.isEmpty { return .delete(DirtyRegionsRecord.key(row.id)) }
    return .put(DirtyRegionsRecord(row: row.id, regionByteCount: regions.regionByteCount, regions: row.dirty.bytes))
  }

  func metadataOfFreed(_ freed: FreedRow) -> [MetadataChange] {
    var changes: [MetadataChange] = [
      .delete(MapRecord.key(record.number, UInt64(freed.row.index))), .delete(RowRecord.key(freed.row.id)),
    ]
    if copies > 1 { changes.append(.delete(DirtyRegionsRecord.key(freed.row.id))) }
    return changes
  }
}

/// Gathers changes into commits of bounded size; the changes of one row stay in one commit.
struct CommitBatch {
  struct Commit {
    var changes: [MetadataChange] = []
    /// Rows that come into the metadata with it: see `metadataOfNew`.
    var newRows: [(row: MappedRow, map: MapRecord)] = []
    var isEmpty: Bool { changes.isEmpty && newRows.isEmpty }
  }

  let byteLimit: Int
  private var commits: [Commit] = []
  private var current = Commit()
  private var currentByteCount = 0

  init(byteLimit: Int) { self.byteLimit = byteLimit }

  mutating func add(_ changes: [MetadataChange]) {
    makeRoom(StoragePool.byteCount(of: changes))
    current.changes += changes
  }

  mutating func add(_ row: MappedRow, _ map: MapRecord) {
    if row.isSettled { return add([.put(map)]) }
    makeRoom(StoragePool.byteCount(of: [.put(map)]) + row.byteCountOfNewRecords)
    current.newRows.append((row, map))
  }

  private mutating func makeRoom(_ byteCount: Int) {
    if currentByteCount + byteCount > byteLimit { close() }
    currentByteCount += byteCount
  }

  private mutating func close() {
    if !current.isEmpty { commits.append(current) }
    current = Commit()
    currentByteCount = 0
  }

  mutating func finish() -> [Commit] {
    close()
    return commits
  }
}
