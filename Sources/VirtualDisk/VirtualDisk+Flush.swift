import BlockDevice
import Pool
import Reactor

// FLUSH, for all connections, exports and partitions of the virtual disk together: first every disk that was written since its last good
// flush, then the commit of what changed in the map, then the answer. A presence bit therefore never becomes durable before its data, and
// a freed slab is never reused before its freeing is durable.

/// Flushes are numbered; at most one runs, and all that arrive meanwhile share the next one.
struct FlushState {
  var started: UInt64 = 0
  var completed: UInt64 = 0
  /// What the last completed flush failed with. Replaced only when the next has completed too: who shared a flush may run after the next
  /// has begun. When that one has even completed well, it has made durable what the failed one did not.
  var lastError: BlockError?
  var isRunning = false
  var waiters = WaitQueue()
}

extension VirtualDisk {
  /// What one flush commits.
  struct PendingCommit {
    var rows: [MappedRow] = []
    var frees: [FreedRow] = []
    var batches: [CommitBatch.Commit] = []
    /// Rows for which the pool holds room in the metadata free.
    var unsettled: [MappedRow] = []
  }

  public var hasPendingMetadata: Bool { !pendingRows.isEmpty || !pendingFrees.isEmpty }

  /// Shares a flush with others that wait, never with one that has begun.
  func flushJoining(_ request: IORequest) async throws(BlockError) -> FlushToken {
    // Only a flush that starts after this call covers all that was answered before it.
    let needed = flushState.started + (PlantedBug.flushJoinsOneInFlight.isPlanted && flushState.isRunning ? 0 : 1)
    while flushState.completed < needed {
      if flushState.isRunning {
        await withUnsafeContinuation { flushState.waiters.append($0) }
        continue
      }
      flushState.isRunning = true
      flushState.started += 1
      var failure: BlockError?
      do throws(BlockError) { try await flushAndCommit(request) } catch { failure = error }
      flushState.lastError = failure
      flushState.completed = flushState.started
      flushState.isRunning = false
      flushState.waiters.wakeAll()
    }
    if let error = flushState.lastError { throw error }
    return FlushToken(number: flushState.completed)
  }

  private func flushAndCommit(_ request: IORequest) async throws(BlockError) {
    // Taken before the disks are flushed: bits set by writes that complete from here on belong to the next flush.
    let pending = takePending()
    do throws(BlockError) {
      let skipsFlush = PlantedBug.noFlushBeforeCommit.isPlanted || PlantedBug.presenceBitBeforeItsData.isPlanted
      if !skipsFlush { try await space.flush(request) }
      // Room for rows was found when they were allocated, and frees give room: neither may fail for want of it now.
      for batch in pending.batches {
        let newRows = batch.newRows.flatMap { metadataOfNew($0.row, $0.map) }
        // From here on what is committed of these rows comes behind; before, it would come there alone and belong to nothing.
        for new in batch.newRows where new.row.state != .freed { new.row.mayBeInMetadata = true }
        try await pool.commit(batch.changes + newRows, priority: .essential)
      }
      if PlantedBug.presenceBitBeforeItsData.isPlanted { try await space.flush(request) }
    } catch {
      putBack(pending)
      throw error
    }
    for row in pending.unsettled { row.isSettled = true }
    pool.rowsSettled(pending.unsettled.count)
    for freed in pending.frees { await pool.releaseSlabs(freed.slabs) }
  }

  private func takePending() -> PendingCommit {
    var pending = PendingCommit()
    swap(&pending.rows, &pendingRows)
    swap(&pending.frees, &pendingFrees)
    var batch = CommitBatch(byteLimit: pool.commitByteLimit)
    for freed in pending.frees {
      if freed.row.mayBeInMetadata { batch.add(metadataOfFreed(freed)) }
      if !freed.row.isSettled { pending.unsettled.append(freed.row) }
    }
    for row in pending.rows {
      row.isPending = false
      if row.state == .freed { continue }
      batch.add(row, mapRecord(of: row))
      if !row.isSettled { pending.unsettled.append(row) }
    }
    pending.batches = batch.finish()
    return pending
  }

  /// After a failure: nothing is known to be durable, so all of it is committed again with the next flush.
  private func putBack(_ pending: PendingCommit) {
    pendingFrees.insert(contentsOf: pending.frees, at: 0)
    for row in pending.rows where row.state != .freed { notePending(row) }
  }
}
