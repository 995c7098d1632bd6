import BlockDevice
import Reactor

extension MetadataStore {
  /// The most bytes of changes that one commit can hold.
  public var commitByteLimit: Int { journal.entryByteCount - FormatLimits.journalHeaderByteCount }

  /// What a list of changes counts against `commitByteLimit`: 32 bytes for each change, and its bytes rounded up to 8.
  public static func byteCount(of changes: [MetadataChange]) -> Int { changes.reduce(0) { $0 + $1.encodedByteCount } }

  /// Makes all the changes, durable on every voter, or none. In the order of the calls; changes of one call in their order.
  ///
  /// Throws `.metadataFull`, `.tooLarge`, `.invalidChange` (nothing was changed, the store goes on), `.diskFailed` (the changes may or may
  /// not be there when the pool is opened again; nothing is accepted until then), `.readOnly`, `.closed`.
  @discardableResult
  public func commit(_ changes: [MetadataChange], priority: CommitPriority = .normal) async throws(MetadataError) -> JournalSequence {
    try checkOpen()
    let byteCount = MetadataStore.byteCount(of: changes)
    guard byteCount <= commitByteLimit else {
      throw MetadataError(
        .tooLarge, "\(changes.count) changes of \(byteCount) bytes do not fit in one commit: \(commitByteLimit) do.",
        remedy: "This is a defect of the program: please report it.")
    }
    let pending = PendingCommit(changes, byteCount, priority)
    enqueue(pending)
    if isWriting {
      await withUnsafeContinuation { pending.waiter = $0 }
    } else {
      isWriting = true
      pending.isLeader = true
    }
    // Resumed without a result: the entry before this one is done, and writing the next is up to this commit.
    while pending.result == nil { await writeEntry() }
    guard let result = pending.result else { preconditionFailure("the loop ends with a result") }
    if pending.isLeader { handOver() }
    return try result.get()
  }

  private func checkOpen() throws(MetadataError) {
    if let failure { throw failure }
    switch state {
    case .open: return
    case .readOnly: throw MetadataError(.readOnly, "Pool \(poolName) is open read-only.", remedy: "Open it for writing.")
    case .closing, .closed: throw MetadataError(.closed, "Pool \(poolName) is being closed.", remedy: "")
    }
  }

  /// Essential commits go before the others, and wake a writer that waits for room which these need not have.
  private func enqueue(_ pending: PendingCommit) {
    guard pending.priority == .essential else { return queue.append(pending) }
    let index = queue.firstIndex { $0.priority == .normal } ?? queue.count
    queue.insert(pending, at: index)
    roomWaiters.wakeAll()
  }

  /// The next commit in line writes the next entry.
  private func handOver() {
    if let next = queue.first {
      next.isLeader = true
      next.waiter.take()?.resume()
    } else {
      isWriting = false
      wakeWhenIdle()
    }
  }

  // MARK: One entry

  private func writeEntry() async {
    let batch = await nextBatch()
    if let failure {
      for pending in batch + queue { pending.finish(.failure(failure)) }
      queue.removeAll()
      return
    }
    var plan = ChangePlan(pages)
    let accepted = batch.filter { pending in
      do throws(MetadataError) {
        try plan.add(pending.changes, reservedPageCount: pending.priority == .essential ? 0 : reservedPageCount)
        return true
      } catch {
        pending.finish(.failure(error))
        return false
      }
    }
    guard !accepted.isEmpty else { return }
    let length = JournalEntryHeader.paddedByteCount(changes: plan.encodedByteCount)
    let chain = await write(plan, length)
    if let failure {
      plan.abandon()
      for pending in accepted { pending.finish(.failure(failure)) }
      return
    }
    plan.apply()
    journal.append(length, chain: chain)
    counters.commits += UInt64(accepted.count)
    counters.journalEntries += 1
    counters.journalBytesWritten += UInt64(length)
    for pending in accepted { pending.finish(.success(JournalSequence(journal.sequence))) }
    if journal.wantsCheckpoint { startCheckpoint() }
  }

  var reservedPageCount: Int { max(StoreLimits.reservedPageCountSmallest, pages.pageCount / StoreLimits.reservedPageFraction) }

