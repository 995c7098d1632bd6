import BlockDevice
import Pool

// How a virtual disk's rows stand in the metadata: a map record (index -> row, presence bits) and a row record (row -> slabs) each.

extension VirtualDisk {
  func metadata(of row: MappedRow) -> [MetadataChange] {
    let map = MapRecord(virtualDisk: record.number, index: UInt64(row.index), row: row.id, presence: row.presence.bytes)
    if row.isSettled { return [.put(map)] }
    let slabs = slabTable.slabs(ofRow: row.index).map { RowRecord.Slab(disk: $0.disk, number: $0.slab, generation: $0.generation) }
    let stored = RowRecord(
      id: row.id, resiliency: record.resiliency, columns: record.columns, copies: record.copies, interleave: record.interleave,
      virtualDisk: record.number, slabs: slabs)
    return [.put(stored), .put(map)]
  }

  func metadataOfFreed(_ freed: FreedRow) -> [MetadataChange] {
    [.delete(MapRecord.key(record.number, UInt64(freed.row.index))), .delete(RowRecord.key(freed.row.id))]
  }
}
