import BlockDevice
import Reactor
import StorageBus

/// Who opens a pool, and what they know of disks that are not there.
public struct OpenOptions: Sendable {
  public var ownerNode: NodeID
  public var fencingKey: UInt64
  /// The pool's witness; nil: the majority of its voters decides alone. The caller keeps it for as long as the store is open.
  public var witness: Witness?
  /// The wait for missing disks is over: those are evicted, where rules M allow it.
  public var evictMissing: Bool
  /// Disks that the operator has declared gone for good. They are evicted, and the majority is taken over the others. That makes no
  /// stale disk good.
  public var acceptedLosses: Set<DiskID>
  /// For what cache disks know of their pages: one for all pools of a machine.
  public var directoryMemory = DirectoryMemory(byteCount: 2 * CacheLimits.cacheDiskMemoryByteCount)

  public init(
    ownerNode: NodeID = .none, fencingKey: UInt64 = 0, witness: Witness? = nil, evictMissing: Bool = false,
    acceptedLosses: Set<DiskID> = []
  ) {
    self.ownerNode = ownerNode
    self.fencingKey = fencingKey
    self.witness = witness
    self.evictMissing = evictMissing
    self.acceptedLosses = acceptedLosses
  }
}

extension MetadataStore {
  /// What a disk's superblock places hold: how a disk is recognised, whatever its path. Writes nothing.
  public static func probe(_ device: BlockDevice) async -> SuperblockReport { await SuperblockIO.read(device) }

  /// Opens a pool for writing, from its disks in any order. The order of what is done is what makes a crash anywhere harmless:
  /// 1. everything is read and judged by rules M (docs/on-disk-format.md, Membership), and nothing written before it is known that these
  ///    disks may speak for the pool; devices that are recognisably not its present disks are in `setAside`, and never written;
  /// 2. the witness learns the epoch, if it did not know it;
  /// 3. a new superblock on every disk, with a new owner term and nonce, flushed;
  /// 4. a checkpoint under the new term on every voter, which also heals what was damaged;
  /// 5. voters that are missing leave, by membership changes;
  /// 6. a commit of the term, the nonces and who was evicted, which the witness notes: from here on older copies of the disks are
  ///    recognised, beside the pool's disks and alone;
  /// 7. where there are fewer voters than there should be, other disks become voters.
  ///
  /// Disks that fail their first writes are evicted, and in `setAside` with `.diskFailed`.
  ///
  /// Throws `.disksMissing` while disks are missing and `evictMissing` is false; `canOpenDegraded` says whether it would help. `.stale` where
  /// the witness knows that the pool had come further than all of the disks. `.split`, `.cloned`
  /// (but for cache disks), `.mixedPools`, `.damaged`, `.unsupportedFeature`, `.readOnly`, `.diskFailed` say what else stands in the way.
  public static func open(
    devices: [BlockDevice], reactor: any Reactor, options: OpenOptions = OpenOptions()
  ) async throws(MetadataError) -> MetadataStore {
    var survey = try await DiskSurvey.read(devices)
    var notes: [String] = []
    for disk in survey.disks where options.acceptedLosses.contains(disk.id) {
      survey.setAside(
        disk,
        MetadataError(.invalidArgument, "\(disk.label) is there, but was declared lost.", remedy: "Open the pool without declaring that."))
    }
    guard let pool = survey.disks.first?.superblock.pool else { throw survey.setAside[0].reason }
    let witnessed = await readWitness(options.witness, pool, &notes)
    while true {
      let members = try await PoolMembers(survey, witness: witnessed, lost: options.acceptedLosses)
      let loaded = try await MetadataLoader.load(members, secret: reactor.random())
      await loaded.compareVoters()
      try loaded.replay()
      let records = try loaded.diskRecords()
      let rejected = loaded.rejected(records)
      for (disk, reason) in rejected { survey.setAside(disk, reason) }
      if rejected.contains(where: { members.judgement.speaking.contains($0.disk.id) }) { continue }
      return try await open(loaded, survey, records, reactor, options, notes)
    }
  }

  /// A witness that cannot be read is as good as none: the majority decides.
  private static func readWitness(_ witness: Witness?, _ pool: PoolID, _ notes: inout [String]) async -> WitnessedState? {
    guard let witness else { return nil }
    do throws(BlockError) {
      let reading = try await witness.read(pool: pool)
      notes += reading.notes
      return reading.state
    } catch {
      notes.append("The witness \(witness.device.label) cannot be read (\(error)): a majority of the pool's voters decides.")
      return nil
    }
  }

