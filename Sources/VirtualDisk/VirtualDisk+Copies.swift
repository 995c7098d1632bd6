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

/// What the protection of the rows follows from.
struct ProtectionVersion: Equatable {
  var membership: Int
  var table: UInt64
}

extension VirtualDisk: RowOwner {
  public var virtualDisk: VirtualDiskNumber { record.number }
  public var requestCount: UInt64 {
    [BlockOperation.read, .write, .discard, .writeZeroes].reduce(0) { $0 &+ statistics[$1].requests }
  }
  public var slabsPerRow: Int { slabTable.placeCount }
  public var copyCount: Int { copies }
  public var rowCount: Int { rows.count }
  public var mappedRowCount: Int { slabTable.mappedRowCount }
  public func isMapped(row: Int) -> Bool { slabTable.isMapped(row) }
  public func slab(row: Int, place: Int) -> SlabAssignment { slabTable[row, place] }
  public func copyCount(on disk: DiskNumber) -> Int { slabTable.copyCount(on: disk) }

  public func holdsLastCopy(on disk: DiskNumber) -> Bool {
    pool.usableDisk(disk) != nil && slabTable.hasLastCopy(on: disk) { pool.usableDisk($0) != nil }
  }

  public func hasWholeCopy(row: Int, column: Int) -> Bool {
    (column * copies..<(column + 1) * copies).contains { isInSync(row, $0) }
  }

  /// The copy is there and lacks nothing.
  private func isInSync(_ row: Int, _ place: Int) -> Bool {
    pool.usableDisk(slabTable[row, place].disk) != nil && slabTable.condition(row)?.stale[place] == nil
  }

  /// What all rows are like, looked up again only when something has changed.
  private var protection: RowProtection {
    let version = ProtectionVersion(membership: pool.membershipChanges, table: slabTable.changeCount)
    if let known = knownProtection, known.version == version { return known.protection }
    let protection = slabTable.protection { pool.usableDisk($0) != nil }
    knownProtection = (version, protection)
    return protection
  }

  /// Whether each column of each row has a copy that is there and lacks nothing; else the virtual disk cannot be served.
  public var hasAllData: Bool { firstLostRow == nil }

  /// Of how many copies that are there and lack nothing the least protected data has; `copies` where all is well, 0 where some is lost.
  public var fewestWholeCopies: Int { protection.fewestWholeCopies }

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
  public var firstLostRow: Int? { protection.firstLostRow }

  public func diskLeft(_ disk: DiskNumber) {
    // What zeroed the slabs of a new row is perhaps not flushed there. Before its first commit, which brings the marks along, all of it is.
    for case let row? in rows where copies > 1 && row.state == .mapped && !row.mayBeInMetadata && has(row, slabOn: disk) { markWhole(row) }
    if PlantedBug.staleOnlySinceFailure.isPlanted { for row in dirtyRows where has(row, slabOn: disk) { row.dirty.removeAll() } }
    for index in slabTable.rowsWithCondition {
      slabTable.change(index) { condition in
        for place in 0..<slabTable.placeCount where slabTable[index, place].disk == disk { condition.stale[place] = nil }
        if condition.move?.slab.disk == disk { condition.move = nil }
      }
    }
    if firstLostRow != nil { space.hasLostWrites = true }
  }

  public func hasStaleCopy(on disk: DiskNumber) -> Bool { slabTable.hasStaleCopy(on: disk) }

  private func has(_ row: MappedRow, slabOn disk: DiskNumber) -> Bool {
    (0..<slabTable.placeCount).contains { slabTable[row.index, $0].disk == disk }
  }

  public func diskReturned(_ disk: DiskNumber) {
    guard copies > 1 else { return }
    let older = pool.disksThatLeft(noLaterThan: disk)
    for row in dirtyRows where row.state == .mapped && !row.dirty.isEmpty {
      for place in 0..<slabTable.placeCount where slabTable[row.index, place].disk == disk {
        // What had missed a write before its disk left, still has.
        let isStoredStale = slabTable.condition(row.index)?.storedStale.contains(place) ?? false
        guard isStoredStale || !slabTable.isFreshest(row.index, place, older) else { continue }
        slabTable.change(row.index) { $0.stale[place] = row.dirty }
      }
    }
  }
}

extension VirtualDisk: CopyKeeper {
  public func copiesMissed(row index: Int, places: [Int]) async throws(BlockError) {
    guard let row = findRow(at: index) else { return }
    // Stale is all of the row that is dirty: where another copy lacks some of that, this one has it alone.
    guard places.allSatisfy({ hasWholeCopy(index, beside: places, inColumnOf: $0) }) else { throw BlockError(.ioFailed) }
    slabTable.change(index) { condition in
      for place in places {
        condition.storedStale.insert(place)
        condition.stale[place] = row.dirty
      }
    }
    if row.mayBeInMetadata { try await pool.commit([.put(rowRecord(of: row))], priority: .essential) }
  }

  public func makeCopiesCount(row index: Int) async throws(BlockError) {
    let stored = slabTable.condition(index)?.storedStale ?? []
    if !stored.isEmpty, let row = findRow(at: index), row.state == .mapped { try await forgetStoredStale(row, stored) }
    let isOneForgotten = (slabTable.condition(index)?.storedStale ?? []).count < stored.count
    guard try await pool.finishReturns() || isOneForgotten else { throw BlockError(.ioFailed) }
  }

