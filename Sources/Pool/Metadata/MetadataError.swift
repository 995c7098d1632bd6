/// Why the metadata of a pool could not be read, changed or kept: what happened, to what, and what to do.
public struct MetadataError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Cause: String, Sendable, Codable {
    /// What the caller asked for cannot be.
    case invalidArgument
    case diskTooSmall
    /// No superblock of a pool on the disk.
    case notPooled
    /// Disks of different pools were given together.
    case mixedPools
    /// Two disks say they are the same one.
    case cloned
    /// Disks of the pool, or voters of its membership, were not given.
    case disksMissing
    /// A disk is from the past: it lacks what was committed.
    case stale
    /// The pool has gone on without this disk; `readmit` takes it back.
    case evicted
    /// Disks disagree about the pool's history or membership.
    case split
    /// No voter is whole.
    case damaged
    /// Needs a newer program.
    case unsupportedFeature
    case readOnly
    /// No room for more records. Deleting still works.
    case metadataFull
    /// One commit changes more than an entry of the journal can hold.
    case tooLarge
    /// A change names a record that is not there, or bytes beyond its end.
    case invalidChange
    /// A disk failed. Of a commit: no voter is left, or the membership could not be changed before closing.
    case diskFailed
    case closed
  }

  public let cause: Cause
  public let message: String
  public let remedy: String
  /// Of `.disksMissing`: rules M allow the pool to go on without them (`OpenOptions.evictMissing`).
  public let canOpenDegraded: Bool

  public init(_ cause: Cause, _ message: String, remedy: String, canOpenDegraded: Bool = false) {
    self.cause = cause
    self.message = message
    self.remedy = remedy
    self.canOpenDegraded = canOpenDegraded
  }

  public var description: String { remedy.isEmpty ? message : "\(message) \(remedy)" }
}
