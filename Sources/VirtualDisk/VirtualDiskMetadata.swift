import BlockDevice
import Pool

// How a virtual disk's rows stand in the metadata: a map record (index -> row, presence bits) and a row record (row -> slabs) each.

extension VirtualDisk {
  func metadata(of row: MappedRow) -> [MetadataChange] {
    let map = MapRecord(virtualDisk: record.number, index: UInt64(row.index), row: row.id, presence: row.presence.bytes)
    if row.isSettled { return [.put(map)] }
    var changes: [MetadataChange] = [.put(rowRecord(of: row)), .put(map)]
    if !row.dirty.isEmpty { changes.append(dirtyChange(of: row)) }
    return changes
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
  let byteLimit: Int
  private var commits: [[MetadataChange]] = []
  private var current: [MetadataChange] = []
  private var currentByteCount = 0

  init(byteLimit: Int) { self.byteLimit = byteLimit }

  mutating func add(_ changes: [MetadataChange]) {
    let byteCount = StoragePool.byteCount(of: changes)
    if currentByteCount + byteCount > byteLimit { close() }
    current += changes
    currentByteCount += byteCount
  }

  private mutating func close() {
    if !current.isEmpty { commits.append(current) }
    current.removeAll()
    currentByteCount = 0
  }

  mutating func finish() -> [[MetadataChange]] {
    close()
    return commits
  }
}
