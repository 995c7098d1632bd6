/// Limits of the exports' layer, each with its unit and reason.
public enum VolumeLimits {
  /// What a partition table is read and written by, in bytes: one holds a table of the usual size.
  static let tableTransferByteCount = 32 << 10
  /// A disk that was given up while it read a part of a table keeps the buffer; so often another copy is asked. As many as a mirror can have.
  static let stalledReadRetries = 3
  /// A table that a client is writing is read so often to find it unchanged at the end, before whoever asked is told to try later.
  static let tableReadTries = 8
}
