import BlockDevice
import Pool

// Rows that sleep. A virtual disk can have millions of rows, and nearly all of them hold data in every chunk, are in the metadata as they
// are, and are used by nobody at the moment. Of such a row there is nothing to know but its slabs, which are in the table, and its id,
// which is in the metadata; it gets its object, with lock and bits, when it is asked for.

extension VirtualDisk {
  /// The row at `index`, mapped or on its way; nil where there is none.
  @inline(__always)
  func findRow(at index: Int) -> MappedRow? { rows[index] ?? wakeRow(at: index) }

  private func wakeRow(at index: Int) -> MappedRow? {
    guard let id = sleepingRowID(at: index) else { return nil }
    let row = storedRow(at: index, id: id, presence: PresenceBitmap(chunkCount: chunksPerRow, allPresent: true))
    rows[index] = row
    return row
  }

  /// Neither mapped nor about to be.
  @inline(__always)
  func isUnmapped(_ index: Int) -> Bool { rows[index] == nil && !slabTable.isMapped(index) }

  /// How many in a row are not mapped, from `index` on.
  func unmappedRowCount(from index: Int, atMost limit: UInt64) -> UInt64 {
    var count: UInt64 = 0
    while count < limit, isUnmapped(index + Int(count)) { count += 1 }
    return count
  }

  /// It is mapped, and nobody has asked for it.
  @inline(__always)
  func isAsleep(_ index: Int) -> Bool { rows[index] == nil && slabTable.isMapped(index) }

  /// nil where the row is awake, or not mapped.
  func sleepingRowID(at index: Int) -> RowID? {
    guard isAsleep(index) else { return nil }
    guard let id = pool.storedRowID(of: record.number, index: index) else {
      preconditionFailure("only rows that are in the metadata sleep")
    }
    return id
  }

  /// The object of a row that the metadata knows.
  private func storedRow(at index: Int, id: RowID, presence: PresenceBitmap) -> MappedRow {
    let row = MappedRow(index: index, presence: presence, placeCount: slabTable.placeCount, regionCount: regions.regionCount)
    row.id = id
    row.state = .mapped
    row.mayBeInMetadata = true
    row.isSettled = true
    return row
  }

  /// Takes over a row that was read when the virtual disk is opened. `returning`: of each disk on its way back, those that left no later.
  func takeOver(_ stored: StoredRow, returning: [DiskNumber: Set<DiskNumber>]) throws(PoolError) {
    let places = 0..<slabTable.placeCount
    if pool.isReadOnly { return takeOverToRead(stored, returning: returning) }
    guard stored.index < UInt64(VirtualDiskLimits.largestSlabCount), stored.placeCount == places.count,
      places.contains(where: { !stored.slab($0).isNone })
    else {
      throw PoolError(
        .damaged, "\(label): row \(stored.index) of its map does not fit the virtual disk",
        remedy: "Keep the pool's disks as they are, run spaceport inspect on each, and report it")
    }
    let index = Int(stored.index)
    guard index < rows.count else {
      // Growing a fixed disk was cut short before its new size was committed: the next flush gives the space back.
      let row = storedRow(at: index, id: stored.id, presence: presence(of: stored))
      row.state = .freed
      return pendingFrees.append(FreedRow(row: row, slabs: places.map(stored.slab).filter { !$0.isNone }))
    }
    slabTable.setRow(index, stored.slab)
    let mayDiffer = stored.dirty != nil || !returning.isEmpty || places.contains(where: stored.isStale)
    if stored.hasAllChunks(chunksPerRow) && !(copies > 1 && mayDiffer) { return }
    let row = storedRow(at: index, id: stored.id, presence: presence(of: stored))
    rows[index] = row
    noteStoredCondition(of: row, stored, returning: returning)
  }

  /// Into a pool that is only read: what cannot be found, or could be anybody's, is lost; all else is there.
  private func takeOverToRead(_ stored: StoredRow, returning: [DiskNumber: Set<DiskNumber>]) {
    guard stored.index < UInt64(rows.count) else { return }
    let index = Int(stored.index)
    let row = storedRow(at: index, id: stored.id, presence: presence(of: stored))
    rows[index] = row
    guard stored.placeCount == slabTable.placeCount else { return }
    slabTable.setRow(index) { [pool] place in
      let slab = stored.slab(place)
      return pool.isDoubtful(slab.disk, slab.slab) ? .none : slab
    }
    noteStoredCondition(of: row, stored, returning: returning)
  }

  private func presence(of stored: StoredRow) -> PresenceBitmap { PresenceBitmap(chunkCount: chunksPerRow, bytes: stored.presence) }
}
