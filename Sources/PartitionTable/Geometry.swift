/// Logical sector size of a disk; GPT and MBR count in these.
public enum SectorSize: Int, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case bytes512 = 512
  case bytes4096 = 4096

  /// Bytes in a sector.
  public var byteCount: Int { rawValue }

  var wide: UInt64 { UInt64(rawValue) }

  /// The other size, under which a table may have been written when the disk was attached differently.
  var other: SectorSize { self == .bytes512 ? .bytes4096 : .bytes512 }

  public var description: String { "\(rawValue)" }
}

/// Logical block address: the number of a sector, from 0.
public struct LBA: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral, CustomStringConvertible {
  /// The sector's number.
  public var value: UInt64

  public init(_ value: UInt64) { self.value = value }
  public init(integerLiteral value: UInt64) { self.value = value }

  public static func < (left: LBA, right: LBA) -> Bool { left.value < right.value }
  public var description: String { "\(value)" }
}

/// A run of bytes on a disk.
public struct DiskByteRange: Hashable, Sendable {
  /// First byte, from the start of the disk.
  public var offsetBytes: UInt64
  /// Length in bytes.
  public var byteCount: Int

  public init(offsetBytes: UInt64, byteCount: Int) {
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
  }
}

/// One of the two copies that a GPT keeps.
public enum GPTCopy: Sendable, Hashable, CustomStringConvertible {
  /// At the head of the disk.
  case primary
  /// At the tail of the disk.
  case backup

  public var description: String { self == .primary ? "primary" : "backup" }
}

/// Bytes to be written to a disk at one place. Offset and length are multiples of the sector size.
public struct DiskWrite: Hashable, Sendable {
  /// The copy of the table that the bytes belong to.
  public var copy: GPTCopy
  /// First byte, from the start of the disk.
  public var offsetBytes: UInt64
  /// What to write.
  public var bytes: [UInt8]

  public init(copy: GPTCopy, offsetBytes: UInt64, bytes: [UInt8]) {
    self.copy = copy
    self.offsetBytes = offsetBytes
    self.bytes = bytes
  }
}
