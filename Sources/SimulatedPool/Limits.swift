/// Limits of a simulated pool's life, each with its unit and reason.
public enum SimulatedPoolLimits {
  /// Requests of all clients in one seed, unless asked otherwise: enough for rows to come and go over several power-ons, few enough for tens
  /// of seeds a second.
  public static let operationCount = 240
  /// The most requests of one seed, so that the model and the trace stay small.
  public static let largestOperationCount = 1_000_000
  /// How many times the operations a long scenario has: a journal comes round in each of its power-ons.
  static let longFactor = 4
  /// Power-ons of one seed, the first included.
  static let powerOnCount: ClosedRange<UInt64> = 2...5
  /// The virtual disks of one pool, at most. Each costs a full check at every power-on.
  static let virtualDiskCount = 4
  /// Bytes of one virtual disk: a few rows of slabs of 1 MiB.
  static let virtualDiskByteCount: ClosedRange<UInt64> = (1 << 20)...(5 << 20)
  /// A virtual disk grows to this many bytes at most.
  static let grownByteCount: UInt64 = 6 << 20
  /// Bytes of a simulated disk: one on which slabs run out, and one on which they do not.
  static let smallDiskByteCount: UInt64 = 12 << 20
  static let largeDiskByteCount: UInt64 = 48 << 20
  static let metadataByteCount: UInt64 = 1 << 20
  /// Sectors of 512 bytes in one request, at most: two chunks of 64 KiB and a bit.
  static let requestSectorCount: UInt64 = 300
  /// Crash points that an operation of a client comes to, roughly: where the power is cut is drawn from so many times the operations.
  static let crashPointsPerOperation: UInt64 = 6
  /// The points between the first write of the witness and what is acknowledged after an eviction, roughly.
  static let crashPointsOfEviction: UInt64 = 20
  /// How long a request hangs, in seconds: longer than a disk may leave one unanswered.
  static let hangSeconds: ClosedRange<UInt64> = 11...40
  /// How long is waited for what hangs to land after the work, in milliseconds.
  static let hangMilliseconds: UInt64 = 45_000
  /// Disks that the operator may add to the pool.
  static let spareCount: UInt64 = 2
  /// The points of opening and verifying, roughly.
  static let crashPointsOfOpening: UInt64 = 120
  /// Pages of the read cache that a seed's machine may have: none, so few that they come and go all the time, and enough for most of what the
  /// clients touch.
  static let cachePageCounts = [0, 8, 64, 512]
  /// Bytes of a cache disk that a seed may have: room for some 60, 190 and 1,000 pages.
  static let cacheDiskByteCounts: [UInt64] = [8 << 20, 10 << 20, 24 << 20]
  /// How long a client takes to be sent a page of the cache, in milliseconds at most.
  static let sendMilliseconds: UInt64 = 3
  /// Runs of one exhaustive sweep are those of a workload of so many requests, unless asked otherwise.
  public static let exhaustiveOperationCount = 24
}
