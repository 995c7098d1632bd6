import BlockDevice
import Reactor

/// What a commit may use.
public enum CommitPriority: Sendable {
  /// Leaves the last pages of the metadata area and the last part of the journal alone.
  case normal
  /// Freeing, membership changes, closing: may use everything, and goes before what waits for room.
  case essential
}

/// What an open store has done and how full it is.
public struct MetadataStatistics: Equatable, Sendable, Codable {
  public var commits: UInt64 = 0
  public var journalEntries: UInt64 = 0
  public var journalBytesWritten: UInt64 = 0
  public var checkpoints: UInt64 = 0
  public var checkpointPagesWritten: UInt64 = 0
  public var membershipChanges: UInt64 = 0
  /// How often a commit waited for a checkpoint, because the journal was full.
  public var journalWaits: UInt64 = 0
  public var journalBytesUsed: UInt64 = 0
  public var journalByteCount: UInt64 = 0
  public var recordCount = 0
  public var pageCount = 0
  public var freePageCount = 0
}

/// The metadata of one pool: records in memory, kept on all voters by a journal and checkpoints (docs/on-disk-format.md).
///
/// A commit is durable on every voter when it returns, and all of it or nothing is there after a crash. A voter that fails a write leaves
/// by a membership change (MetadataStore+Membership.swift) before anything more is acknowledged. Reactor-confined; all I/O goes through the
/// `BlockDevice`s it was opened with, which stay the caller's.
public final class MetadataStore: @unchecked Sendable {  // reactor-confined
  enum State { case opening, open, readOnly, closing, closed }

  public let reactor: any Reactor
  /// The pool's disks that are present, those included whose metadata failed and that the owner has not evicted yet.
  public internal(set) var disks: [PoolDisk]
  /// Devices that were given at opening and are left alone, with the reason. Those with `.evicted` may be readmitted.
  public internal(set) var setAside: [SetAsideDisk] = []
  /// What was found and healed at opening, in words for the log.
  public internal(set) var notes: [String]
  /// Why the store takes no more commits: no voter is left, or the membership could not be changed before closing. Nil while it does.
  public internal(set) var failure: MetadataError?
  /// Why commits wait: a voter has to leave, and neither the witness nor a majority of the voters could be had. Tried again each second.
  public internal(set) var membershipProblem: MetadataError?
  /// Why the witness does not know the present epoch, or what it should have noted since; nil where it does, or where there is none.
  public internal(set) var witnessProblem: BlockError?
  /// Called when a disk has failed a write of metadata, after it left the voters. Whether to evict it is the owner's to say.
  /// Not of what failed while the store was being opened: look at `hasFailed` of `disks` then.
  public var onDiskFailed: ((DiskNumber, BlockError) -> Void)?
  public internal(set) var ownerTerm: OwnerTerm
  /// Of a store that is only read: for which state of the pool its disks speak.
  public internal(set) var readingBasis: ReadingBasis?

  let pages: PageStore
  var voters: [Voter]
  let journal: Journal
  var state: State
  /// The membership that the voters are in.
  public internal(set) var epoch: MembershipEpoch
  var counters = MetadataStatistics()
  /// The newest checkpoint's number.
  var checkpointSequence: UInt64

  // Group commit: one entry is in flight at a time; who comes meanwhile waits here and shares the next one.
  var queue: [PendingCommit] = []
  var isWriting = false
  var isCheckpointing = false
  /// Woken when a checkpoint has made room or an essential commit came.
  var roomWaiters = WaitQueue()
  /// Woken when nothing is in flight.
  var idleWaiters = WaitQueue()

  // Membership. Changes are one at a time among themselves (`isChangingMembership`), and are made by whoever holds the writer's place
  // (`isWriting`), so that no entry is in flight.
  var witness: Witness?
  /// What the witness is known to hold.
  var witnessed: WitnessedState?
  var acceptedLosses: Set<DiskID> = []
  /// Of voters that left: the last entry that they must have (`DiskRecord.leftAtSequence`).
  var leftAtSequence: [DiskID: UInt64] = [:]
  /// Voters that have to leave.
  var leaving: [DiskID] = []
  /// Disks that failed and that the owner was not told of yet.
  var failedDisks: [(number: DiskNumber, error: BlockError)] = []
  /// A change that is begun: it may be in the witness or on some disks, and is carried through before another.
  var proposal: MembershipEpoch?
  /// A disk that is being copied to: what checkpoints hold without it, it lacks.
  var learning: Voter?
  /// The disk that becomes a voter by `proposal`.
  var joining: Voter?
  var highestEpochNumber: UInt64
  /// Of all disks that the pool has or had.
  var diskNumbers: [DiskNumber] = []
  var isChangingMembership = false
  /// Nobody holds the store yet who could close it: no change is waited for.
  var isOpening = false
  /// From here on a superblock's nonce is the one in the disk's record.
  var noncesAreCommitted = false
  var superblockBuffer: BufferSlice?
  /// Buffers of voters that left while a checkpoint used them.
  var retiredVoters: [Voter] = []
  /// Those who want the writer's place for something else than an entry; they go before commits.
  var writerWaiters = WaitQueue()
  /// Woken when `leaving` is empty, or never will be.
  var leavingWaiters = WaitQueue()
  /// Woken when a checkpoint has ended, or needs a voter removed.
  var checkpointWaiters = WaitQueue()
  var membershipWaiters = WaitQueue()

