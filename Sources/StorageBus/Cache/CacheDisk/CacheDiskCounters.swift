/// What a cache disk did, in all, for one capacity disk or for one virtual disk.
public struct CacheDiskCounters: Sendable, Equatable {
  /// Pages that reads touched and that were read from the cache disk, and the bytes taken from them.
  public var hits: UInt64 = 0
  public var hitBytes: UInt64 = 0
  /// Pages that reads touched and that were not there.
  public var misses: UInt64 = 0
  public var missBytes: UInt64 = 0
  /// Bytes of misses, by what became of them.
  public var admittedBytes: UInt64 = 0
  public var secondMissBytes: UInt64 = 0
  public var bypassedSequentialBytes: UInt64 = 0
  public var bypassedLargeBytes: UInt64 = 0
  /// What the memory cache did not admit: its counters say why.
  public var bypassedBytes: UInt64 = 0
  /// Pages that were written to the cache disk.
  public var fills: UInt64 = 0
  public var fillBytes: UInt64 = 0
  /// Pages that were admitted and not filled, because too many were on their way or the disk was slow.
  public var skippedFills: UInt64 = 0
  /// Pages that were read and not kept, because they were written meanwhile.
  public var overtaken: UInt64 = 0
  /// Pages that writes and trims made worthless.
  public var dropped: UInt64 = 0
  /// Pages that had to go for others: for a disk, its own; for a virtual disk, those of whomever that made room for what it read.
  public var evictions: UInt64 = 0
  /// Pages that the cache disk failed to read or write.
  public var errors: UInt64 = 0
  /// Pages that were not what was written: damaged, lost or misdirected.
  public var checksumErrors: UInt64 = 0
  /// Pages that were read from the capacity disk, because the cache disk did not answer in time.
  public var timeouts: UInt64 = 0
  /// Pages of an earlier session that were taken over.
  public var warm: UInt64 = 0

  public init() {}

  /// - Parameter decision: nil where the memory cache has decided not to keep it.
  mutating func miss(_ decision: AdmissionDecision?, _ byteCount: Int) {
    misses &+= 1
    missBytes &+= UInt64(byteCount)
    switch decision {
    case .admitted: admittedBytes &+= UInt64(byteCount)
    case .secondMiss: secondMissBytes &+= UInt64(byteCount)
    case .bypassedSequential: bypassedSequentialBytes &+= UInt64(byteCount)
    case .bypassedLarge: bypassedLargeBytes &+= UInt64(byteCount)
    case nil: bypassedBytes &+= UInt64(byteCount)
    }
  }

  public mutating func add(_ other: CacheDiskCounters) {
    hits &+= other.hits
    hitBytes &+= other.hitBytes
    misses &+= other.misses
    missBytes &+= other.missBytes
    admittedBytes &+= other.admittedBytes
    secondMissBytes &+= other.secondMissBytes
    bypassedSequentialBytes &+= other.bypassedSequentialBytes
    bypassedLargeBytes &+= other.bypassedLargeBytes
    bypassedBytes &+= other.bypassedBytes
    fills &+= other.fills
    fillBytes &+= other.fillBytes
    skippedFills &+= other.skippedFills
    overtaken &+= other.overtaken
    dropped &+= other.dropped
    evictions &+= other.evictions
    errors &+= other.errors
    checksumErrors &+= other.checksumErrors
    timeouts &+= other.timeouts
    warm &+= other.warm
  }
}
