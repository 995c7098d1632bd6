import BlockDevice
import Reactor

/// What kind of thing is below a port.
public enum DiskKind: String, Sendable {
  case file, blockDevice, simulated
}

/// What a port knows of the disk below it. Sizes in bytes.
public struct DiskFacts: Sendable {
  public var kind: DiskKind
  /// As given by who opened it: a path.
  public var name: String
  public var byteCount: UInt64
  /// Offsets, lengths and memory of requests are multiples of this: 512 or 4096.
  public var ioAlignment: Int
  /// What the disk writes in one piece, at least `ioAlignment`.
  public var physicalSector: Int
  public var isRotational: Bool
  /// False where the file system refuses O_DIRECT and the page cache is in between.
  public var isDirect: Bool
  /// `punch` gives space back; 0 where it cannot.
  public var discardGranularity: Int
  /// `zero` needs no writing of data.
  public var zeroesCheaply: Bool
  /// What was punched reads as zeros: true of files, not of block devices, which promise nothing.
  public var punchReadsZeros: Bool
  /// Opened for reading only: writes fail.
  public var isReadOnly: Bool

  public init(
    kind: DiskKind, name: String, byteCount: UInt64, ioAlignment: Int, physicalSector: Int, isRotational: Bool = false,
    isDirect: Bool = true, discardGranularity: Int = 0, zeroesCheaply: Bool = false, punchReadsZeros: Bool = false,
    isReadOnly: Bool = false
  ) {
    self.kind = kind
    self.name = name
    self.byteCount = byteCount
    self.ioAlignment = ioAlignment
    self.physicalSector = physicalSector
    self.isRotational = isRotational
    self.isDirect = isDirect
    self.discardGranularity = discardGranularity
    self.zeroesCheaply = zeroesCheaply
    self.punchReadsZeros = punchReadsZeros
    self.isReadOnly = isReadOnly
  }
}

/// The border between the stack and the system: one disk's I/O, with nothing added. The ports over files, block devices and the
/// simulator's disks are the only implementations. Results are 0, or -errno; a port continues short transfers itself, so that 0 means all
/// of it. Ranges are aligned and within the disk: PhysicalDisk sees to that.
public protocol DiskPort: AnyObject, Sendable {
  var facts: DiskFacts { get }
  func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32
  /// With `isDurable` the data is on stable storage when this returns.
  func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32
  /// Everything whose write had completed before this call is on stable storage when this returns 0.
  func synchronize() async -> Int32
  /// Gives space back; the content is undefined afterwards unless `punchReadsZeros` (then zeros).
  func punch(at offset: UInt64, byteCount: UInt64) async -> Int32
  /// The range reads as zeros afterwards and is allocated. -EOPNOTSUPP where the disk cannot do it without data being written.
  func zero(at offset: UInt64, byteCount: UInt64) async -> Int32
  /// What is wrong with the disk although its requests succeed: a file that was truncated or deleted by someone else, a device that
  /// shrank. nil when all is well. Cheap: PhysicalDisk asks before each flush is answered, the pool once a second.
  func checkIntegrity() async -> DiskFault?
  /// Whether what a read has just given may be the emptiness of a disk that lost its content: then PhysicalDisk looks at once.
  func isSuspicious(_ slice: BufferSlice) -> Bool
  /// How long the oldest request that somebody waits for has been with the system, in nanoseconds; 0 when there is none.
  func oldestRequestAge(now: Instant) -> UInt64
  /// Gives the disk up: everyone who waits for it is answered with `IOResult.abandoned` at once, and so is every later request. What the
  /// system already has may still happen; the buffers of these requests are held (BufferPool.retain) until it is over.
  func abandon()
  /// Requests that were in flight when the disk was abandoned and are not over.
  var hungCount: Int { get }
  /// Returns when `hungCount` is 0.
  func drained() async
  /// Ends the claim on the disk. Nothing may be in flight or hung.
  func close() async
}

extension DiskPort {
  public func checkIntegrity() async -> DiskFault? { nil }
  public func isSuspicious(_ slice: BufferSlice) -> Bool { false }
}

/// Why a disk can no longer be trusted, in words for the operator.
public struct DiskFault: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// Shorter than it was when it was opened: what lay at its end is gone.
    case shrank
    /// The file has no name any more: its content goes when it is closed.
    case deleted
    /// The system does not answer for it.
    case gone
  }

  public let kind: Kind
  public let description: String

  public init(_ kind: Kind, description: String) {
    self.kind = kind
    self.description = description
  }
}
