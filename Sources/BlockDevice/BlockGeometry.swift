/// Size and alignment of a device. All in bytes; sizes and sectors are powers of two but for `byteCount`.
public struct BlockGeometry: Equatable, Sendable {
  /// The device's size; a multiple of `logicalSector`.
  public var byteCount: UInt64
  /// What the device addresses: requests are aligned to it, 512 or 4096.
  public var logicalSector: Int
  /// What it writes in one piece; smaller writes may cost a read.
  public var physicalSector: Int
  /// The size that suits it best: an interleave, a stripe.
  public var optimalByteCount: Int
  /// The unit in which space is given back by `discard`; 0 when it cannot be.
  public var discardGranularity: Int
  /// `writeZeroes` costs no writing of data, and leaves the range allocated and reading as zeros (fallocate on a file).
  public var zeroesCheaply: Bool
  public var isReadOnly: Bool
  /// Seeks cost time.
  public var isRotational: Bool

  public init(
    byteCount: UInt64, logicalSector: Int, physicalSector: Int, optimalByteCount: Int = 4096, discardGranularity: Int = 0,
    zeroesCheaply: Bool = false, isReadOnly: Bool = false, isRotational: Bool = false
  ) {
    self.byteCount = byteCount
    self.logicalSector = logicalSector
    self.physicalSector = physicalSector
    self.optimalByteCount = optimalByteCount
    self.discardGranularity = discardGranularity
    self.zeroesCheaply = zeroesCheaply
    self.isReadOnly = isReadOnly
    self.isRotational = isRotational
  }
}

/// What block status says of a stretch of a device.
public struct BlockExtent: Equatable, Sendable {
  public var byteCount: UInt64
  /// Space is allocated here: a write cannot fail for want of it.
  public var isAllocated: Bool
  /// It reads as zeros.
  public var isZero: Bool
  /// The id of the slab row it lies on, as the pool's metadata has it; nil where there is none, or nobody asked.
  public var row: UInt64?

  public init(byteCount: UInt64, isAllocated: Bool, isZero: Bool, row: UInt64? = nil) {
    self.byteCount = byteCount
    self.isAllocated = isAllocated
    self.isZero = isZero
    self.row = row
  }
}

/// A stretch of a device that is alike in one respect: whether it reads as zeros.
public struct ZeroRun: Equatable, Sendable {
  public var byteCount: UInt64
  /// It reads as zeros; false where nobody knows without reading.
  public var isZero: Bool

  public init(byteCount: UInt64, isZero: Bool) {
    self.byteCount = byteCount
    self.isZero = isZero
  }
}
