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
  var lastError: BlockError?
  var isRunning = false
  var waiters = WaitQueue()
}

extension VirtualDisk {
  /// What one flush commits.
  struct PendingCommit {
    var rows: [MappedRow] = []
    var frees: [FreedRow] = []
    var batches: [[MetadataChange]] = []
  }

  public var hasPendingMetadata: Bool { !pendingRows.isEmpty || !pendingFrees.isEmpty }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    // Only a flush that starts after this call covers all that was answered before it.
    let needed = flushState.started + 1
    while flushState.completed < needed {
      if flushState.isRunning {
        await withUnsafeContinuation { flushState.waiters.append($0) }
        continue
      }
      flushState.isRunning = true
      flushState.started += 1
      flushState.lastError = nil
      do throws(BlockError) { try await flushAndCommit(request) } catch { flushState.lastError = error }
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
      try await space.flush(request)
      for batch in pending.batches { try await pool.commit(batch) }
    } catch {
      putBack(pending)
      throw error
    }
    for freed in pending.frees { await pool.releaseSlabs(freed.slabs) }
  }

  private func takePending() -> PendingCommit {
    var pending = PendingCommit()
    swap(&pending.rows, &pendingRows)
    swap(&pending.frees, &pendingFrees)
    var changes: [MetadataChange] = []
    for freed in pending.frees where freed.row.isInMetadata {
      changes += metadataOfFreed(freed)
      flushBatch(&changes, into: &pending)
    }
    for row in pending.rows {
      row.isPending = false
      if row.state == .freed { continue }
      changes += metadata(of: row)
      row.isInMetadata = true
      flushBatch(&changes, into: &pending)
    }
    if !changes.isEmpty { pending.batches.append(changes) }
    return pending
  }

  private func flushBatch(_ changes: inout [MetadataChange], into pending: inout PendingCommit) {
    if changes.count < VirtualDiskLimits.changesPerCommit { return }
    pending.batches.append(changes)
    changes.removeAll(keepingCapacity: true)
  }

  /// After a failure: nothing is known to be durable, so all of it is committed again with the next flush.
  private func putBack(_ pending: PendingCommit) {
    pendingFrees.insert(contentsOf: pending.frees, at: 0)
    for row in pending.rows where row.state != .freed { notePending(row) }
  }
}
