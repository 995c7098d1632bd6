/// What a pool could not do: what happened, to what; and what to do next.
public struct PoolError: Error, CustomStringConvertible, Sendable {
  public enum Cause: Sendable {
    /// What was asked for cannot be.
    case invalid
    case exists, notFound
    case noSpace
    /// Disks of the pool are not there.
    case disksMissing
    /// What is on the disks is not as it was written.
    case damaged
    case ioFailed
    /// The state of the pool does not allow it.
    case wrongState
  }

  public let cause: Cause
  /// Without a full stop at the end, as is `remedy`.
  public let message: String
  public let remedy: String
  /// Of `.disksMissing`: the pool may go on without them (`OpenOptions.evictMissing`).
  public let canOpenDegraded: Bool
  /// What the metadata says, where that was the reason.
  public let metadataCause: MetadataError.Cause?

  public init(
    _ cause: Cause, _ message: String, remedy: String, canOpenDegraded: Bool = false, metadataCause: MetadataError.Cause? = nil
  ) {
    self.cause = cause
    self.message = message
    self.remedy = remedy
    self.canOpenDegraded = canOpenDegraded
    self.metadataCause = metadataCause
  }

  public var description: String { "\(message). \(remedy)." }
}