  private static func open(
    _ loaded: MetadataLoader, _ survey: DiskSurvey, _ records: [DiskRecord], _ reactor: any Reactor, _ options: OpenOptions,
    _ notes: [String]
  ) async throws(MetadataError) -> MetadataStore {
    let unknown = options.acceptedLosses.subtracting(records.map(\.id))
    guard unknown.isEmpty else {
      throw MetadataError(
        .invalidArgument, "Pool \(loaded.members.poolName) has no disk \(unknown.sorted().map(\.description).joined(separator: ", ")).",
        remedy: "Check which disks are to be given up.")
    }
    var survey = survey
    try survey.settleTwins(records)
    // What a cache disk cannot do keeps no pool from opening; nobody waits for one that is not there.
    let cacheDisks = Set(records.filter { $0.usage == .cache }.map(\.id))
    for disk in survey.disks where cacheDisks.contains(disk.id) {
      do throws(MetadataError) { try checkWritable([disk]) } catch { survey.setAside(disk, error) }
    }
    let present = Set(survey.disks.map(\.id))
    let missing = loaded.missing(records, present: present, lost: options.acceptedLosses).filter { $0.usage != .cache }
    let missingVoters = loaded.members.missingVoters.filter { !options.acceptedLosses.contains($0) }
    let mayGoOn = loaded.members.judgement.mayGoOn
    // A voter by an epoch that has gone on, whose record was not yet changed, is there for its data.
    let isComplete = missing.isEmpty && missingVoters.allSatisfy(present.contains)
    guard mayGoOn && (isComplete || options.evictMissing) else { throw loaded.missingError(missing) }
    try loaded.checkLayouts()
    try checkWritable(survey.disks)
    let store = MetadataStore(loaded, reactor: reactor, state: .open)
    store.disks = survey.disks
    store.diskNumbers = records.map(\.number)
    store.setAside = survey.setAside
    store.notes += notes
    store.witness = options.witness
    store.witnessed = loaded.members.witnessed
    store.acceptedLosses = options.acceptedLosses
    let leaving = loaded.missing(records, present: present)
    store.isOpening = true
    do throws(MetadataError) {
      try await store.takeOver(options, evicting: leaving)
      await store.fillVoters()
      if let failure = store.failure { throw failure }
    } catch {
      store.state = .closed
      store.releaseBuffers()
      throw error
    }
    store.isOpening = false
    return store
  }

  private static func checkWritable(_ disks: [PoolDisk]) throws(MetadataError) {
    for disk in disks {
      guard disk.superblock.features.isWritable else {
        throw MetadataError(
          .unsupportedFeature, "\(disk.label) belongs to a pool with features this program must not write to.",
          remedy: "Open it read-only, or use a newer program.")
      }
      guard !disk.device.geometry.isReadOnly else {
        throw MetadataError(.readOnly, "\(disk.label) takes no writes.", remedy: "Open the pool read-only, or make the disk writable.")
      }
    }
  }

  private func takeOver(_ options: OpenOptions, evicting missing: [DiskRecord]) async throws(MetadataError) {
    guard var record: PoolRecord = try value(for: PoolRecord.key) else {
      throw MetadataError(
        .damaged, "Pool \(poolName) has no record of itself.", remedy: "`spaceport inspect DISK` shows what there is; please report it.")
    }
    // Nobody else is here yet: whoever comes waits.
    isWriting = true
    state = .opening
    await acquireBuffers()
    await refreshWitness()
    // The nonce that the record of each disk has now stays good until the new one is committed.
    var committedNonces: [DiskID: UInt64] = [:]
    try forEachRecord(DiskRecord.self) { committedNonces[$0.id] = $0.nonce }
    ownerTerm = OwnerTerm(reactor.random())
    await writeSuperblocks { superblock in
      superblock.ownerTerm = ownerTerm.value
      superblock.ownerNode = options.ownerNode
      superblock.fencingKey = options.fencingKey
      superblock.isClosedCleanly = false
      superblock.committedNonce = committedNonces[superblock.disk] ?? superblock.committedNonce
      superblock.nonce = reactor.random()
      superblock.epoch = epoch
    }
    await checkpoint()
    let leavingNumber = leavingNumber
    let present = Set(voters.map(\.disk.id))
    leaving += epoch.voters.filter { !present.contains($0) }
    await settleMembership()
    if let failure { throw failure }
    journal.committed = journal.sequence
    record.ownerTerm = ownerTerm.value
    record.ownerNode = options.ownerNode
    record.fencingKey = options.fencingKey
    let failed = disks.filter(\.hasFailed)
    var changes = [MetadataChange.put(record)]
    for disk in disks where !disk.hasFailed {
      changes.append(DiskRecord.patch(disk.number, DiskRecord.Offset.nonce, disk.superblock.nonce))
    }
    changes += leavingChanges(missing.map(\.number) + failed.map(\.number), .evicted, at: leavingNumber)
    for disk in failed {
      setAside.append(SetAsideDisk(device: disk.device, reason: disk.failure ?? noVoterLeft, disk: disk.id))
    }
    disks.removeAll(where: \.hasFailed)
    state = .open
    await handOver()
    try await commit(changes, priority: .essential)
    noncesAreCommitted = true
    await noteOpening()
  }

  /// Before anyone may write. A majority may open a pool though the witness cannot be written.
  private func noteOpening() async {
    await acquireWriter()
    await refreshWitness()
    await handOver()
    guard let witness, let witnessProblem else { return }
    notes.append(
      "The witness \(witness.device.label) cannot be written (\(witnessProblem)): until it is, it does not tell copies of the disks from "
        + "before this opening from the disks. Make its file system writable, and open the pool again.")
  }
}
