import BlockDevice
import Pool
import Reactor
import Resiliency

// The copies of a mirror: which are good, and how they come together again.

/// A range of a row that a copy could not read.
struct RepairRange: Equatable {
  var row: Int
  var start: UInt64
  var end: UInt64
}

extension VirtualDisk: RowOwner {
  public var virtualDisk: VirtualDiskNumber { record.number }
  public var requestCount: UInt64 {
    [BlockOperation.read, .write, .discard, .writeZeroes].reduce(0) { $0 &+ statistics[$1].requests }
  }
  public var slabsPerRow: Int { slabTable.placeCount }
  public var copyCount: Int { copies }
  public var mappedRows: [Int] { rows.indices.filter { rows[$0]?.state == .mapped } }

  public func places(where isWanted: (SlabAssignment) -> Bool) -> [CopyPlace] {
    var found: [CopyPlace] = []
    for index in rows.indices where rows[index]?.state == .mapped {
      for place in 0..<slabTable.placeCount where isWanted(slabTable[index, place]) { found.append(CopyPlace(row: index, place: place)) }
    }
    return found
  }

  public func holdsLastCopy(on disk: DiskNumber) -> Bool {
    rows.contains { row in
      guard let row, row.state != .freed else { return false }
      return (0..<slabTable.columns).contains { isLastCopy(row.index, column: $0, disk) }
    }
  }

  private func isLastCopy(_ row: Int, column: Int, _ disk: DiskNumber) -> Bool {
    var isOnDisk = false
    for place in column * copies..<(column + 1) * copies {
      if slabTable[row, place].disk == disk {
        if pool.usableDisk(disk) != nil && slabTable.condition(row)?.stale[place] == nil { isOnDisk = true }
      } else if isInSync(row, place) {
        return false
      }
    }
    return isOnDisk
  }

  /// The copy is there and lacks nothing.
  func isInSync(_ row: Int, _ place: Int) -> Bool {
    pool.usableDisk(slabTable[row, place].disk) != nil && slabTable.condition(row)?.stale[place] == nil
  }

  /// Whether each column of each row has a copy that is there and lacks nothing; else the virtual disk cannot be served.
  public var hasAllData: Bool { firstLostRow == nil }

  /// Of how many copies that are there and lack nothing the least protected data has; `copies` where all is well, 0 where some is lost.
  public var fewestWholeCopies: Int {
    if pool.isWhole && slabTable.areAllWhole { return copies }
    var fewest = copies
    for index in rows.indices where fewest > 0 {
      guard let row = rows[index], row.state == .mapped else { continue }
      for column in 0..<slabTable.columns {
        fewest = min(fewest, (column * copies..<(column + 1) * copies).count { isInSync(index, $0) })
      }
    }
    return fewest
  }

  /// Whether something was written, or may have been, that copies on disks that are away lack.
  public var haveAbsentCopiesFallenBehind: Bool {
    let absent = Set(pool.absentDiskNumbers)
    if absent.isEmpty { return false }
    return rows.contains { row in
      guard let row, row.state == .mapped, !row.dirty.isEmpty else { return false }
      return (0..<slabTable.placeCount).contains { absent.contains(slabTable[row.index, $0].disk) }
    }
  }

  /// A last copy was lost with writes that were not flushed: FLUSH fails until the pool is opened again.
  public var mayHaveLostWrites: Bool { space.hasLostWrites }

  /// The lowest row of which no whole copy is there.
  public var firstLostRow: Int? {
    if pool.isWhole && slabTable.areAllWhole { return nil }
    return rows.indices.first { index in
      guard let row = rows[index], row.state == .mapped else { return false }
      return (0..<slabTable.columns).contains { column in
        !(column * copies..<(column + 1) * copies).contains { isInSync(index, $0) }
      }
    }
  }

  public func diskLeft(_ disk: DiskNumber) {
    for index in rows.indices {
      guard let row = rows[index], row.state == .mapped else { continue }
      let places = (0..<slabTable.placeCount).filter { slabTable[index, $0].disk == disk }
      if PlantedBug.staleOnlySinceFailure.isPlanted && !places.isEmpty { row.dirty.removeAll() }
      guard slabTable.condition(index) != nil else { continue }
      slabTable.change(index) { condition in
        for place in places { condition.stale[place] = nil }
        if condition.move?.slab.disk == disk { condition.move = nil }
      }
    }
    if firstLostRow != nil { space.hasLostWrites = true }
  }

  public func diskReturned(_ disk: DiskNumber) {
    guard copies > 1 else { return }
    for index in rows.indices {
      guard let row = rows[index], row.state == .mapped, !row.dirty.isEmpty else { continue }
      for place in 0..<slabTable.placeCount where slabTable[index, place].disk == disk && !isFreshest(index, place) {
        slabTable.change(index) { $0.stale[place] = row.dirty }
      }
    }
  }
}

extension VirtualDisk {
  /// Of a copy whose disk was away: all others left no later, so that nothing was written without it.
  func isFreshest(_ row: Int, _ place: Int) -> Bool {
    let column = place / copies
    return (column * copies..<(column + 1) * copies).allSatisfy { other in
      let slab = slabTable[row, other]
      return other == place || slab.isNone || pool.leftNoLaterThan(slab.disk, slabTable[row, place].disk)
    }
  }
}

extension VirtualDisk: CopyKeeper {
  public func copiesMissed(row index: Int, places: [Int]) async throws(BlockError) {
    guard let row = rows[index] else { return }
    slabTable.change(index) { condition in
      for place in places {
        condition.storedStale.insert(place)
        condition.stale[place] = row.dirty
      }
    }
    if row.mayBeInMetadata { try await pool.commit([.put(rowRecord(of: row))], priority: .essential) }
  }

