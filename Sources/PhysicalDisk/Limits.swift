/// Limits of the PhysicalDisk layer, with unit and reason.
public enum DiskLimits {
  /// How long an open waits for a disk that someone else holds: the writes of a killed predecessor that the kernel still has in flight
  /// keep the claim held until they are done, which takes a busy disk seconds.
  public static let claimWaitMilliseconds: UInt64 = 5_000
  /// Between two tries. Short against the wait, long against the cost of a try.
  public static let claimRetryMilliseconds: UInt64 = 50
  /// Times that one request is begun again at once because the system asks for it (EINTR, EAGAIN).
  static let interruptions = 8
  /// Tries after the first for an error that may pass. The kernel has retried already, so that more only delays the answer.
  public static let transientRetries = 2
  /// Requests of one opening that had to be repeated, from which on a disk is likely to fail: one bad cable or reset makes a few.
  public static let predictedFailureErrorCount: UInt64 = 20
  /// Wait before the first retry; each further one waits ten times as long. Lets a path fail over or memory come free.
  public static let retryDelayMilliseconds: UInt64 = 10
  /// Zeros are written in pieces of this size, in bytes, so that one long zeroing does not fill the disk's queue.
  public static let zeroPieceByteCount = 1 << 20
  /// One BLKDISCARD, in bytes: a call cannot be interrupted, and others wait for the same thread.
  static let discardPieceByteCount: UInt64 = 1 << 30
  /// Signatures erased from one disk. libblkid knows some 80 kinds; ZFS alone leaves up to 256 marks.
  static let signatureCount = 1024
  /// Text files of /proc and /sys are read up to this size, in bytes.
  static let systemTextByteCount = 1 << 20
  /// Alignments that requests can have. A disk that asks for another is used through the page cache.
  static let ioAlignments = [512, 4096]
}
