/// What a cache did for a disk, a virtual disk, or in all.
public struct CacheCounters: Sendable, Equatable {
  /// Pages that reads touched and that were there, and the bytes taken from them.
  public var hits: UInt64 = 0
  public var hitBytes: UInt64 = 0
  /// Pages that reads touched and that were not there.
  public var misses: UInt64 = 0
  /// Bytes of misses, by what became of them.
  public var admittedBytes: UInt64 = 0
  public var secondMissBytes: UInt64 = 0
  public var bypassedSequentialBytes: UInt64 = 0
  public var bypassedLargeBytes: UInt64 = 0
  /// Bytes that writes refreshed in pages that were there.
  public var refreshedBytes: UInt64 = 0
  /// Pages that writes, trims and lost disks made worthless.
  public var dropped: UInt64 = 0
  /// Pages that were read and not kept, because they were written meanwhile.
  public var overtaken: UInt64 = 0
  /// Pages that had to go for others: for a disk, its own; for a virtual disk, those of whomever that made room for what it read.
  public var evictions: UInt64 = 0
  /// Pages that could not be read whole.
  public var errors: UInt64 = 0

  public init() {}

  public mutating func add(_ other: CacheCounters) {
    hits &+= other.hits
    hitBytes &+= other.hitBytes
    misses &+= other.misses
    admittedBytes &+= other.admittedBytes
    secondMissBytes &+= other.secondMissBytes
    bypassedSequentialBytes &+= other.bypassedSequentialBytes
    bypassedLargeBytes &+= other.bypassedLargeBytes
    refreshedBytes &+= other.refreshedBytes
    dropped &+= other.dropped
    overtaken &+= other.overtaken
    evictions &+= other.evictions
    errors &+= other.errors
  }

  @inline(__always)
  mutating func hit(_ byteCount: Int) {
    hits &+= 1
    hitBytes &+= UInt64(byteCount)
  }

  @inline(__always)
  mutating func miss(_ decision: AdmissionDecision, _ byteCount: Int) {
    misses &+= 1
    switch decision {
    case .admitted: admittedBytes &+= UInt64(byteCount)
    case .secondMiss: secondMissBytes &+= UInt64(byteCount)
    case .bypassedSequential: bypassedSequentialBytes &+= UInt64(byteCount)
    case .bypassedLarge: bypassedLargeBytes &+= UInt64(byteCount)
    }
  }
}
