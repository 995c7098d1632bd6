/// Where the journal stands: a ring in which the part from the newest checkpoint's start to the end is needed.
final class Journal {
  let byteCount: UInt64
  /// Of one entry: a quarter of the ring at most, so that after a checkpoint one always fits.
  let entryByteCount: Int
  /// The last entry that was applied.
  private(set) var sequence: UInt64
  private(set) var chain: UInt32
  /// Where the next entry goes, if it fits.
  private(set) var position: UInt64
  /// Bytes that the newest checkpoint on some voter still needs, what was skipped at the end included.
  private(set) var used: UInt64 = 0
  /// The last entry known to be promised: in an opening's first checkpoint lower than `sequence`.
  var committed: UInt64

  init(layout: DiskLayout, scan: JournalScan?, committed: UInt64) {
    byteCount = layout.journalByteCount
    entryByteCount = min(FormatLimits.journalEntryByteCount, roundDown(Int(layout.journalByteCount / 4), to: FormatLimits.blockByteCount))
    sequence = scan?.lastSequence ?? 0
    chain = scan?.chain ?? 0
    position = scan?.position ?? 0
    self.committed = committed
  }

  /// What an entry takes, with what is skipped at the end of the ring when it does not fit there.
  private func cost(_ entry: Int) -> (start: UInt64, byteCount: UInt64) {
    let length = UInt64(entry)
    return position + length <= byteCount ? (position, length) : (0, byteCount - position + length)
  }

  func hasRoom(_ entry: Int, essential: Bool) -> Bool {
    let block = UInt64(FormatLimits.blockByteCount)
    // Never quite full: where the beginning is must differ from where the end is.
    let reserve = essential ? block : max(block, byteCount / UInt64(StoreLimits.reservedJournalFraction))
    return used + cost(entry).byteCount <= byteCount - reserve
  }

  /// Where an entry of this length goes.
  func start(_ entry: Int) -> UInt64 { cost(entry).start }

  /// The entry is durable on all voters.
  func append(_ entry: Int, chain: UInt32) {
    let (start, byteCount) = cost(entry)
    used += byteCount
    position = start + UInt64(entry)
    if position == self.byteCount { position = 0 }
    sequence += 1
    self.chain = chain
    committed = sequence
  }

  /// A checkpoint holds everything up to when `used` was `usedBefore`.
  func release(_ usedBefore: UInt64) { used -= min(used, usedBefore) }

  var wantsCheckpoint: Bool { used > byteCount / 2 }
}

/// A commit on its way into an entry.
final class PendingCommit: @unchecked Sendable {  // reactor-confined
  let changes: [MetadataChange]
  let encodedByteCount: Int
  let priority: CommitPriority
  var result: Result<JournalSequence, MetadataError>?
  var waiter: UnsafeContinuation<Void, Never>?
  /// It is this commit's turn to write the next entry.
  var isLeader = false

  init(_ changes: [MetadataChange], _ encodedByteCount: Int, _ priority: CommitPriority) {
    self.changes = changes
    self.encodedByteCount = encodedByteCount
    self.priority = priority
  }

  func finish(_ result: Result<JournalSequence, MetadataError>) {
    self.result = result
    waiter.take()?.resume()
  }
}