  public func copyFailedToRead(row: Int, from start: UInt64, to end: UInt64) {
    let range = RepairRange(row: row, start: start, end: end)
    if wantedRepairs.count < VirtualDiskLimits.wantedRepairCount && !wantedRepairs.contains(range) { wantedRepairs.append(range) }
    if isRepairing || pool.isReadOnly { return }
    isRepairing = true
    reactor.spawn { [weak self] in await self?.repairReads() }
  }

  /// Writes again what a copy could not read, from another. A copy that cannot be written either costs its disk the place in the pool.
  private func repairReads() async {
    while let range = wantedRepairs.first, !isClosing {
      wantedRepairs.removeFirst()
      if let row = rows[range.row], row.state == .mapped { await repair(row, range) }
    }
    isRepairing = false
  }

  private func repair(_ row: MappedRow, _ wanted: RepairRange) async {
    let range = wanted.start.roundedDown(to: blockByteCount)..<wanted.end.roundedUp(to: blockByteCount)
    let ticket = await row.acquire(range, .exclusive)
    // Where the copies may differ there is no good one to repair from yet.
    if row.state == .mapped && !slabTable.isUnsettled(row.index, range.lowerBound, range.upperBound) {
      _ = try? await copyPresent(row, range, to: .unreadableCopies)
    }
    row.lock.release(ticket)
  }
}

extension VirtualDisk {
  /// Lets the copies of the regions that the range touches agree, and flushes them: whoever reads them from then on reads the same.
  func settle(_ row: MappedRow, _ start: UInt64, _ end: UInt64) async throws(BlockError) {
    for region in regions.regions(start, min(end, rowByteCount)) {
      guard slabTable.condition(row.index)?.unsettled.contains(region) == true else { continue }
      try await bringTogether(row, region: region)
    }
  }

  /// Brings the copies of one region together, under its lock.
  private func bringTogether(_ row: MappedRow, region: Int) async throws(BlockError) {
    let range = regions.bytes(of: region)
    let ticket = await row.acquire(range, .exclusive)
    defer { row.lock.release(ticket) }
    if row.state != .mapped { return }
    let membership = pool.membershipChanges
    let missed = try await copyPresent(row, range, to: .otherCopies)
    if slabTable.condition(row.index)?.unsettled.contains(region) == true {
      // What is not flushed could differ again after the next crash, and then the other way round.
      try await pool.flushDisks(IORequest(virtualDisk: handle, ioClass: .resync))
    }
    // A disk that came or went meanwhile has perhaps missed a part: whoever asked for this looks again.
    guard membership == pool.membershipChanges else { return }
    slabTable.change(row.index) { condition in
      condition.unsettled.remove(region..<region + 1)
      for place in condition.stale.keys where !missed.contains(place) { condition.stale[place]?.remove(region..<region + 1) }
    }
  }

  /// Copies what is present of a range of a row, which is locked and of whole blocks. Returns the places that did not take it.
  func copyPresent(_ row: MappedRow, _ range: Range<UInt64>, to targets: CopyTargets) async throws(BlockError) -> Set<Int> {
    var missed: Set<Int> = []
    var position = range.lowerBound
    while position < range.upperBound {
      let chunk = Int(position / chunkByteCount)
      let stop = min(range.upperBound, UInt64(row.presence.endOfRun(from: chunk, limit: chunksPerRow)) * chunkByteCount)
      if row.presence[chunk] { missed.formUnion(try await space.copy(row: row.index, from: position, to: stop, targets)) }
      position = stop
    }
    return missed
  }

  /// Brings the row's copies together: what a crash left unsettled, and what returning disks lack.
  public func resynchronise(row index: Int) async throws(BlockError) {
    guard let row = rows[index], row.state == .mapped, let condition = slabTable.condition(index) else { return }
    var wanted = condition.unsettled
    for stale in condition.stale.values { wanted.formUnion(stale) }
    for region in 0..<regions.regionCount where wanted.contains(region) {
      let began = reactor.now
      try await bringTogether(row, region: region)
      await pool.jobs.pacer.worked(since: began, byteCount: UInt64(regions.bytes(of: region).count))
    }
    let stored = slabTable.condition(index)?.storedStale ?? []
    if !stored.isEmpty { try await forgetStoredStale(row, stored) }
  }

  /// Copies that the metadata calls stale have everything again, once that is flushed.
  private func forgetStoredStale(_ row: MappedRow, _ places: Set<Int>) async throws(BlockError) {
    let fresh = places.filter { slabTable.condition(row.index)?.stale[$0] == nil }
    if fresh.isEmpty { return }
    try await pool.flushDisks(IORequest(virtualDisk: handle, ioClass: .resync))
    guard rows[row.index] === row, row.state == .mapped else { return }
    slabTable.change(row.index) { condition in
      for place in fresh where condition.stale[place] == nil { condition.storedStale.remove(place) }
    }
    if row.mayBeInMetadata { try await pool.commit([.put(rowRecord(of: row))], priority: .essential) }
  }

  public var byteCountToResynchronise: UInt64 {
    rowsToResynchronise.reduce(0) { sum, index in
      guard let condition = slabTable.condition(index) else { return sum }
      var wanted = condition.unsettled
      for stale in condition.stale.values { wanted.formUnion(stale) }
      return sum + UInt64(wanted.memberCount) * regions.regionByteCount
    }
  }

  /// Rows whose copies are to be brought together.
  public var rowsToResynchronise: [Int] {
    slabTable.rowsWithCondition.filter { index in
      guard let condition = slabTable.condition(index) else { return false }
      return !condition.unsettled.isEmpty || !condition.stale.isEmpty || !condition.storedStale.isEmpty
    }
  }
}
