import BlockDevice
import Reactor

// Membership changes (rules M). A change is a new epoch: first in the witness, then in the superblocks of the disks that stay. It stands
// when the witness has it, or more than half of the old voters have; then it is in force once every voter of the new epoch knows it or is
// leaving itself, by the next change. One voter comes or goes at a time: so any majority of the old voters and any of the new share a disk.

extension MetadataStore {
  /// A disk failed a write of metadata: it is not written any more, and if it is a voter it has to leave.
  func fail(_ disk: PoolDisk, _ during: String, _ error: BlockError) {
    if !disk.hasFailed {
      disk.failure = MetadataError(
        .diskFailed, "\(disk.label) failed while \(during): \(error).",
        remedy: "See to the disk; `spaceport disk replace` puts another in its place.")
      failedDisks.append((disk.number, error))
    }
    if voters.contains(where: { $0.disk === disk }), !leaving.contains(disk.id) { leaving.append(disk.id) }
    // A disk on its way to be a voter is one when the change is in force, and leaves then.
    if joining?.disk === disk, !leaving.contains(disk.id) { leaving.append(disk.id) }
  }

  var noVoterLeft: MetadataError {
    let reasons = voters.compactMap(\.disk.failure).map(\.message).joined(separator: " ")
    return MetadataError(
      .diskFailed, "No disk is left that can keep pool \(poolName)'s metadata. \(reasons)",
      remedy: "Pool \(poolName) takes no more changes. Close it, see to its disks, and open it again.")
  }

  /// Carries through the change that is begun, then lets the voters leave that have to. When it returns `leaving` is empty, or `failure`
  /// says why that cannot be. The caller holds the writer's place.
  func settleMembership() async {
    while failure == nil, proposal != nil || !leaving.isEmpty {
      if !voters.contains(where: { !leaving.contains($0.disk.id) }) {
        failure = noVoterLeft
        break
      }
      if proposal == nil, let id = leaving.first {
        guard epoch.voters.contains(id) else {
          leaving.removeFirst()
          continue
        }
        proposal = nextEpoch(epoch.members.filter { $0.disk != id })
      }
      if let proposal, await establish(proposal) != .stands {
        // Nobody is to wait for ever for an opening or a closing.
        guard state == .open, !isOpening else {
          failure = membershipProblem
          break
        }
        await reactor.sleep(milliseconds: StoreLimits.membershipRetryMilliseconds)
        await checkVoters()
      }
    }
    if failure == nil { membershipProblem = nil }
    leavingWaiters.wakeAll()
    let failed = failedDisks
    failedDisks.removeAll()
    if state == .open { for (number, error) in failed { onDiskFailed?(number, error) } }
  }

  /// Waiting has a point only while a voter that could go on answers.
  private func checkVoters() async {
    // The last one was left to a disk that failed.
    if superblockBuffer == nil {
      superblockBuffer = reactor.buffers.reserve(byteCount: StoreLimits.superblocksInFlight * Superblock.byteCount)
    }
    guard let buffer = superblockBuffer else { return }
    for voter in voters where !voter.disk.hasFailed {
      var failure: BlockError?
      for offset in voter.layout.superblockOffsets.joined() {
        do throws(BlockError) {
          try await voter.device.read(at: offset, into: buffer.part(from: 0, byteCount: Superblock.byteCount), MetadataIO.request)
          failure = nil
          break
        } catch { failure = error }
      }
      guard let failure else { continue }
      fail(voter.disk, "a membership change was waited for", failure)
      // It may hold on to the buffer.
      reactor.buffers.release(buffer.buffer)
      superblockBuffer = nil
      return
    }
  }

  func nextEpoch(_ members: [MembershipEpoch.Member]) -> MembershipEpoch {
    // Higher than what disks that leave by it get (`leavingNumber`).
    highestEpochNumber = max(highestEpochNumber, epoch.number, lastLeavingNumber + 1) + 1
    return MembershipEpoch(
      number: highestEpochNumber, id: EpochID.random(reactor), predecessor: epoch.id, diskCount: UInt32(disks.count), members: members)
  }

