import BlockDevice
import Reactor

extension MetadataStore {
  /// The most bytes of changes that one commit can hold.
  public var commitByteLimit: Int { journal.entryByteCount - FormatLimits.journalHeaderByteCount }

  /// What a list of changes counts against `commitByteLimit`: 32 bytes for each change, and its bytes rounded up to 8.
  public static func byteCount(of changes: [MetadataChange]) -> Int { changes.reduce(0) { $0 + $1.encodedByteCount } }

  /// Makes all the changes, durable on every voter, or none. In the order of the calls; changes of one call in their order.
  ///
  /// A voter that fails leaves first; while that cannot be had (`membershipProblem`) the commit waits.
  ///
  /// Throws `.metadataFull`, `.tooLarge`, `.invalidChange` (nothing was changed, the store goes on), `.diskFailed` (no voter is left, or
  /// the pool was closed while the commit waited: the changes may or may not be there when it is opened again; nothing is accepted until
  /// then), `.readOnly`, `.closed`.
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
    if pending.isLeader { await handOver() }
    return try result.get()
  }

  func checkOpen() throws(MetadataError) {
    if let failure { throw failure }
    switch state {
    case .open: return
    case .readOnly: throw MetadataError(.readOnly, "Pool \(poolName) is open read-only.", remedy: "Open it for writing.")
    case .opening, .closing, .closed: throw MetadataError(.closed, "Pool \(poolName) is being closed.", remedy: "Open it again.")
    }
  }

  /// Essential commits go before the others, and wake a writer that waits for room which these need not have.
  private func enqueue(_ pending: PendingCommit) {
    guard pending.priority == .essential else { return queue.append(pending) }
    let index = queue.firstIndex { $0.priority == .normal } ?? queue.count
    queue.insert(pending, at: index)
    roomWaiters.wakeAll()
  }

  /// Gives up the writer's place: to who waits for it, else to the next commit in line, which writes the next entry.
  func handOver() async {
    await settleMembership()
    if !writerWaiters.isEmpty {
      writerWaiters.wakeFirst()
    } else if let next = queue.first {
      next.isLeader = true
      next.waiter.take()?.resume()
    } else {
      isWriting = false
      wakeWhenIdle()
    }
  }

  /// Takes the writer's place: no entry is in flight, and none begins before `handOver`.
  func acquireWriter() async {
    if isWriting { await withUnsafeContinuation { writerWaiters.append($0) } } else { isWriting = true }
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
    // Durable on every voter: those on which it is not are voters no more.
    await settleMembership()
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

  /// An entry that changes nothing: a copy of a disk that was made while the pool was open lacks it, and the witness notes it. The caller is
  /// the closing, and holds the writer's place.
  func writeClosingEntry() async {
    let changes = [MetadataChange.patch(PoolRecord.key, byteOffset: PoolRecord.Offset.ownerTerm, bytes: ownerTerm.value.fieldBytes)]
    let pending = PendingCommit(changes, MetadataStore.byteCount(of: changes), .essential)
    queue.append(pending)
    while pending.result == nil { await writeEntry() }
    await waitForCheckpoint()  // it may have begun one
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
      counters.journalWaits += 1
      await withUnsafeContinuation { roomWaiters.append($0) }
      await settleMembership()  // the checkpoint may wait for just that
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
    let targets = voters
    for voter in targets {
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
    let awaited = PlantedBug.commitAcknowledgedByOneVoter.isPlanted ? Array(targets.prefix(1)) : targets
    for voter in targets.dropFirst(awaited.count) {
      guard let slice = voter.journalBuffer?.part(from: 0, byteCount: length) else { continue }
      reactor.spawn { _ = try? await voter.device.write(at: voter.layout.journalOffset + header.position, from: slice, MetadataIO.durable) }
    }
    let errors = await MetadataIO.inParallel(awaited) { (voter: Voter) async throws(BlockError) in
      guard let buffer = voter.journalBuffer else { throw BlockError(.shuttingDown) }
      let slice = buffer.part(from: 0, byteCount: length)
      try await voter.device.write(at: voter.layout.journalOffset + header.position, from: slice, MetadataIO.durable)
    }
    for (index, error) in errors.enumerated() {
      if let error { fail(targets[index].disk, "a change was written to its journal", error) }
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
      await checkpoint(holdsWriter: false)
      endCheckpoint()
    }
  }

  func endCheckpoint() {
    isCheckpointing = false
    for voter in retiredVoters { voter.releaseBuffers() }
    retiredVoters.removeAll()
    roomWaiters.wakeAll()
    checkpointWaiters.wakeAll()
    wakeWhenIdle()
  }

  /// Writes a checkpoint of what is applied now to every voter, and to `learner`. Commits go on meanwhile, unless the caller holds the
  /// writer's place. Voters that fail have left when it returns; returns the learner's error.
  @discardableResult
  func checkpoint(learner: Voter? = nil, holdsWriter: Bool = true) async -> BlockError? {
    let changed = pages.freeze()
    let targets = voters + [learner].compactMap { $0 }
    if let learning, learning !== learner { learning.lacking.formUnion(changed) }
    var count = 0
    for voter in targets {
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
    let errors = await MetadataIO.inParallel(targets) { [pages] (voter: Voter) async throws(BlockError) in
      try await VoterCheckpoint(voter: voter, pages: pages, root: root, changed: changed).write()
    }
    for (index, error) in errors.enumerated() where targets[index] !== learner {
      if let error { fail(targets[index].disk, "a checkpoint was written", error) }
    }
    if holdsWriter { await settleMembership() } else { await waitUntilSettled() }
    if failure != nil {
      pages.restoreDirty(changed)
    } else {
      pages.thaw()
      journal.release(usedBefore)
      counters.checkpoints += 1
      counters.checkpointPagesWritten += UInt64(count)
    }
    return learner == nil ? nil : errors[errors.count - 1]
  }

  /// For a checkpoint beside the commits: waits until the voters that failed it have left. Whoever holds the writer's place sees to that.
  private func waitUntilSettled() async {
    while !leaving.isEmpty && failure == nil {
      if isWriting {
        roomWaiters.wakeAll()
        checkpointWaiters.wakeAll()
        await withUnsafeContinuation { leavingWaiters.append($0) }
      } else {
        isWriting = true
        await handOver()
      }
    }
  }
}
