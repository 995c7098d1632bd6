import BlockDevice
import Pool
import Reactor

// The log of dirty regions (rules W): before a write is sent to any copy, its regions are marked in the metadata. After a crash, and when
// a disk returns, only they have to be brought together. A region is cleared when everything written there is flushed on all copies and
// nobody has written there for a while; so a hot region costs no metadata writes.

extension VirtualDisk {
  /// Makes durable that the copies of a range, which the caller has locked for writing, may differ.
  @inline(__always)
  func markDirty(_ row: MappedRow, _ start: UInt64, _ end: UInt64) async throws(BlockError) {
    if copies == 1 { return }
    let marked = regions.regions(start, min(end, rowByteCount))
    row.touched.insert(marked)
    if !row.dirty.containsAll(marked) || row.uncommittedMarks > 0 { try await mark(row, marked) }
  }

  private func mark(_ row: MappedRow, _ marked: Range<Int>) async throws(BlockError) {
    if dirtyRegionCount >= VirtualDiskLimits.dirtyRegionCount && row.mayBeInMetadata { try await clearDirtyRegions(evenTouched: true) }
    insert(row, marked)
    // A row that is not in the metadata brings its marks along when it comes there; before that nobody could find its copies.
    guard row.mayBeInMetadata else { return }
    row.uncommittedMarks += 1
    defer { row.uncommittedMarks -= 1 }
    try await pool.commit([dirtyChange(of: row)])
  }

  /// All of a row that is not in the metadata yet: it brings its marks along.
  func markWhole(_ row: MappedRow) { insert(row, 0..<regions.regionCount) }

  private func insert(_ row: MappedRow, _ marked: Range<Int>) {
    let before = row.dirty.memberCount
    row.dirty.insert(marked)
    dirtyRegionCount += row.dirty.memberCount - before
    list(row)
  }

  private func list(_ row: MappedRow) {
    if row.isListedDirty { return }
    row.isListedDirty = true
    dirtyRows.append(row)
  }

  /// Clears the regions that nobody has written since the last call, or with `evenTouched` all that nobody is writing.
  /// Who comes while another call is at it waits for that one.
  func clearDirtyRegions(evenTouched: Bool) async throws(BlockError) {
    if isClearing { return await withUnsafeContinuation { clearingWaiters.append($0) } }
    isClearing = true
    defer {
      isClearing = false
      clearingWaiters.wakeAll()
    }
    try await clearIdleRegions(evenTouched)
  }

  private func clearIdleRegions(_ evenTouched: Bool) async throws(BlockError) {
    var candidates: [(row: MappedRow, regions: RegionSet)] = []
    for row in dirtyRows where row.state == .mapped && row.isSettled && canClear(row) {
      var idle = row.dirty
      if !evenTouched { idle.subtract(row.touched) }
      for region in 0..<regions.regionCount where idle.contains(region) && row.lock.isBeingChanged(regions.bytes(of: region)) {
        idle.remove(region..<region + 1)
      }
      row.touched.removeAll()  // from here on it says what was written since the flush below began
      if !idle.isEmpty { candidates.append((row, idle)) }
    }
    dropCleanRows()
    if candidates.isEmpty { return }
    let membership = pool.membershipChanges
    if !PlantedBug.dirtyRegionClearedWithoutFlush.isPlanted {
      // The map with it: a chunk that was trimmed may differ on a copy that lacked it, so it must not be called present after a crash.
      _ = try await flushJoining(IORequest(virtualDisk: handle, ioClass: .metadata))
    }
    guard membership == pool.membershipChanges else { return }
    let rowsPerCommit = max(1, pool.commitByteLimit / DirtyRegionsRecord.changeByteCount(regionCount: regions.regionCount))
    for first in stride(from: 0, to: candidates.count, by: rowsPerCommit) {
      let changes = candidates[first..<min(first + rowsPerCommit, candidates.count)].compactMap { clear($0.row, $0.regions) }
      if !changes.isEmpty { try await pool.commit(changes, priority: .essential) }
    }
    dropCleanRows()
  }

  /// Whoever writes there from here on marks it again, by a commit behind the one that carries this change.
  private func clear(_ row: MappedRow, _ idle: RegionSet) -> MetadataChange? {
    var clean = idle
    clean.subtract(row.touched)
    if clean.isEmpty || row.state != .mapped || !canClear(row) { return nil }
    let before = row.dirty.memberCount
    row.dirty.subtract(clean)
    dirtyRegionCount -= before - row.dirty.memberCount
    return dirtyChange(of: row)
  }

  /// The dirty regions of a row are what a copy that is away, or stale, lacks.
  private func canClear(_ row: MappedRow) -> Bool {
    if slabTable.condition(row.index) != nil { return false }
    if pool.isWhole && !slabTable.hasEmptyPlace(row.index) { return true }
    return (0..<slabTable.placeCount).allSatisfy { place in
      pool.usableDisk(slabTable[row.index, place].disk).map { $0.state != .returning } ?? false
    }
  }

  private func dropCleanRows() {
    dirtyRows.removeAll { row in
      guard row.dirty.isEmpty || row.state == .freed else { return false }
      if row.state == .freed { dirtyRegionCount -= row.dirty.memberCount }
      row.isListedDirty = false
      return true
    }
  }

  /// What the metadata says of a row that was read when the pool was opened.
  /// `returning` as in `takeOver`.
  func noteStoredCondition(of row: MappedRow, _ stored: StoredRow, returning: [DiskNumber: Set<DiskNumber>]) {
    guard copies > 1 else { return }
    if let dirty = stored.dirty {
      row.dirty = regions.set(dirty)
      dirtyRegionCount += row.dirty.memberCount
      list(row)
    }
    let dirty = row.dirty
    let stale = (0..<stored.placeCount).filter(stored.isStale)
    let lacking = (0..<stored.placeCount).filter { place in
      stale.contains(place) || returning[stored.slab(place).disk].map { !slabTable.isFreshest(row.index, place, $0) } ?? false
    }
    slabTable.change(row.index) { condition in
      // After a clean close, too: what was not brought together before it, the close has left as it was.
      condition.unsettled = dirty
      condition.storedStale = Set(stale)
      for place in lacking { condition.stale[place] = dirty }
    }
  }
}