  enum ChangeOutcome {
    /// The new epoch is the pool's.
    case stands
    /// It may be in the witness or on some disks, and must be carried through.
    case begun
    /// No disk has it.
    case refused
  }

  /// One attempt at a change.
  func establish(_ next: MembershipEpoch) async -> ChangeOutcome {
    let old = epoch.voters.filter { !acceptedLosses.contains($0) }
    let isLate = PlantedBug.witnessWrittenAfterDisks.isPlanted
    let isWitnessed = isLate ? witness != nil : await tellWitness(of: next)
    let able = voters.filter { !$0.disk.hasFailed && next.voters.contains($0.disk.id) }
    guard isWitnessed || 2 * able.count > old.count else {
      membershipProblem = cannotChange(able.count, old.count)
      return .refused
    }
    await writeSuperblocks { $0.epoch = next }
    let told = voters.filter { $0.disk.superblock.epoch.id == next.id && next.voters.contains($0.disk.id) }
    guard isWitnessed || 2 * told.count > old.count else {
      membershipProblem = cannotChange(told.count, old.count)
      return .begun
    }
    takeEffect(next)
    if isLate { reactor.spawn { _ = await self.tellWitness(of: next) } }
    return .stands
  }

  private func takeEffect(_ next: MembershipEpoch) {
    // What is in flight is not on them, nor promised to anyone.
    for id in epoch.voters where !next.voters.contains(id) { leftAtSequence[id] = journal.committed }
    epoch = next
    proposal = nil
    leaving.removeAll { !next.voters.contains($0) }
    let left = voters.filter { !next.voters.contains($0.disk.id) }
    voters.removeAll { !next.voters.contains($0.disk.id) }
    if let joining {
      voters.append(joining)
      self.joining = nil
    }
    for voter in left { if isCheckpointing { retiredVoters.append(voter) } else { voter.releaseBuffers() } }
    counters.membershipChanges += 1
  }

  private func cannotChange(_ count: Int, _ of: Int) -> MetadataError {
    let witness =
      if let witnessProblem { "the witness cannot be written (\(witnessProblem))" } else { "there is no witness" }
    return MetadataError(
      .diskFailed,
      "Pool \(poolName) has to go on with other disks as its voters, but \(witness), and \(count) of \(of) voters are no majority.",
      remedy: "Changes wait. Make the witness's file system writable; or close the pool, attach its disks, and open it again.")
  }

  // MARK: The witness

  /// False when there is none, or it cannot be written.
  private func tellWitness(of next: MembershipEpoch) async -> Bool {
    if witness != nil, witnessed?.epoch.id == next.id { return true }
    return await tellWitness(WitnessedState(epoch: next, committed: journal.committed))
  }

  private func tellWitness(_ state: WitnessedState) async -> Bool {
    guard let witness else { return false }
    if witnessed == state { return true }
    do throws(BlockError) { try await witness.write(state, pool: pool) } catch {
      witnessProblem = error
      witnessed = nil
      return false
    }
    witnessProblem = nil
    witnessed = state
    return true
  }

  /// It learns the epoch where an earlier write failed or it is new, and the last entry that all voters have. The caller holds the writer's
  /// place.
  func refreshWitness() async { if proposal == nil { _ = await tellWitness(WitnessedState(epoch: epoch, committed: journal.committed)) } }

  // MARK: One change at a time

  func lockMembership() async throws(MetadataError) {
    while isChangingMembership { await withUnsafeContinuation { membershipWaiters.append($0) } }
    try checkOpen()
    isChangingMembership = true
  }

  func unlockMembership() {
    isChangingMembership = false
    membershipWaiters.wakeAll()
    wakeWhenIdle()
  }

  /// Waits until no checkpoint runs, with the writer's place held.
  func waitForCheckpoint() async {
    while isCheckpointing {
      await settleMembership()
      if isCheckpointing { await withUnsafeContinuation { checkpointWaiters.append($0) } }
    }
  }

  // MARK: Voters to be

