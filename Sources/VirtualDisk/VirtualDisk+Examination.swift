import BlockDevice
import Pool

// What only the simulator looks at, to check what no client can see. No request may be in flight.

/// Bytes of a mapped row that lie on one column, and where their copies are.
package struct CopyStretch: Sendable {
  package var row: Int
  /// In the row.
  package var start: UInt64
  package var byteCount: UInt64
  /// The copies that are there and lack nothing of it.
  package var copies: [(device: DataPartition, address: UInt64)]
}

extension VirtualDisk {
  /// All that is present, in stretches of at most `limit` bytes. The copies of settled regions hold the same, byte for byte.
  package func presentStretches(limit: UInt64) -> [CopyStretch] {
    var stretches: [CopyStretch] = []
    for row in mappedRows.compactMap(findRow(at:)) {
      var position: UInt64 = 0
      while position < rowByteCount {
        let place = space.layout.locate(position)
        let chunkEnd = (position / chunkByteCount + 1) * chunkByteCount
        let byteCount = min(limit, place.contiguousByteCount, chunkEnd - position)
        if row.presence[Int(position / chunkByteCount)] {
          stretches.append(stretch(row, place.column, position, place.offsetInSlab, byteCount))
        }
        position += byteCount
      }
    }
    return stretches
  }

  private func stretch(_ row: MappedRow, _ column: Int, _ start: UInt64, _ offsetInSlab: UInt64, _ byteCount: UInt64) -> CopyStretch {
    var stretch = CopyStretch(row: row.index, start: start, byteCount: byteCount, copies: [])
    let touched = regions.regions(start, start + byteCount)
    for place in column * copies..<(column + 1) * copies {
      if let stale = slabTable.condition(row.index)?.stale[place], stale.overlaps(touched) { continue }
      if let copy = pool.locate(slabTable[row.index, place], offsetInSlab) { stretch.copies.append(copy) }
    }
    return stretch
  }

  /// Every slab that the virtual disk holds: its rows', those of rows whose freeing is not durable yet, and those being filled.
  package var heldSlabs: [SlabAssignment] {
    var slabs = pendingFrees.flatMap(\.slabs)
    for row in mappedRows {
      slabs += slabTable.slabs(ofRow: row)
      if let move = slabTable.condition(row)?.move { slabs.append(move.slab) }
    }
    return slabs.filter { !$0.isNone }
  }

  /// Housekeeping that a simulated run does when its seed says so. With `evenTouched`, as when a virtual disk is closed.
  package func clearDirtyRegionsNow(evenTouched: Bool) async throws(BlockError) { try await clearDirtyRegions(evenTouched: evenTouched) }

  /// Copies that have no slab, because there were too few disks when their row was allocated.
  package var emptyPlaces: [(row: Int, place: Int)] {
    mappedRows.flatMap { row in (0..<slabTable.placeCount).filter { slabTable[row, $0].isNone }.map { (row, $0) } }
  }
  package var mappedRows: [Int] { rows.indices.filter(isMapped(row:)) }
  /// Sectors of 512 bytes in a row.
  package var rowSectorCount: UInt64 { rowByteCount / 512 }
}
