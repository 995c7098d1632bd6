/// Limits of the exports' layer, each with its unit and reason.
public enum VolumeLimits {
  /// What a partition table is read and written by, in bytes: one holds a table of the usual size.
  static let tableTransferByteCount = 32 << 10
  /// A disk that was given up while it read a part of a table keeps the buffer; so often another copy is asked. As many as a mirror can have.
  static let stalledReadRetries = 3
  /// A table that a client is writing is read so often to find it unchanged at the end, before whoever asked is told to try later.
  static let tableReadTries = 8
  /// What a volume's content is recognised by, in bytes: ContentSample says why so much. And the most of a table that a boot sector points at: the
  /// 16 records of NTFS that have names, of 4 KiB at most.
  static let contentHeadByteCount: UInt64 = (4 << 20) + (64 << 10)
  static let contentTailByteCount: UInt64 = 2 << 20
  static let contentTableByteCount: UInt64 = 64 << 10
  /// It is read, and told apart from zeros, in pieces of so many bytes.
  static let contentPieceByteCount = 32 << 10
  /// The process that recognises it may take so long, in milliseconds: some thousand times what it takes, since the machine may be busy. And so
  /// much of a processor, in seconds, and of memory, in bytes.
  static let contentProbeMilliseconds = 10_000
  static let contentProbeCPUSeconds: UInt32 = 5
  static let contentProbeMemoryByteCount: UInt64 = 256 << 20
  /// It has four descriptors and opens few more: its limit is what its numbers stay below.
  static let contentProbeDescriptorCount: UInt32 = 8
  /// Having answered it ends within so many milliseconds.
  static let contentEndMilliseconds = 1000
  /// Its answer in bytes, at most: four values, the longest a label of a few hundred bytes.
  static let contentAnswerByteCount = 4096
}
