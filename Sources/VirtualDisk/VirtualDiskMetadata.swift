import BlockDevice
import Pool

// How a virtual disk's rows stand in the metadata: a map record (index -> row, presence bits) and a row record (row -> slabs) each.

extension VirtualDisk {
  func metadata(of row: MappedRow) -> [MetadataChange] {
    let map = MapRecord(
      virtualDisk: record.number, index: UInt64(row.index), row: row.id, presence: row.presence.bytes)
    if row.isInMetadata { return [.put(map)] }
    let slabs = slabTable.slabs(ofRow: row.index).map {
      RowRecord.Slab(disk: $0.disk, slab: $0.slab, generation: $0.generation, state: .inSync)
    }
    return [.put(RowRecord(row: row.id, virtualDisk: record.number, columns: record.columns, slabs: slabs)), .put(map)]
  }

  func metadataOfFreed(_ freed: FreedRow) -> [MetadataChange] {
    [
      .delete(MapRecord.key(virtualDisk: record.number, index: UInt64(freed.row.index))),
      .delete(RowRecord.key(row: freed.row.id)),
    ]
  }
}
