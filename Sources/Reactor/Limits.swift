/// Limits of one ring.
public enum RingLimits {
  /// Submission entries: what one turn of the loop can queue before it enters the kernel. A full queue is submitted early, not refused.
  static let submissionEntries: UInt32 = 1024
  /// Completion entries: requests in flight over all connections and disks, with room for bursts; the kernel keeps what overflows.
  static let completionEntries: UInt32 = 8192
  /// Registered files: listeners and disks of one reactor.
  public static let registeredFiles: UInt32 = 4096
  /// Turns of ready jobs before the ring is looked at again, so that tasks that keep each other busy cannot starve I/O.
  static let jobTurnsPerEnter = 4
  /// Jobs between two looks at the clock.
  static let jobsPerClockReading = 8
  /// How late timers may be. Nanoseconds; the system's own 50 us would double the shortest rests.
  static let timerSlackNanoseconds: UInt = 1000
  /// The kernel's limit on one registered buffer.
  static let registeredBufferByteCount = 1 << 30
  /// Operations in flight for which there is room at the start; doubled when they are more.
  static let operations = 1024
}

/// How many buffers of which size a pool has.
public struct BufferLimits: Sendable {
  /// Small buffers, all made at start. 128 of 32 KiB are 4 MiB: what an ordinary user may lock under Debian's default of 8 MiB.
  public var smallCount: Int
  public var smallByteCount: Int
  /// The largest single buffer: the largest request (NBD's customary 32 MiB).
  public var largestByteCount: Int
  /// The sum of all large buffers.
  public var largeTotalByteCount: Int
  /// Pages of the read cache, all made at start.
  public var pageCount = 0
  /// A power of two, 4 to 64 KiB.
  public var pageByteCount = 16 << 10

  public static let standard = BufferLimits(
    smallCount: 128, smallByteCount: 32 << 10, largestByteCount: 32 << 20, largeTotalByteCount: 256 << 20)

  public init(smallCount: Int, smallByteCount: Int, largestByteCount: Int, largeTotalByteCount: Int) {
    self.smallCount = smallCount
    self.smallByteCount = smallByteCount
    self.largestByteCount = largestByteCount
    self.largeTotalByteCount = largeTotalByteCount
  }

  /// 0 for small buffers, then one class for each doubling.
  func sizeClass(for byteCount: Int) -> Int {
    var sizeClass = 0
    while smallByteCount << sizeClass < byteCount { sizeClass += 1 }
    return sizeClass
  }

  var classCount: Int { sizeClass(for: largestByteCount) + 1 }
}