  public let pool: PoolID
  public let poolName: String

  init(_ loaded: MetadataLoader, reactor: any Reactor, state: State) {
    self.reactor = reactor
    self.state = state
    pool = loaded.members.pool
    poolName = loaded.members.poolName
    disks = loaded.members.disks
    epoch = loaded.members.epoch
    highestEpochNumber = (loaded.members.disks.map(\.superblock.epoch.number) + [loaded.members.epoch.number]).max() ?? 0
    notes = loaded.notes
    pages = loaded.pages
    ownerTerm = OwnerTerm(loaded.source.root?.ownerTerm ?? 0)
    checkpointSequence = loaded.loads.compactMap { $0.root?.sequence }.max() ?? 0
    journal = Journal(layout: loaded.source.disk.layout, scan: loaded.source.journal, committed: loaded.committed)
    voters = loaded.loads.map { load in
      let voter = Voter(disk: load.disk)
      if load.isUsable {
        voter.references = load.references
        voter.tables = load.tables
      }
      voter.lacking = loaded.lacking[load.disk.id] ?? PageSet()
      return voter
    }
  }

  public var isReadOnly: Bool { state == .readOnly }
  /// The disks that hold the metadata: a commit is durable on all of them.
  public var voterDisks: [PoolDisk] { voters.map(\.disk) }

  public var statistics: MetadataStatistics {
    var statistics = counters
    statistics.journalBytesUsed = journal.used
    statistics.journalByteCount = journal.byteCount
    statistics.recordCount = pages.recordCount
    statistics.pageCount = pages.pageCount
    statistics.freePageCount = pages.emptyPageCount
    return statistics
  }

  /// The last journal entry whose changes are in the records.
  public var lastSequence: JournalSequence { JournalSequence(journal.sequence) }

  // MARK: Reading

  /// The committed record of that key; nil when there is none.
  public func value<Value: MetadataRecord>(_ type: Value.Type = Value.self, for key: RecordKey) throws(MetadataError) -> Value? {
    let result = pages.withValue(of: key) { version, bytes in
      Result { () throws(FormatError) -> Value in try Value(key: key, version: version, value: bytes) }
    }
    guard let result else { return nil }
    do throws(FormatError) { return try result.get() } catch { throw MetadataStore.unreadable(key, error) }
  }

  /// The same as bytes.
  public func record(for key: RecordKey) -> Record? {
    pages.withValue(of: key) { version, bytes in Record(key: key, version: version, value: Array(bytes)) }
  }

  /// Every committed record of a kind, in no order that means anything, but always the same for the same history. `body` must not commit.
  public func forEachRecord<Value: MetadataRecord>(_ type: Value.Type, _ body: (Value) -> Void) throws(MetadataError) {
    var failure: MetadataError?
    pages.forEach(Value.kind) { view in
      guard failure == nil else { return }
      do throws(FormatError) { body(try Value(key: view.key, version: view.version, value: view.value.readOnly)) } catch {
        failure = MetadataStore.unreadable(view.key, error)
      }
    }
    if let failure { throw failure }
  }

  /// The same without decoding: for millions of records, or kinds without a form. The bytes are only there during the call.
  public func forEachRecord(_ kind: RecordKind, _ body: (RecordKey, _ version: UInt8, UnsafeRawBufferPointer) -> Void) {
    pages.forEach(kind) { view in body(view.key, view.version, view.value.readOnly) }
  }

  /// The same of one record page.
  func forEachRecord(_ kind: RecordKind, inPage page: Int, _ body: (RecordKey, _ version: UInt8, UnsafeRawBufferPointer) -> Void) {
    pages.forEach(kind, inPage: page) { view in body(view.key, view.version, view.value.readOnly) }
  }

