import BlockDevice
import Reactor

// Disks that come and go while the pool is open. The public calls are made one at a time, whatever the callers do.

extension MetadataStore {
  // MARK: Looking

  /// The record of a disk of the pool, present or not; nil when there never was one of that number, or it cannot be read.
  public func diskRecord(_ number: DiskNumber) -> DiskRecord? {
    do throws(MetadataError) { return try value(DiskRecord.self, for: DiskRecord.key(number)) } catch { return nil }
  }

  private var diskRecords: [DiskRecord] { diskNumbers.compactMap(diskRecord) }

  /// The pool's disks that are not here: evicted, and not removed for good. By their numbers.
  public var absentDisks: [DiskRecord] {
    let present = Set(disks.map(\.id))
    return diskRecords.filter { $0.state != .removed && !present.contains($0.id) }
  }

  /// The `DiskRecord.epochNumber` of the disk that left last; 0 when none has.
  var lastLeavingNumber: UInt64 { diskRecords.filter { $0.state != .active && $0.state != .retiring }.map(\.epochNumber).max() ?? 0 }

  // MARK: Leaving

  /// What disks that leave now get as `DiskRecord.epochNumber`; taken before the membership changes.
  var leavingNumber: UInt64 { max(epoch.number, lastLeavingNumber + 1) }

  func leavingChanges(_ numbers: [DiskNumber], _ state: DiskRecord.State, at leavingNumber: UInt64) -> [MetadataChange] {
    numbers.flatMap { number in
      let sequence: UInt64 = diskRecord(number).flatMap { leftAtSequence[$0.id] } ?? 0
      return [
        DiskRecord.patch(number, DiskRecord.Offset.state, state.rawValue),
        DiskRecord.patch(number, DiskRecord.Offset.epochNumber, leavingNumber),
        DiskRecord.patch(number, DiskRecord.Offset.leftAtSequence, sequence),
      ]
    }
  }

  /// The pool goes on without these disks: voters among them leave by a membership change, then one commit makes them `evicted` and does
  /// `changes`. From then on nothing is written to them. Afterwards other disks become voters in their place.
  ///
  /// A disk that hangs has to be abandoned by the caller first: an entry in flight to it is waited for. Waits while the change cannot be
  /// had (`membershipProblem`). Throws `.invalidArgument` (no such disk; or nobody would be left), and as `commit` does.
  public func evict(_ numbers: [DiskNumber], changes: [MetadataChange] = []) async throws(MetadataError) {
    try await lockMembership()
    defer { unlockMembership() }
    try await leave(numbers, .evicted, changes)
    await fillVoters()
  }

  private func leave(_ numbers: [DiskNumber], _ state: DiskRecord.State, _ changes: [MetadataChange]) async throws(MetadataError) {
    var records: [DiskRecord] = []
    for number in numbers {
      guard let record = diskRecord(number), record.state != .removed else { throw unknownDisk(number) }
      records.append(record)
    }
    let ids = Set(records.map(\.id))
    if voters.allSatisfy({ ids.contains($0.disk.id) }) { await fillVoters(atLeast: voters.count + 1, except: ids) }
    await acquireWriter()
    guard voters.contains(where: { !ids.contains($0.disk.id) }) else {
      await handOver()
      throw MetadataError(
        .invalidArgument,
        "Pool \(poolName) has no disk beside \(numbers.map { "disk \($0)" }.joined(separator: ", ")) to keep its metadata.",
        remedy: "Add another disk first.")
    }
    // Later than every disk that left before: the last to leave is the freshest.
    let leavingNumber = leavingNumber
    // No superblock of the new epoch for those that leave.
    let present = disks
    disks.removeAll { ids.contains($0.id) }
    for voter in voters where ids.contains(voter.disk.id) && !leaving.contains(voter.disk.id) { leaving.append(voter.disk.id) }
    await settleMembership()
    // Those that left before keep their number: it tells when.
    let now = records.filter { $0.state != .evicted }.map(\.number)
    let others = records.filter { $0.state == .evicted }
      .map { DiskRecord.patch($0.number, DiskRecord.Offset.state, state.rawValue) }
    let all = leavingChanges(now, state, at: leavingNumber) + others + changes
    await handOver()
    do throws(MetadataError) { try await commit(all, priority: .essential) } catch {
      // Not evicted: still there for its data, if no longer for metadata.
      disks += present.filter { ids.contains($0.id) }
      throw error
    }
  }

