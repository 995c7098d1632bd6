/// Bugs that can be put into the layers on purpose, to show that the simulator would find them: each is a way to lose data that the rules
/// of the architecture forbid. Only debug builds and that of `make sim` (PLANTED_BUGS) can have one; in any other `isPlanted` is the constant
/// false, and the optimiser leaves nothing of it.
public enum PlantedBug: String, CaseIterable, Sendable {
  /// FLUSH commits the map without flushing the disks first.
  case noFlushBeforeCommit
  /// FLUSH commits the presence bits first and flushes the data they speak of afterwards.
  case presenceBitBeforeItsData
  /// FLUSH is answered by one that was already under way when it came.
  case flushJoinsOneInFlight
  /// A dirty region is marked after the write was sent to the copies.
  case dirtyRegionMarkedAfterWrite
  /// Trims and zeroes do not mark their regions, so the copies are not known to differ there.
  case trimsDoNotMarkStaleCopies
  /// A dirty region is cleared though what was written there is not flushed.
  case dirtyRegionClearedWithoutFlush
  /// A copy that comes back is taken to lack only what was written since it failed, not since its last good flush.
  case staleOnlySinceFailure
  /// After a crash a region is read before its copies were brought together.
  case readFromUnsettledRegion
  /// A slab is dealt again before its freeing is durable.
  case slabReusedBeforeFreeIsDurable
  /// The scan of the journal goes on into entries of an earlier lap.
  case oldJournalLapReplayed
  /// A commit is acknowledged when one voter has its journal entry.
  case commitAcknowledgedByOneVoter
  /// A write that a disk missed is acknowledged before that disk's eviction is durable.
  case writeAcknowledgedBeforeEviction
  /// A buffer that a hung write still sends is filled again for the next request.
  case hungBufferReused
  /// A membership change is in force when the disks know it, and the witness is told afterwards.
  case witnessWrittenAfterDisks
  /// A write is answered first, and the cached page refreshed afterwards.
  case cacheRefreshedAfterAnswer
  /// A page that was written while it was read into the cache is kept.
  case overtakenFillKept
  /// Pages on a cache disk are believed though the capacity disk was opened for writing since: its nonce is another, or it was not closed.
  case cacheOldGenerationAccepted
  /// A voter alone is believed though the witness knows that the pool had come further.
  case witnessedEntryIgnored

  #if DEBUG || PLANTED_BUGS
    /// Set before anything runs, and not changed while something does.
    nonisolated(unsafe) private static var planted: PlantedBug?

    /// For one task and those it starts: tests that run side by side.
    @TaskLocal private static var plantedInTask: PlantedBug?

    public static var canBePlanted: Bool { true }

    /// Puts the bug into every layer of this process; nil takes it out.
    public static func plant(_ bug: PlantedBug?) { planted = bug }

    /// Puts the bug into what `body` does, and nothing else.
    public static func planting<Value>(
      _ bug: PlantedBug?, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Value
    ) async rethrows -> Value {
      try await $plantedInTask.withValue(bug, operation: body, isolation: isolation)
    }

    public var isPlanted: Bool { PlantedBug.planted == self || PlantedBug.plantedInTask == self }
  #else
    public static var canBePlanted: Bool { false }

    public static func plant(_ bug: PlantedBug?) {}

    public static func planting<Value>(
      _ bug: PlantedBug?, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Value
    ) async rethrows -> Value { try await body() }

    @inlinable @inline(__always)
    public var isPlanted: Bool { false }
  #endif
}