  /// The value of a record without decoding it; nil when there is none. The bytes are only there during the call.
  func withValue<Result>(of key: RecordKey, _ body: (_ version: UInt8, UnsafeRawBufferPointer) -> Result) -> Result? {
    pages.withValue(of: key, body)
  }

  var pageCount: Int { pages.pageCount }

  static func unreadable(_ key: RecordKey, _ error: FormatError) -> MetadataError {
    MetadataError(
      .damaged, "The record \(key) cannot be read: \(error).",
      remedy: "The disks are sound, so a program wrote it so. `spaceport inspect` shows it; please report it.")
  }

  // MARK: Closing

  /// Writes a last checkpoint and the clean mark, and lets go of the disks. Commits that wait are still done, later ones refused; what
  /// waits for a membership change that cannot be had is given up.
  /// Returns why that was not possible, nil when it was. After a failure nothing is written.
  @discardableResult
  public func close() async -> MetadataError? {
    guard state == .open else {
      if state == .readOnly { state = .closed }
      return failure
    }
    state = .closing
    while isWriting || isCheckpointing || isChangingMembership { await withUnsafeContinuation { idleWaiters.append($0) } }
    isWriting = true
    if failure == nil && witness != nil { await writeClosingEntry() }
    if failure == nil { await checkpoint() }
    if failure == nil { await writeSuperblocks { $0.isClosedCleanly = true } }
    if failure == nil { await settleMembership() }
    if failure == nil { await refreshWitness() }
    isWriting = false
    state = .closed
    releaseBuffers()
    return failure
  }

  func acquireBuffers() async {
    for voter in voters { await voter.acquireBuffers(journalEntryByteCount: journal.entryByteCount) }
    superblockBuffer = await reactor.buffers.acquire(byteCount: StoreLimits.superblocksInFlight * Superblock.byteCount)
    _ = await witness?.takeBuffer()
  }

  func releaseBuffers() {
    for voter in voters + retiredVoters { voter.releaseBuffers() }
    retiredVoters.removeAll()
    if let superblockBuffer { reactor.buffers.release(superblockBuffer.buffer) }
    superblockBuffer = nil
    witness?.releaseBuffer()
  }

  // MARK: Superblocks

  /// Writes a new superblock on every disk that has not failed, some at the same time. Disks that fail it are marked, voters among them
  /// have to leave. The caller holds the writer's place.
  func writeSuperblocks(_ change: (inout Superblock) -> Void) async {
    let changed = disks.filter { !$0.hasFailed }.map { disk in
      var superblock = disk.superblock
      superblock.sequence += 1
      if noncesAreCommitted { superblock.committedNonce = superblock.nonce }
      change(&superblock)
      return (disk, superblock)
    }
    var start = 0
    while start < changed.count {
      let end = min(start + StoreLimits.superblocksInFlight, changed.count)
      await writeSuperblocks(Array(changed[start..<end]))
      start = end
    }
  }

  private func writeSuperblocks(_ batch: [(PoolDisk, Superblock)]) async {
    let buffer: BufferSlice
    if let held = superblockBuffer {
      buffer = held
    } else {
      buffer = await MetadataIO.ownBuffer(reactor, byteCount: StoreLimits.superblocksInFlight * Superblock.byteCount)
      superblockBuffer = buffer
    }
    let size = Superblock.byteCount
    let jobs = batch.enumerated().map { SuperblockJob(disk: $1.0, superblock: $1.1, slice: buffer.part(from: $0 * size, byteCount: size)) }
    let errors = await MetadataIO.inParallel(jobs) { (job: SuperblockJob) async throws(BlockError) in
      try await SuperblockIO.write(job.superblock, to: job.disk.device, through: job.slice)
      job.disk.superblock = job.superblock
    }
    for (index, error) in errors.enumerated() {
      if let error { fail(batch[index].0, "its superblock was written", error) }
    }
    if errors.contains(where: { $0 != nil }) {
      // A disk that does not answer may hold on to its part of the buffer: it must not be written through again.
      reactor.buffers.release(buffer.buffer)
      superblockBuffer = nil
    }
  }

  private struct SuperblockJob: Sendable {
    let disk: PoolDisk
    let superblock: Superblock
    let slice: BufferSlice
  }

  func wakeWhenIdle() { if !isWriting && !isCheckpointing && !isChangingMembership { idleWaiters.wakeAll() } }
}