  /// Takes a disk out of the pool for good; its slabs must be empty. Where it is a voter another disk takes its place first. Last its
  /// superblocks are wiped; a failure of that is noted (`notes`), and the disk is recognised as removed all the same.
  public func remove(_ number: DiskNumber, changes: [MetadataChange] = []) async throws(MetadataError) {
    try await lockMembership()
    defer { unlockMembership() }
    let disk = disks.first { $0.number == number }
    if let disk, voters.contains(where: { $0.disk === disk }) { await fillVoters(atLeast: voters.count + 1, except: [disk.id]) }
    try await leave([number], .removed, changes)
    await fillVoters()
    guard let disk, !disk.hasFailed else { return }
    do throws(BlockError) { try await MetadataStore.wipe(disk.device) } catch {
      notes.append("\(disk.label) was removed from pool \(poolName), but its superblocks could not be wiped: \(error).")
    }
  }

  private func unknownDisk(_ number: DiskNumber) -> MetadataError {
    MetadataError(.invalidArgument, "Pool \(poolName) has no disk \(number).", remedy: "`spaceport disk list` shows its disks.")
  }

  // MARK: Coming

  /// Takes back a disk that was evicted, with the state it shall have (`returning` where its copies have to be brought up to date) and
  /// `changes` in the same commit. It gets a new nonce, and becomes a voter where there is room.
  ///
  /// Throws `.notPooled`, `.mixedPools`, `.stale` (not the disk that was evicted, but a copy or an earlier state of it; or removed),
  /// `.split` (it went on without the pool), `.cloned` (the disk is here already), `.diskFailed` (also where its record does not say
  /// `isCache`: the caller took it for something else, for want of a superblock that could be read), and as `commit` does.
  public func readmit(
    _ device: BlockDevice, state: DiskRecord.State, isCache: Bool = false, changes: [MetadataChange] = []
  ) async throws(MetadataError) -> PoolDisk {
    try await lockMembership()
    defer { unlockMembership() }
    let survey = try await DiskSurvey.read([device])
    let disk = survey.disks[0]
    let record = try checkReturning(disk)
    guard (record.usage == .cache) == isCache else {
      throw MetadataError(.diskFailed, "\(device.label) could not be read at first.", remedy: "Try again, or see to the disk.")
    }
    try await checkHistory(disk, record)
    var superblock = disk.superblock
    superblock.sequence += 1
    superblock.committedNonce = record.nonce
    superblock.nonce = reactor.random()
    stamp(&superblock)
    // It learns the epoch when its record is committed: until then it stays what left, whatever becomes of the pool before the next try.
    superblock.epoch = disk.superblock.epoch
    do throws(BlockError) { try await SuperblockIO.write(superblock, to: device) } catch {
      throw MetadataError(.diskFailed, "\(device.label) could not be taken back: \(error).", remedy: "See to the disk, or replace it.")
    }
    disk.superblock = superblock
    try await commit(
      [
        DiskRecord.patch(record.number, DiskRecord.Offset.state, state.rawValue),
        DiskRecord.patch(record.number, DiskRecord.Offset.nonce, superblock.nonce),
      ] + changes, priority: .essential)
    try await welcome(disk)
    return disk
  }

  private func remedyForStrangers(_ disk: PoolDisk) -> String {
    "What is on it must not be used. To use it as a new disk, wiped: spaceport pool add \(poolName) \(disk.label) --force."
  }

