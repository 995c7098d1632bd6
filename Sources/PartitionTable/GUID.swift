/// A globally unique identifier of 16 bytes (RFC 9562). Compares in the order of its text.
public struct GUID: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The first 8 bytes in the order of the text, most significant first.
  public let high: UInt64
  /// The last 8 bytes in the order of the text, most significant first.
  public let low: UInt64

  /// All zero: in a partition entry, the type that marks it unused.
  public static let zero = GUID(high: 0, low: 0)

  /// `12345678-9ABC-DEF0-1122-334455667788` is high 0x123456789ABCDEF0, low 0x1122334455667788.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A version 4 GUID from 128 random bits, of which 6 are overwritten by version and variant. Randomness is the caller's to give,
  /// so that simulated runs repeat.
  public init(randomHigh: UInt64, randomLow: UInt64) {
    high = (randomHigh & ~0xF000) | 0x4000
    low = (randomLow & ~(0b11 << 62)) | (0b10 << 62)
  }

  /// Reads the canonical text of 8-4-4-4-12 hexadecimal digits, in either case, braces around it allowed; nil for anything else.
  public init?(_ text: some StringProtocol) {
    var units = Array(text.utf8)
    if units.count == 38, units.first == UInt8(ascii: "{"), units.last == UInt8(ascii: "}") {
      units = Array(units[1..<37])
    }
    guard units.count == 36 else { return nil }
    var halves: (UInt64, UInt64) = (0, 0)
    var digitCount = 0
    for (index, unit) in units.enumerated() {
      if index == 8 || index == 13 || index == 18 || index == 23 {
        guard unit == UInt8(ascii: "-") else { return nil }
        continue
      }
      guard let digit = hexDigitValue(unit) else { return nil }
      if digitCount < 16 {
        halves.0 = halves.0 << 4 | digit
      } else {
        halves.1 = halves.1 << 4 | digit
      }
      digitCount += 1
    }
    self.init(high: halves.0, low: halves.1)
  }

  /// The first three fields are little-endian on disk, the rest is in text order (UEFI 2.10, appendix A). The slice has 16 bytes.
  init(diskBytes: ArraySlice<UInt8>) {
    let first = UInt64(diskBytes.uint32(at: 0))
    let second = UInt64(diskBytes.uint16(at: 4))
    let third = UInt64(diskBytes.uint16(at: 6))
    self.init(high: first << 32 | second << 16 | third, low: diskBytes.uint64(at: 8).byteSwapped)
  }

  /// The 16 bytes of this GUID as GPT stores it.
  public var diskBytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 16)
    bytes.store(UInt32(truncatingIfNeeded: high >> 32), at: 0)
    bytes.store(UInt16(truncatingIfNeeded: high >> 16), at: 4)
    bytes.store(UInt16(truncatingIfNeeded: high), at: 6)
    bytes.store(low.byteSwapped, at: 8)
    return bytes
  }

  /// Canonical text in upper case, as sgdisk and sfdisk print it.
  public var description: String {
    let digits = Array("0123456789ABCDEF".utf8)
    var units: [UInt8] = []
    units.reserveCapacity(36)
    for nibble in 0..<32 {
      if nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20 { units.append(UInt8(ascii: "-")) }
      let half = nibble < 16 ? high : low
      units.append(digits[Int((half >> UInt64(60 - 4 * (nibble % 16))) & 0xF)])
    }
    return String(decoding: units, as: UTF8.self)
  }

  public static func < (left: GUID, right: GUID) -> Bool {
    left.high != right.high ? left.high < right.high : left.low < right.low
  }
}

private func hexDigitValue(_ unit: UInt8) -> UInt64? {
  switch unit {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(unit - UInt8(ascii: "0"))
  case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(unit - UInt8(ascii: "a") + 10)
  case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(unit - UInt8(ascii: "A") + 10)
  default: nil
  }
}
