import BlockDevice
import Pool
import Reactor

// Moving one copy of one row to another slab: what repair, replacement, retiring and rebalancing are made of. While the new slab is
// filled, writes go to it too; only when it is whole and flushed does the metadata name it, and only then is the old slab freed. A crash
// leaves the old or the new.

extension VirtualDisk {
  /// Gives a place of a row a new slab: on `destination`, or on the emptiest disk that has no slab of the row. Only one place of a row at a
  /// time; the callers see to it.
  public func move(_ copy: CopyPlace, to destination: DiskNumber? = nil) async throws(BlockError) -> MoveOutcome {
    var began = reactor.now
    let (index, place) = (copy.row, copy.place)
    guard let row = findRow(at: index), row.state == .mapped, slabTable.condition(index)?.move == nil else { return .notNeeded }
    let old = slabTable[index, place]
    let taken = Set(slabTable.slabs(ofRow: index).filter { !$0.isNone }.map(\.disk))
    let isRepair = old.isNone || pool.usableDisk(old.disk) == nil
    guard let slab = try await pool.allocateSlab(notOn: taken, only: destination, isRepair: isRepair) else { return .noSpace }
    // A disk that left meanwhile may be back before the end, and would lack what was copied without it.
    guard row.state == .mapped, slabTable[index, place] == old, slabTable.condition(index)?.move == nil, pool.usableDisk(slab.disk) != nil
    else {
      pool.releaseUncommitted(slab)
      return .notNeeded
    }
    slabTable.change(index) { $0.move = (place, slab) }
    do throws(BlockError) {
      var position: UInt64 = 0
      while position < rowByteCount, isMoving(row, to: slab) {
        // Of the row's columns only one moves.
        let columns = UInt64(slabTable.columns)
        let end = min(position + pool.jobs.pacer.pieceByteCount * columns, rowByteCount)
        try await fill(row, position..<end)
        await pool.jobs.pacer.worked(since: began, byteCount: (end - position) / columns)
        began = reactor.now
        position = end
      }
      try await pool.flushDisks(IORequest(virtualDisk: handle, ioClass: .repair))
      let outcome = try await finishMove(row, place, old, slab)
      // Flushing and committing is work that applications feel, too.
      await pool.jobs.pacer.worked(since: began, byteCount: 0)
      return outcome
    } catch {
      await abandonMove(row, slab)
      throw error
    }
  }

  private func isMoving(_ row: MappedRow, to slab: SlabAssignment) -> Bool {
    row.state == .mapped && slabTable.condition(row.index)?.move?.slab == slab
  }

  private func fill(_ row: MappedRow, _ range: Range<UInt64>) async throws(BlockError) {
    // From a region whose copies may differ nothing is copied that a reader could see otherwise.
    while slabTable.isUnsettled(row.index, range.lowerBound, range.upperBound) { try await settle(row, range.lowerBound, range.upperBound) }
    let ticket = await row.acquire(range, .exclusive)
    defer { row.lock.release(ticket) }
    if row.state == .mapped { _ = try await copyPresent(row, range, to: .move) }
  }

  /// The slab is whole: from here on it is the row's.
  private func finishMove(
    _ row: MappedRow, _ place: Int, _ old: SlabAssignment, _ slab: SlabAssignment
  ) async throws(BlockError) -> MoveOutcome {
    func isStillWanted() -> Bool { isMoving(row, to: slab) && pool.usableDisk(slab.disk) != nil && slabTable[row.index, place] == old }
    let ticket = await row.acquire(0..<rowByteCount, .exclusive)
    guard isStillWanted() else {
      row.lock.release(ticket)
      await abandonMove(row, slab)
      return .notNeeded
    }
    // A chunk that was trimmed meanwhile was not copied: the metadata must not call it present when it names the new slab. Under the lock
    // nothing of the row is trimmed or written.
    if row.isPending || flushState.isRunning {
      do throws(BlockError) { _ = try await flushJoining(IORequest(virtualDisk: handle, ioClass: .repair)) } catch {
        row.lock.release(ticket)
        throw error
      }
      guard isStillWanted() else {
        row.lock.release(ticket)
        await abandonMove(row, slab)
        return .notNeeded
      }
    }
    slabTable.setSlab(slab, row: row.index, place: place)
    slabTable.change(row.index) { condition in
      condition.move = nil
      condition.stale[place] = nil
      condition.storedStale.remove(place)
    }
    var failure: BlockError?
    if row.mayBeInMetadata {
      do throws(BlockError) { try await pool.commit([.put(rowRecord(of: row))], priority: .essential) } catch { failure = error }
    }
    row.lock.release(ticket)
    // After a failed commit nobody knows which of the two is the row's: both stay taken until the pool is opened again.
    if let failure { throw failure }
    if !old.isNone { await pool.releaseSlabs([old]) }
    return .moved
  }

  private func abandonMove(_ row: MappedRow, _ slab: SlabAssignment) async {
    let ticket = await row.acquire(0..<rowByteCount, .exclusive)  // drains writes to the slab
    let isCommitted = slabTable.slabs(ofRow: row.index).contains(slab)
    if slabTable.condition(row.index)?.move?.slab == slab { slabTable.change(row.index) { $0.move = nil } }
    row.lock.release(ticket)
    if !isCommitted { pool.releaseUncommitted(slab) }
  }
}
