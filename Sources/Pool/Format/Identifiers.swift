import Reactor

/// Sixteen random bytes that name a thing for ever, with the customary text form (RFC 9562, version 4). On disk: the bytes in text order.
public protocol RandomIdentifier: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  var bytes: UUIDBytes { get }
  init(bytes: UUIDBytes)
}

/// The bytes of a `RandomIdentifier`: `high` holds the first eight of the text form, most significant first.
public struct UUIDBytes: Hashable, Comparable, Sendable {
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public static let zero = UUIDBytes(high: 0, low: 0)

  public static func < (left: UUIDBytes, right: UUIDBytes) -> Bool { (left.high, left.low) < (right.high, right.low) }

  /// Lower-case hexadecimal in groups of 8-4-4-4-12.
  public var text: String {
    var text = ""
    text.reserveCapacity(36)
    for position in 0..<32 {
      if position == 8 || position == 12 || position == 16 || position == 20 { text.append("-") }
      let word = position < 16 ? high : low
      let digit = Int(word >> UInt64(60 - 4 * (position % 16)) & 15)
      text.unicodeScalars.append(Unicode.Scalar(UInt8(digit < 10 ? 48 + digit : 87 + digit)))
    }
    return text
  }

  /// From the text form in either case; nil for anything else.
  public init?(text: some StringProtocol) {
    let characters = Array(text.utf8)
    guard characters.count == 36 else { return nil }
    var words: [UInt64] = [0, 0]
    var digits = 0
    for (position, character) in characters.enumerated() {
      if position == 8 || position == 13 || position == 18 || position == 23 {
        guard character == 45 else { return nil }
        continue
      }
      let digit: UInt8
      switch character {
      case 48...57: digit = character - 48
      case 65...70: digit = character - 55
      case 97...102: digit = character - 87
      default: return nil
      }
      words[digits / 16] = words[digits / 16] << 4 | UInt64(digit)
      digits += 1
    }
    self.init(high: words[0], low: words[1])
  }
}

extension RandomIdentifier {
  /// A new one from the reactor's randomness, so that a simulated run is repeatable.
  public static func random(_ reactor: any Reactor) -> Self {
    let high = reactor.random() & 0xffff_ffff_ffff_0fff | 0x4000
    let low = reactor.random() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000
    return Self(bytes: UUIDBytes(high: high, low: low))
  }

  /// No identifier: all bytes zero.
  public static var none: Self { Self(bytes: .zero) }
  public var isNone: Bool { bytes == .zero }

  public var description: String { bytes.text }
  public static func < (left: Self, right: Self) -> Bool { left.bytes < right.bytes }

  public init?(_ text: some StringProtocol) {
    guard let bytes = UUIDBytes(text: text) else { return nil }
    self.init(bytes: bytes)
  }

  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let bytes = UUIDBytes(text: text) else {
      throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "\(text) is not a UUID."))
    }
    self.init(bytes: bytes)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

public struct PoolID: RandomIdentifier {
  public let bytes: UUIDBytes
  public init(bytes: UUIDBytes) { self.bytes = bytes }
}

public struct DiskID: RandomIdentifier {
  public let bytes: UUIDBytes
  public init(bytes: UUIDBytes) { self.bytes = bytes }
}

/// One membership of a pool: changes whenever a disk is evicted or becomes a voter.
public struct EpochID: RandomIdentifier {
  public let bytes: UUIDBytes
  public init(bytes: UUIDBytes) { self.bytes = bytes }
}

public struct VirtualDiskUUID: RandomIdentifier {
  public let bytes: UUIDBytes
  public init(bytes: UUIDBytes) { self.bytes = bytes }
}

/// The machine that owns a pool; `none` while pools belong to one machine.
public struct NodeID: RandomIdentifier {
  public let bytes: UUIDBytes
  public init(bytes: UUIDBytes) { self.bytes = bytes }
}

/// A number in a sequence that never goes back: never reused, so that an old reference can never mean a new thing.
public protocol NumberIdentifier: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  associatedtype Value: FixedWidthInteger & UnsignedInteger & Codable & Sendable
  var value: Value { get }
  init(_ value: Value)
}

extension NumberIdentifier {
  public static func < (left: Self, right: Self) -> Bool { left.value < right.value }
  public var description: String { String(value) }
  public init(from decoder: any Decoder) throws { self.init(try decoder.singleValueContainer().decode(Value.self)) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }
}

/// A disk of a pool, by the short number that slab rows use. From 1 on.
public struct DiskNumber: NumberIdentifier {
  public let value: UInt32
  public init(_ value: UInt32) { self.value = value }
}

/// A virtual disk of a pool. From 1 on; 0 is the pool itself.
public struct VirtualDiskNumber: NumberIdentifier {
  public let value: UInt64
  public init(_ value: UInt64) { self.value = value }
}

/// A slab row of a pool. From 1 on; 0 is "no row".
public struct RowID: NumberIdentifier {
  public let value: UInt64
  public init(_ value: UInt64) { self.value = value }
  public static let none = RowID(0)
}

/// The index of a slab on its disk, from 0 on. 32 bits of slabs of at least 1 MiB are 4 PiB a disk.
public struct SlabNumber: NumberIdentifier {
  public let value: UInt32
  public init(_ value: UInt32) { self.value = value }
}

/// Counts the assignments of slabs over the whole pool: a returning disk is believed only where the generation is still the same.
public struct SlabGeneration: NumberIdentifier {
  public let value: UInt64
  public init(_ value: UInt64) { self.value = value }
}

/// The number of a journal entry; goes on over openings, checkpoints and laps.
public struct JournalSequence: NumberIdentifier {
  public let value: UInt64
  public init(_ value: UInt64) { self.value = value }
}
