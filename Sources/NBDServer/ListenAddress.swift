import CLinux

/// Where NBD clients are served: `unix:PATH` or `tcp:HOST:PORT`, an IPv6 address in brackets.
public enum ListenAddress: Hashable, Sendable {
  case unix(path: String)
  /// Port 0 lets the kernel choose one.
  case tcp(host: String, port: UInt16)

  /// - Throws: `ListenError` that says which part can't be read.
  public init(parsing text: String) throws(ListenError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst("unix:".count))
      guard !path.isEmpty else { throw Self.refusal(text, "has no path") }
      guard path.utf8.count <= WireLimits.socketPathByteCount else {
        throw Self.refusal(text, "has a path over \(WireLimits.socketPathByteCount) bytes, the most that a Unix socket can have")
      }
      guard !path.utf8.contains(0) else { throw Self.refusal(text, "has a zero byte in its path") }
      self = .unix(path: path)
    } else if text.hasPrefix("tcp:") {
      self = try Self.parseTCP(text)
    } else {
      throw Self.refusal(text, "begins with neither unix: nor tcp:")
    }
  }

  private static func parseTCP(_ text: String) throws(ListenError) -> ListenAddress {
    let rest = text.dropFirst("tcp:".count)
    guard let colon = rest.lastIndex(of: ":") else { throw refusal(text, "has no port") }
    let host = rest[..<colon]
    let portText = rest[rest.index(after: colon)...]
    guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let port = UInt16(portText) else {
      throw refusal(text, "has no port from 0 to 65535 after its last colon")
    }
    guard !host.isEmpty else { throw refusal(text, "has no host; 127.0.0.1 serves this machine alone, 0.0.0.0 all of IPv4") }
    if host.hasPrefix("["), host.hasSuffix("]") {
      let address = String(host.dropFirst().dropLast())
      guard addressBytes(address, family: AF_INET6, byteCount: 16) != nil else {
        throw refusal(text, "has no IPv6 address between its brackets")
      }
      return .tcp(host: address, port: port)
    }
    guard !host.contains(where: { $0 == ":" || $0 == "[" || $0 == "]" }) else {
      throw refusal(text, "has an IPv6 address without brackets, or more than one port")
    }
    guard !host.contains(where: { $0.isWhitespace || $0 == "/" || $0 == "\0" }) else {
      throw refusal(text, "has a host that is not a name")
    }
    return .tcp(host: String(host), port: port)
  }

  private static func refusal(_ text: String, _ why: String) -> ListenError {
    ListenError(
      "The address \"\(text)\" \(why). Give unix:PATH or tcp:HOST:PORT, for example tcp:127.0.0.1:10809 or tcp:[::1]:10809.")
  }

  /// The bytes of a literal address in network order, or nil when the text isn't one.
  private static func addressBytes(_ text: String, family: Int32, byteCount: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    return inet_pton(family, text, &bytes) == 1 ? bytes : nil
  }

  /// Whether only this machine can reach it. A name other than `localhost` counts as reachable from elsewhere, since what it means
  /// is for the resolver to say.
  public var isLocal: Bool {
    switch self {
    case .unix: return true
    case .tcp("localhost", _): return true
    case .tcp(let host, _):
      if let bytes = Self.addressBytes(host, family: AF_INET, byteCount: 4) { return bytes[0] == 127 }
      guard let bytes = Self.addressBytes(host, family: AF_INET6, byteCount: 16) else { return false }
      let mappedLoopback: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127]
      return bytes == [UInt8](repeating: 0, count: 15) + [1] || bytes.starts(with: mappedLoopback)
    }
  }
}

extension ListenAddress: CustomStringConvertible {
  /// The spelling that `init(parsing:)` reads.
  public var description: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host, let port): host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
    }
  }
}

/// Why the server cannot listen there, and what to do.
public struct ListenError: Error, CustomStringConvertible, Sendable {
  public let description: String
  /// The address is taken and may be free in a moment: the sockets of a server that was killed live until the kernel has ended what it had in
  /// flight.
  public let mayPass: Bool

  init(_ description: String, mayPass: Bool = false) {
    self.description = description
    self.mayPass = mayPass
  }
}