  /// After a flush of all disks: whether what it made durable is on copies that count. If not, it is on disks on their way back alone, and
  /// what they were brought up to date from has left with perhaps none of it.
  func checkCopiesCount() async throws(BlockError) {
    if copies == 1 || pool.isWhole { return }
    while let row = dirtyRows.first(where: { $0.state == .mapped && !$0.dirty.isEmpty && !space.hasCountingCopies($0.index) }) {
      try await makeCopiesCount(row: row.index)
    }
  }

  /// Whole by what the metadata says, too: a disk on its way back counts as lacking all that is dirty when the pool is opened again.
  private func hasWholeCopy(_ row: Int, beside places: [Int], inColumnOf place: Int) -> Bool {
    let column = place / copies
    return (column * copies..<(column + 1) * copies).contains { other in
      guard !places.contains(other), let disk = pool.usableDisk(slabTable[row, other].disk), disk.state != .returning else { return false }
      let condition = slabTable.condition(row)
      return condition?.stale[other] == nil && condition?.storedStale.contains(other) != true
    }
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
      if let row = findRow(at: range.row), row.state == .mapped { await repair(row, range) }
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
      try await bringTogether(row, region..<region + 1)
    }
  }

  /// Brings the copies of some regions that lie side by side together, under the lock of them all: from before the first is copied until
  /// their marks are cleared nobody writes there.
  private func bringTogether(_ row: MappedRow, _ run: Range<Int>) async throws(BlockError) {
    let range = regions.bytes(of: run)
    let ticket = await row.acquire(range, .exclusive)
    defer { row.lock.release(ticket) }
    if row.state != .mapped { return }
    let membership = pool.membershipChanges
    let missed = try await copyPresent(row, range, to: .otherCopies)
    if slabTable.condition(row.index)?.unsettled.overlaps(run) == true {
      // What is not flushed could differ again after the next crash, and then the other way round.
      try await pool.flushDisks(IORequest(virtualDisk: handle, ioClass: .resync))
    }
    // A disk that came or went meanwhile has perhaps missed a part: whoever asked for this looks again.
    guard membership == pool.membershipChanges else { return }
    slabTable.change(row.index) { condition in
      condition.unsettled.remove(run)
      for place in condition.stale.keys where !missed.contains(place) { condition.stale[place]?.remove(run) }
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
    guard let row = findRow(at: index), row.state == .mapped, let condition = slabTable.condition(index) else { return }
    let wanted = condition.regionsToResynchronise
    var failure: BlockError?
    var next = 0
    while let run = wanted.run(from: next, limit: Int(pool.jobs.pacer.pieceByteCount / regions.regionByteCount)) {
      let began = reactor.now
      do throws(BlockError) { try await bringTogetherOrEach(row, run) } catch { failure = error }
      await pool.jobs.pacer.worked(since: began, byteCount: UInt64(regions.bytes(of: run).count))
      next = run.upperBound
    }
    if let failure { throw failure }
    let stored = slabTable.condition(index)?.storedStale ?? []
    if !stored.isEmpty { try await forgetStoredStale(row, stored) }
  }

  /// One region that cannot be brought together keeps no other from being whole: perhaps its bad disk can then be let go.
  private func bringTogetherOrEach(_ row: MappedRow, _ run: Range<Int>) async throws(BlockError) {
    var failure: BlockError?
    do throws(BlockError) { return try await bringTogether(row, run) } catch { failure = error }
    if run.count > 1 {
      failure = nil
      for region in run {
        do throws(BlockError) { try await bringTogether(row, region..<region + 1) } catch { failure = error }
      }
    }
    if let failure { throw failure }
  }

  /// Copies that the metadata calls stale have everything again, once that is flushed.
  private func forgetStoredStale(_ row: MappedRow, _ places: Set<Int>) async throws(BlockError) {
    let fresh = places.filter { slabTable.condition(row.index)?.stale[$0] == nil }
    if fresh.isEmpty { return }
    // The map with it: what was trimmed meanwhile was not copied, and must not be called present.
    _ = try await flushJoining(IORequest(virtualDisk: handle, ioClass: .resync))
    guard rows[row.index] === row, row.state == .mapped else { return }
    slabTable.change(row.index) { condition in
      for place in fresh where condition.stale[place] == nil { condition.storedStale.remove(place) }
    }
    if row.mayBeInMetadata { try await pool.commit([.put(rowRecord(of: row))], priority: .essential) }
  }

  public var byteCountToResynchronise: UInt64 { UInt64(slabTable.regionCountToResynchronise) * regions.regionByteCount }
  public var rowCountToResynchronise: Int { slabTable.rowCountToResynchronise }
  public func wantsResynchronisation(row: Int) -> Bool { slabTable.condition(row)?.wantsResynchronisation ?? false }

  /// All rows whose copies are to be brought together. A job looks at them one after the other.
  package var rowsToResynchronise: [Int] { slabTable.rowsWithCondition.filter(wantsResynchronisation(row:)) }
}
