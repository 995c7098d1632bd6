/// The memory that the directories of all cache disks of a machine may take together: an amount that is shared out.
public final class DirectoryMemory: @unchecked Sendable {  // reactor-confined
  /// Bytes.
  public let byteCount: Int
  /// Bytes that directories take, at most.
  public private(set) var usedByteCount = 0

  public init(byteCount: Int) { self.byteCount = byteCount }

  /// Of a machine with so many bytes of memory for this and all that is not counted.
  public convenience init(machineByteCount: UInt64) {
    self.init(byteCount: Int(clamping: machineByteCount / CacheLimits.directoryMemoryDivisor))
  }

  public var freeByteCount: Int { max(0, byteCount - usedByteCount) }

  /// Bytes that each of `count` directories to come may take. One part more is kept back, so that a cache disk that is added later finds some.
  public func part(ofCount count: Int) -> Int {
    min(CacheLimits.cacheDiskMemoryByteCount, freeByteCount / (count + 1))
  }

  func take(_ byteCount: Int) { usedByteCount += byteCount }
  func giveBack(_ byteCount: Int) { usedByteCount -= byteCount }
}