  private func checkReturning(_ disk: PoolDisk) throws(MetadataError) -> DiskRecord {
    let remedy = remedyForStrangers(disk)
    guard disk.superblock.pool == pool else {
      throw MetadataError(
        .mixedPools, "\(disk.label) belongs to pool \(disk.superblock.poolName) (\(disk.superblock.pool)), not to \(poolName).",
        remedy: "Check the path.")
    }
    guard !disks.contains(where: { $0.id == disk.id }) else {
      throw MetadataError(
        .cloned, "\(disk.label) says it is disk \(disk.number) of pool \(poolName), which is here already: one is a copy of the other.",
        remedy: "Take the copy away, or wipe it.")
    }
    guard let record = diskRecord(disk.number), record.id == disk.id, record.state != .removed else {
      throw MetadataError(
        .stale, "\(disk.label) says it is disk \(disk.number) of pool \(poolName), but the pool does not know it, or has removed it.",
        remedy: remedy)
    }
    guard record.nonce == disk.superblock.nonce || record.nonce == disk.superblock.committedNonce else {
      throw MetadataError(.stale, "\(disk.label) is not disk \(disk.number) as pool \(poolName) last knew it.", remedy: remedy)
    }
    guard disk.superblock.features.isWritable, !disk.device.geometry.isReadOnly else {
      throw MetadataError(.readOnly, "\(disk.label) takes no writes of this program.", remedy: "Make the disk writable.")
    }
    return record
  }

  /// What it went through must be a part of the pool's history, to its end. Of the pool's epochs it knows none that came after it left: one
  /// that does went on by itself, and a nonce that a crash left behind does not show that. Numbers tell, because a change that makes a disk
  /// leave has a higher one than `DiskRecord.epochNumber`; the same number on both sides would say nothing.
  private func checkHistory(_ disk: PoolDisk, _ record: DiskRecord) async throws(MetadataError) {
    let own = disk.superblock.epoch
    let isSuspect = own.number > record.epochNumber && own.id != epoch.id && own.id != epoch.predecessor
    if !isSuspect && record.leftAtSequence == 0 { return }
    // Its superblock need not call it a voter any more.
    let load = VoterLoad(disk)
    await load.read()
    // A voter that heard of a change, and in whose metadata nothing was written after it, has not gone on.
    if isSuspect && !(disk.isVoter && load.isUsable && load.newestEpochNumber < own.number) {
      throw MetadataError(
        .split,
        "\(disk.label) went on without pool \(poolName): it left at epoch \(record.epochNumber), and is at \(own.number) (\(own.id)); the "
          + "pool is at \(epoch.number) (\(epoch.id)).", remedy: remedyForStrangers(disk))
    }
    // A voter has every entry up to when it left: one that lacks some is a copy from before, though its nonce be right.
    guard record.leftAtSequence == 0 || load.lastSequence >= record.leftAtSequence else {
      throw MetadataError(
        .stale,
        "\(disk.label) is from the past, or its metadata is damaged: it ends at entry \(load.lastSequence), but had \(record.leftAtSequence) "
          + "when it left pool \(poolName).", remedy: "What is on it must not be used. Wipe it to use it as a new disk.")
    }
  }

  /// The layout that a disk of this size has in this pool: the pool's slab size and metadata. For who writes the partition table first.
  public func memberLayout(diskByteCount: UInt64) throws(MetadataError) -> DiskLayout {
    guard let model = voters.first?.layout else { throw failure ?? noVoterLeft }
    return try DiskLayout(
      diskByteCount: diskByteCount, metadataByteCount: model.metadataByteCount, journalByteCount: model.journalByteCount,
      slabByteCount: model.slabByteCount, slabTrailerByteCount: model.slabTrailerByteCount)
  }

