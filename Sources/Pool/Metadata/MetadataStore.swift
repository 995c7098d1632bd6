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
  public var journalBytesUsed: UInt64 = 0
  public var journalByteCount: UInt64 = 0
  public var recordCount = 0
  public var pageCount = 0
  public var freePageCount = 0
}

/// The metadata of one pool: records in memory, kept on all voters by a journal and checkpoints (docs/on-disk-format.md).
///
/// A commit is durable on every voter when it returns, and all of it or nothing is there after a crash. After a failed write the store
/// acknowledges nothing any more (`failure`). Reactor-confined; all I/O goes through the `BlockDevice`s it was opened with, which stay the
/// caller's.
public final class MetadataStore: @unchecked Sendable {  // reactor-confined
  enum State { case open, readOnly, closing, closed }

  public let reactor: any Reactor
  /// All disks that the pool was opened with.
  public let disks: [PoolDisk]
  /// Whether every disk said, when it was opened, that the pool was closed in order.
  public let wasClosedCleanly: Bool
  /// What was found and healed at opening, in words for the log.
  public internal(set) var notes: [String]
  /// Why the store takes no more commits; nil while it does.
  public internal(set) var failure: MetadataError?
  public internal(set) var ownerTerm: OwnerTerm

  let pages: PageStore
  let voters: [Voter]
  let journal: Journal
  var state: State
  var epoch: MembershipEpoch
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

  init(_ loaded: MetadataLoader, reactor: any Reactor, state: State) {
    self.reactor = reactor
    self.state = state
    disks = loaded.members.disks
    epoch = loaded.members.epoch
    wasClosedCleanly = loaded.members.disks.allSatisfy { $0.superblock.isClosedCleanly }
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

  public var pool: PoolID { disks[0].superblock.pool }
  public var poolName: String { disks[0].superblock.poolName }
  public var isReadOnly: Bool { state == .readOnly }

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
    pages.forEach { view in
      guard view.kind == Value.kind.rawValue, failure == nil else { return }
      do throws(FormatError) { body(try Value(key: view.key, version: view.version, value: view.value.readOnly)) } catch {
        failure = MetadataStore.unreadable(view.key, error)
      }
    }
    if let failure { throw failure }
  }

  /// The same without decoding: for millions of records, or kinds without a form. The bytes are only there during the call.
  public func forEachRecord(_ kind: RecordKind, _ body: (RecordKey, _ version: UInt8, UnsafeRawBufferPointer) -> Void) {
    pages.forEach { view in if view.kind == kind.rawValue { body(view.key, view.version, view.value.readOnly) } }
  }

  private static func unreadable(_ key: RecordKey, _ error: FormatError) -> MetadataError {
    MetadataError(
      .damaged, "The record \(key) cannot be read: \(error).",
      remedy: "The disks are sound, so a program wrote it so. `spaceport inspect` shows it; please report it.")
  }

  // MARK: Closing

  /// Writes a last checkpoint and the clean mark, and lets go of the disks. Commits that wait are still done, later ones refused.
  /// Returns why that was not possible, nil when it was. After a failure nothing is written.
  @discardableResult
  public func close() async -> MetadataError? {
    guard state == .open else {
      if state == .readOnly { state = .closed }
      return failure
    }
    state = .closing
    while isWriting || isCheckpointing { await withUnsafeContinuation { idleWaiters.append($0) } }
    if failure == nil { await checkpoint() }
    if failure == nil { await writeSuperblocks { $0.isClosedCleanly = true } }
    state = .closed
    for voter in voters { voter.releaseBuffers() }
    return failure
  }

  // MARK: Superblocks

  /// Writes a new superblock on every disk, at the same time.
  func writeSuperblocks(_ change: (inout Superblock) -> Void) async {
    let changed = disks.map { disk in
      var superblock = disk.superblock
      superblock.sequence += 1
      change(&superblock)
      return (disk, superblock)
    }
    let errors = await MetadataIO.inParallel(changed) { (disk: PoolDisk, superblock: Superblock) async throws(BlockError) in
      try await SuperblockIO.write(superblock, to: disk.device)
      disk.superblock = superblock
    }
    for (index, error) in errors.enumerated() {
      if let error { fail(disks[index], "its superblock was written", error) }
    }
  }

  /// From here on nothing is acknowledged.
  func fail(_ disk: PoolDisk, _ during: String, _ error: BlockError) {
    guard failure == nil else { return }
    failure = MetadataError(
      .diskFailed, "\(disk.label) failed while \(during): \(error).",
      remedy: "Pool \(poolName) takes no more changes. Close it, see to the disk, and open it again.")
  }

  func wakeWhenIdle() { if !isWriting && !isCheckpointing { idleWaiters.wakeAll() } }
}