  /// Takes as many waiting commits as one entry holds, once the journal has room for it.
  private func nextBatch() async -> [PendingCommit] {
    while failure == nil {
      var byteCount = 0
      var count = 0
      var isEssential = true
      while count < queue.count, byteCount + queue[count].encodedByteCount <= commitByteLimit {
        let normal = queue[count].priority == .normal
        // Commits that may not use the reserve do not ride along with one that must.
        if normal && isEssential && count > 0 && !journal.hasRoom(padded(byteCount + queue[count].encodedByteCount), essential: false) {
          break
        }
        if normal { isEssential = false }
        byteCount += queue[count].encodedByteCount
        count += 1
      }
      if journal.hasRoom(padded(byteCount), essential: isEssential) {
        let batch = Array(queue[..<count])
        queue.removeFirst(count)
        return batch
      }
      startCheckpoint()
      await withUnsafeContinuation { roomWaiters.append($0) }
    }
    return []
  }

  private func padded(_ changes: Int) -> Int { JournalEntryHeader.paddedByteCount(changes: changes) }

  /// Writes the entry to every voter. Returns the chain value after it.
  private func write(_ plan: ChangePlan, _ length: Int) async -> UInt32 {
    let header = JournalEntryHeader(
      sequence: journal.sequence + 1, term: ownerTerm.value, committed: journal.committed, position: journal.start(length),
      chainBefore: journal.chain, changesByteCount: plan.encodedByteCount, changeCount: plan.changes.count, epochNumber: epoch.number)
    var chain: UInt32 = 0
    var first: UnsafeRawBufferPointer?
    for voter in voters {
      guard let buffer = voter.journalBuffer else { continue }
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<length])
      if let first {
        bytes.copyMemory(from: first)
      } else {
        encode(plan, bytes)
        chain = header.chainAfter(
          changes: bytes.readOnly.part(from: JournalEntryHeader.byteCount, byteCount: plan.encodedByteCount))
        first = bytes.readOnly
      }
      header.seal(bytes, owner: voter.owner)
    }
    let awaited = PlantedBug.commitAcknowledgedByOneVoter.isPlanted ? Array(voters.prefix(1)) : voters
    for voter in voters.dropFirst(awaited.count) {
      guard let slice = voter.journalBuffer?.part(from: 0, byteCount: length) else { continue }
      reactor.spawn { _ = try? await voter.device.write(at: voter.layout.journalOffset + header.position, from: slice, MetadataIO.durable) }
    }
    let errors = await MetadataIO.inParallel(awaited) { (voter: Voter) async throws(BlockError) in
      guard let buffer = voter.journalBuffer else { throw BlockError(.shuttingDown) }
      let slice = buffer.part(from: 0, byteCount: length)
      try await voter.device.write(at: voter.layout.journalOffset + header.position, from: slice, MetadataIO.durable)
    }
    for (index, error) in errors.enumerated() {
      if let error { fail(voters[index].disk, "a change was written to its journal", error) }
    }
    return chain
  }

  private func encode(_ plan: ChangePlan, _ bytes: UnsafeMutableRawBufferPointer) {
    var offset = JournalEntryHeader.byteCount
    for change in plan.changes { offset = change.encode(bytes, at: offset) }
    UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).zero()
  }

  // MARK: Checkpoints

  private func startCheckpoint() {
    guard !isCheckpointing, failure == nil else { return }
    isCheckpointing = true
    reactor.spawn { [self] in
      await checkpoint()
      isCheckpointing = false
      roomWaiters.wakeAll()
      wakeWhenIdle()
    }
  }

  /// Writes a checkpoint of what is applied now to every voter. Commits go on meanwhile.
  func checkpoint() async {
    let changed = pages.freeze()
    var count = 0
    for voter in voters {
      pages.freeze(also: voter.lacking)
      var all = changed
      all.formUnion(voter.lacking)
      count += all.count
    }
    let usedBefore = journal.used
    checkpointSequence += 1
    let root = CheckpointRoot(
      sequence: checkpointSequence, ownerTerm: ownerTerm.value, applied: journal.sequence, committed: journal.committed,
      journalPosition: journal.position, chain: journal.chain, pageCount: 0, recordCount: UInt64(pages.recordCount),
      epochNumber: epoch.number, tables: [])
    let errors = await MetadataIO.inParallel(voters) { [pages] (voter: Voter) async throws(BlockError) in
      try await VoterCheckpoint(voter: voter, pages: pages, root: root, changed: changed).write()
    }
    for (index, error) in errors.enumerated() {
      if let error { fail(voters[index].disk, "a checkpoint was written", error) }
    }
    if failure != nil { return pages.restoreDirty(changed) }
    pages.thaw()
    journal.release(usedBefore)
    counters.checkpoints += 1
    counters.checkpointPagesWritten += UInt64(count)
  }
}