  /// Makes a disk, whose content is lost, a new one of this pool, laid out as `memberLayout` says; its record and `changes` are one
  /// commit. It becomes a voter where there is room. A crash before the commit leaves a disk that the pool does not know.
  ///
  /// Throws `.diskTooSmall`, `.invalidArgument`, `.diskFailed`, and as `commit` does.
  public func add(_ new: NewDisk, changes: [MetadataChange] = []) async throws(MetadataError) -> PoolDisk {
    try await lockMembership()
    defer { unlockMembership() }
    try MetadataStore.check(new)
    guard let pool: PoolRecord = try value(for: PoolRecord.key), let features = voters.first?.disk.superblock.features,
      pool.nextDisk.value <= FormatLimits.diskNumberHighest
    else { throw cannotAdd }
    let layout = try memberLayout(diskByteCount: new.device.geometry.byteCount)
    let geometry = new.device.geometry
    let nonce = reactor.random()
    var superblock = Superblock(
      pool: pool.id, disk: DiskID.random(reactor), sequence: 1, features: features, diskNumber: pool.nextDisk,
      isClosedCleanly: false, poolName: poolName, ownerTerm: ownerTerm.value, ownerNode: .none, fencingKey: 0, nonce: nonce,
      committedNonce: nonce, createdSeconds: pool.createdSeconds, logicalSector: UInt32(geometry.logicalSector),
      physicalSector: UInt32(geometry.physicalSector), layout: layout, epoch: epoch)
    stamp(&superblock)
    let disk = PoolDisk(device: new.device, superblock: superblock)
    do throws(BlockError) {
      try await MetadataStore.erase(disk)
      for sequence in [1, 2] as [UInt64] {
        disk.superblock.sequence = sequence
        try await SuperblockIO.write(disk.superblock, to: disk.device)
      }
    } catch {
      throw MetadataError(
        .diskFailed, "\(disk.label) failed while it was added to pool \(poolName): \(error).", remedy: "See to the disk, or use another.")
    }
    let next = (pool.nextDisk.value + 1).fieldBytes
    let record = DiskRecord(of: disk, new, epochNumber: epoch.number).record
    try await commit(
      [.patch(PoolRecord.key, byteOffset: PoolRecord.Offset.nextDisk, bytes: next), .put(record)] + changes, priority: .essential)
    diskNumbers.append(disk.number)
    try await welcome(disk)
    return disk
  }

  private var cannotAdd: MetadataError {
    MetadataError(
      .damaged, "Pool \(poolName) has no record of itself, no number for another disk, or no voter.",
      remedy: "`spaceport inspect DISK` shows what there is.")
  }

  /// What all disks of the open pool have in their superblocks.
  private func stamp(_ superblock: inout Superblock) {
    if let model = voters.first?.disk.superblock {
      superblock.ownerNode = model.ownerNode
      superblock.fencingKey = model.fencingKey
    }
    superblock.ownerTerm = ownerTerm.value
    superblock.isClosedCleanly = false
    superblock.epoch = epoch
  }

  /// The disk's record is committed: it belongs to the pool from here on.
  private func welcome(_ disk: PoolDisk) async throws(MetadataError) {
    setAside.removeAll { $0.device === disk.device }
    leftAtSequence[disk.id] = nil
    disks.append(disk)
    await acquireWriter()
    // The epoch may have changed while it came.
    let isCurrent = disk.superblock.epoch.id == epoch.id
    if !isCurrent { await writeSuperblocks { $0.epoch = epoch } }
    await handOver()
    await fillVoters()
  }
}

extension DiskRecord {
  /// Of a disk as it comes into a pool.
  init(of disk: PoolDisk, _ new: NewDisk, epochNumber: UInt64) {
    let layout = disk.layout
    self.init(
      number: disk.number, id: disk.id, usage: new.usage, diskByteCount: layout.diskByteCount, dataOffset: layout.dataOffset,
      slabsOffset: layout.slabsOffset, slabCount: UInt32(layout.slabCount), logicalSector: disk.superblock.logicalSector,
      physicalSector: disk.superblock.physicalSector, nonce: disk.superblock.nonce, epochNumber: epochNumber,
      faultDomain: new.faultDomain, pathHint: new.pathHint)
  }
}