  /// Lets disks become voters until there are as many as there should be. What fails at that is noted, and tried again after the next
  /// change. The caller holds the membership lock, or is the opening.
  func fillVoters(atLeast wanted: Int = StoreLimits.voterCount, except: Set<DiskID> = []) async {
    var tried = except
    while failure == nil, state == .open, voters.count < wanted, let disk = nextVoter(except: tried) {
      tried.insert(disk.id)
      do throws(MetadataError) { try await promote(disk) } catch { notes.append(error.description) }
    }
  }

  /// In the fault domain with the fewest voters; of several the one with the lowest number. Disks that are being emptied come last.
  private func nextVoter(except tried: Set<DiskID>) -> PoolDisk? {
    var domains: [String: Int] = [:]
    for voter in voters { domains[diskRecord(voter.disk.number)?.faultDomain ?? "", default: 0] += 1 }
    var best: (rank: (Int, Int, UInt32), disk: PoolDisk)?
    for disk in disks where !disk.hasFailed && !tried.contains(disk.id) && !voters.contains(where: { $0.disk === disk }) {
      guard let record = diskRecord(disk.number), record.usage != .cache, record.state != .evicted, record.state != .removed,
        voters.allSatisfy({ $0.layout.holdsSameMetadata(as: disk.layout) })
      else { continue }
      let rank = (record.state == .retiring ? 1 : 0, domains[record.faultDomain] ?? 0, disk.number.value)
      if best == nil || rank < best!.rank { best = (rank, disk) }
    }
    return best?.disk
  }

  /// Makes a disk a voter: first copies everything to it while commits go on, then what changed meanwhile while they wait, then by a
  /// membership change.
  private func promote(_ disk: PoolDisk) async throws(MetadataError) {
    let learner = Voter(disk: disk)
    for page in 0..<pages.pageCount { learner.lacking.insert(page) }
    learning = learner
    defer { learning = nil }
    await learner.acquireBuffers(journalEntryByteCount: journal.entryByteCount)
    do throws(BlockError) {
      // Roots of an earlier time must not outlast these.
      try await MetadataIO.writeBlock(disk.device, at: disk.layout.rootOffsets) { $0.zero() }
      try await disk.device.flush(MetadataIO.request)
      while isCheckpointing { await withUnsafeContinuation { checkpointWaiters.append($0) } }
      try await copy(to: learner, holdsWriter: false)
    } catch {
      learner.releaseBuffers()
      throw cannotJoin(disk, error)
    }
    await acquireWriter()
    await waitForCheckpoint()
    do throws(BlockError) { try await copy(to: learner, holdsWriter: true) } catch {
      await handOver()
      learner.releaseBuffers()
      throw cannotJoin(disk, error)
    }
    let joined = failure == nil && state == .open ? await join(learner) : false
    await handOver()
    if !joined {
      learner.releaseBuffers()
      throw membershipProblem ?? failure ?? cannotJoin(disk, disk.hasFailed ? BlockError(.ioFailed) : BlockError(.shuttingDown))
    }
  }

  private func copy(to learner: Voter, holdsWriter: Bool) async throws(BlockError) {
    isCheckpointing = true
    let error = await checkpoint(learner: learner, holdsWriter: holdsWriter)
    endCheckpoint()
    if let error { throw error }
    if failure != nil { throw BlockError(.shuttingDown) }
  }

  private func join(_ learner: Voter) async -> Bool {
    let next = nextEpoch(epoch.members + [MembershipEpoch.Member(disk: learner.disk.id, number: learner.disk.number)])
    joining = learner
    proposal = next
    if await establish(next) == .refused {
      // The witness may hold it all the same; it names the present epoch as the one before, so the voters still count.
      proposal = nil
      joining = nil
      return false
    }
    await settleMembership()
    return voters.contains { $0 === learner }
  }

  private func cannotJoin(_ disk: PoolDisk, _ error: BlockError) -> MetadataError {
    MetadataError(
      .diskFailed, "\(disk.label) could not be made a voter of pool \(poolName): \(error).",
      remedy: "The pool goes on without it as a voter. See to the disk.")
  }
}
