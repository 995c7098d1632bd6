import CLinux

/// An IPv4 or IPv6 address, as bits. An IPv4 address in an IPv6 one (::ffff:192.0.2.1) is the IPv4 address.
public struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
  /// 4 or 16, in network order.
  public let bytes: [UInt8]

  /// - Parameter bytes: 4 or 16; nil otherwise.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 4 || bytes.count == 16 else { return nil }
    self.bytes = bytes.count == 16 && bytes.starts(with: NetworkAddress.mappedPrefix) ? Array(bytes[12...]) : bytes
  }

  /// As inet_pton(3) reads it: four decimal numbers, or IPv6 without a zone; nil when it is neither.
  public init?(parsing text: String) {
    guard let bytes = NetworkAddress.parse(text) else { return nil }
    self.init(bytes: bytes)
  }

  /// Of a socket's peer; nil when it is of another family.
  init?(_ address: inout sockaddr_storage) {
    let offset: Int
    let count: Int
    switch Int32(address.ss_family) {
    case AF_INET: (offset, count) = (MemoryLayout<sockaddr_in>.offset(of: \.sin_addr) ?? 0, 4)
    case AF_INET6: (offset, count) = (MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr) ?? 0, 16)
    default: return nil
    }
    self.init(bytes: withUnsafeBytes(of: &address) { Array($0[offset..<offset + count]) })
  }

  /// Of one link only (fe80::/10): another link may have another machine of that address, and an address alone does not say which is meant.
  var isLinkLocal: Bool { bytes.count == 16 && bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80 }

  static let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]

  static func parse(_ text: String) -> [UInt8]? {
    if text.utf8.contains(0) { return nil }  // where inet_pton would stop reading
    for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: count)
      if inet_pton(family, text, &bytes) == 1 { return bytes }
    }
    return nil
  }

  public var description: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    guard inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil else { return "\(bytes)" }
    return String(cText: text)
  }
}

/// The addresses that begin with the same bits, `ADDRESS/BITS`; one address without. An IPv4 network holds IPv4 addresses only, and an IPv6
/// network IPv6 addresses only.
public struct NetworkRange: Sendable, Hashable, CustomStringConvertible {
  /// All bits behind the prefix are zero.
  public let address: NetworkAddress
  public let prefixLength: Int

  /// - Throws: when it is no address, the bits are too many, or bits behind them are set: such a network was meant to be another. Also for what
  ///   is link-local, with a zone or without.
  public init(parsing text: String) throws(NetworkRangeError) {
    if text.utf8.contains(UInt8(ascii: "%")) { throw NetworkRange.linkLocal(text) }
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let written = NetworkAddress.parse(String(parts[0])), let address = NetworkAddress(bytes: written) else {
      throw NetworkRangeError(
        "\"\(text)\" is not an IPv4 or IPv6 address or network. Give, for example, 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.")
    }
    var length = written.count * 8
    if parts.count == 2 {
      guard let bits = NetworkRange.number(parts[1]), bits <= length else {
        throw NetworkRangeError("The network \"\(text)\" does not end with a number of bits from 0 to \(length).")
      }
      length = bits
    }
    // A mapped address was shortened to its IPv4 part; so is its prefix, which must not reach beyond.
    let shortening = (written.count - address.bytes.count) * 8
    guard length >= shortening else {
      throw NetworkRangeError(
        "The network \"\(text)\" holds more than IPv4 addresses in IPv6. Give the IPv4 network, for example 0.0.0.0/0.")
    }
    length -= shortening
    let cleared = NetworkRange.masked(address.bytes, length)
    guard cleared == address.bytes else {
      let meant = NetworkAddress(bytes: cleared).map { "\($0)/\(length)" } ?? text
      throw NetworkRangeError("The network \"\(text)\" has bits set behind its first \(length). Give \(meant), or the address alone.")
    }
    if address.isLinkLocal && length >= 10 { throw NetworkRange.linkLocal(text) }
    self.address = address
    prefixLength = length
  }

  private static func linkLocal(_ text: String) -> NetworkRangeError {
    NetworkRangeError(
      "\"\(text)\" is link-local (fe80::/10, or with a zone): every link may have a machine of that address, and a rule cannot say which is "
        + "meant. Give addresses that are unique, for example of fc00::/7, or let clients in by certificates or pre-shared keys.")
  }

  public func contains(_ other: NetworkAddress) -> Bool {
    other.bytes.count == address.bytes.count && NetworkRange.masked(other.bytes, prefixLength) == address.bytes
  }

  public var description: String { prefixLength == address.bytes.count * 8 ? "\(address)" : "\(address)/\(prefixLength)" }

  /// Decimal digits only, without a sign.
  private static func number(_ text: Substring) -> Int? {
    guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
      return nil
    }
    return Int(text)
  }

  private static func masked(_ bytes: [UInt8], _ length: Int) -> [UInt8] {
    bytes.enumerated().map { index, byte in
      let kept = min(8, max(0, length - index * 8))
      return kept == 0 ? 0 : byte & (0xff << UInt8(8 - kept))
    }
  }
}

/// What is wrong with a network that was written, and what to write.
public struct NetworkRangeError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}
