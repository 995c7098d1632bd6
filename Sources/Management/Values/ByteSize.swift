/// A size in bytes as it is typed on a command line and shown in a table.
public struct ByteSize: Sendable, Hashable, Comparable {
  public var byteCount: UInt64

  public init(byteCount: UInt64) {
    self.byteCount = byteCount
  }

  /// The suffixes that are understood and their sizes, in bytes. Only binary units with their unambiguous names: with "10G" one half of
  /// the tools in the field mean 10^10 and the other half 10 * 2^30.
  static let units: [(suffix: String, byteCount: UInt64)] = [
    ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("PiB", 1 << 50),
  ]

  /// - Throws: `APIError` with code `badRequest` unless the text is a whole number of bytes, or one followed by KiB, MiB, GiB, TiB or
  ///   PiB, that fits 64 bits.
  public init(parsing text: String) throws(APIError) {
    let unit = Self.units.first { text.hasSuffix($0.suffix) }
    let digits = text.dropLast(unit?.suffix.count ?? 0)
    guard !digits.isEmpty, digits.utf8.allSatisfy(Self.isDigit) else {
      throw APIError(
        .badRequest, "\"\(text)\" is not a size",
        remedy: "Give a whole number of bytes, or one followed by KiB, MiB, GiB, TiB or PiB, for example 10GiB")
    }
    // Nothing but digits is left, so the number is unreadable only when it is too large.
    let (byteCount, overflow) = (UInt64(digits) ?? .max).multipliedReportingOverflow(by: unit?.byteCount ?? 1)
    guard UInt64(digits) != nil, !overflow else {
      throw APIError(.badRequest, "The size \"\(text)\" is too large", remedy: "Give a size below 16384PiB")
    }
    self.init(byteCount: byteCount)
  }

  /// Of bytes, because what looks like one character may be a digit with a mark on it.
  public static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  public static func < (left: ByteSize, right: ByteSize) -> Bool { left.byteCount < right.byteCount }
}

extension ByteSize: CustomStringConvertible {
  /// In the largest unit that leaves at least 1, with as many decimals as make three digits, none when it is exact: `512 B`, `256 KiB`,
  /// `1.25 GiB`. Rounded down, so that free space is never shown larger than it is.
  public var description: String {
    let exponent = byteCount == 0 ? 0 : (UInt64.bitWidth - 1 - byteCount.leadingZeroBitCount) / 10
    guard exponent > 0 else { return "\(byteCount) B" }
    let name = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent - 1]
    let shift = UInt64(exponent * 10)
    let whole = byteCount >> shift
    let rest = byteCount & ((1 << shift) - 1)
    guard rest != 0 else { return "\(whole) \(name)" }
    // `rest` is below 2^60, so thousandths are taken of its upper part to stay within 64 bits.
    let thousandths = shift > 50 ? ((rest >> 20) * 1000) >> (shift - 20) : (rest * 1000) >> shift
    switch whole {
    case 100...: return "\(whole) \(name)"
    case 10...: return "\(whole).\(thousandths / 100) \(name)"
    default:
      let hundredths = thousandths / 10
      return "\(whole).\(hundredths < 10 ? "0" : "")\(hundredths) \(name)"
    }
  }
}
