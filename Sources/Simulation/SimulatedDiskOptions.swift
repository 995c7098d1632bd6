import CLinux
import Reactor

/// How a simulated disk is made. Sizes in bytes.
public struct SimulatedDiskOptions: Sendable {
  public var name: String
  public var byteCount: UInt64
  /// Offsets and lengths are multiples of this: 512 or 4096.
  public var ioAlignment = 4096
  public var physicalSector = 4096
  /// What a power cut leaves whole: 512 or 4096.
  public var atomicUnit = 512
  public var isRotational = false
  /// 0: `punch` answers -EOPNOTSUPP.
  public var discardGranularity = 4096
  /// As on files: `zero` and `punch` leave zeros. Otherwise what `punch` leaves is old content, zeros or noise, by the seed.
  public var zeroesCheaply = true
  /// False: `zero` answers -EOPNOTSUPP.
  public var supportsZero = true
  /// What was never written reads as noise, as on a used block device; else as zeros, as in a new file.
  public var startsWithGarbage = false
  /// Nanoseconds an operation takes, by the seed; a flush takes ten times as long.
  public var latencyNanoseconds: ClosedRange<UInt64> = 20_000...200_000
  /// Operations in a million that take fifty times as long.
  public var slowPerMillion: UInt32 = 10_000

  public init(name: String, byteCount: UInt64) {
    self.name = name
    self.byteCount = byteCount
  }

  /// Like a file on a file system.
  public static func file(_ name: String, byteCount: UInt64) -> SimulatedDiskOptions {
    SimulatedDiskOptions(name: name, byteCount: byteCount)
  }

  /// Like a block device that was used before: zeroing has to be written, and discarding leaves anything.
  public static func blockDevice(_ name: String, byteCount: UInt64) -> SimulatedDiskOptions {
    var options = SimulatedDiskOptions(name: name, byteCount: byteCount)
    options.ioAlignment = 512
    options.zeroesCheaply = false
    options.supportsZero = false
    options.startsWithGarbage = true
    return options
  }
}

/// An operation that was begun and has not been answered.
final class InFlightOperation: @unchecked Sendable {  // reactor-confined
  let operation: DiskOperation
  let bytes: Range<UInt64>
  let slice: BufferSlice?
  /// Of the memory of a write when it began, of a read when it stalled: it must not change until the disk is done with it.
  var checksum: UInt32
  var isChecked: Bool
  /// Who waits for the answer; nil once it was sent away.
  var waiter: UnsafeContinuation<Int32, Never>?
  let began: Instant
  /// Of a flush: the last operation that had completed when it began.
  let coveredSequence: UInt64
  /// The power went, or the disk lost its own, while it was in flight.
  var isLost = false
  /// Of a read that the disk did when it was asked: what it will answer.
  var earlyContent: [UInt8]?

  init(_ operation: DiskOperation, _ bytes: Range<UInt64>, _ slice: BufferSlice?, at began: Instant, coveredSequence: UInt64) {
    self.operation = operation
    self.bytes = bytes
    self.slice = slice
    self.began = began
    isChecked = operation == .write || operation == .durableWrite
    checksum = isChecked ? InFlightOperation.checksum(slice) : 0
    self.coveredSequence = coveredSequence
  }

  /// From now on nobody may touch the memory of a read either: it stays the disk's, though its caller may be sent away.
  func stall() {
    if isChecked { return }
    isChecked = true
    checksum = InFlightOperation.checksum(slice)
  }

  static func checksum(_ slice: BufferSlice?) -> UInt32 { slice.map { clinux_crc32c(0, $0.start, $0.byteCount) } ?? 0 }
}
