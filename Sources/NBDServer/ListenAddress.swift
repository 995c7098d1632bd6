/// Where the server waits for clients: "unix:/run/spaceport/nbd.sock" or "tcp:127.0.0.1:10809", "tcp:[::1]:10809".
public enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
  case unix(path: String)
  /// `host` is a name or a numeric address; port 0 lets the system choose one.
  case tcp(host: String, port: UInt16)

  public init(parsing text: String) throws(ListenError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      if path.isEmpty { throw ListenError("'\(text)' names no path. Write unix:PATH, as in unix:/run/spaceport/nbd.sock.") }
      self = .unix(path: path)
      return
    }
    guard text.hasPrefix("tcp:"), let colon = text.lastIndex(of: ":"), colon > text.index(text.startIndex, offsetBy: 3),
      let port = UInt16(text[text.index(after: colon)...])
    else { throw ListenError("'\(text)' is no address to listen on. Write unix:PATH or tcp:HOST:PORT, as in tcp:127.0.0.1:10809.") }
    var host = text[text.index(text.startIndex, offsetBy: 4)..<colon]
    if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    if host.isEmpty { throw ListenError("'\(text)' names no host. To listen on all addresses write tcp:0.0.0.0:\(port).") }
    self = .tcp(host: String(host), port: port)
  }

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
  init(_ description: String) { self.description = description }
}
