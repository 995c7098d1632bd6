import CLinux

/// Options and names of sockets. None of these calls waits.
enum SocketOptions {
  /// Sets what a connected client's socket needs, and says whether it is TCP.
  static func configureAndCheckIsTCP(_ descriptor: Int32) -> Bool {
    // What the ring has accepted is so already; of one that somebody else has opened nobody knows.
    makeBlocking(descriptor)
    guard [AF_INET, AF_INET6].contains(family(of: descriptor)) else { return false }
    set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)  // a reply is whole when it is sent; waiting for more only delays it
    set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, WireLimits.keepAliveIdleSeconds)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, WireLimits.keepAliveIntervalSeconds)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, WireLimits.keepAliveProbes)
    return true
  }

  @discardableResult
  static func set(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Int32 {
    var value = value
    return setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  static func family(of descriptor: Int32) -> Int32 {
    var address = sockaddr_storage()
    let result = withSocketAddress(&address) { getsockname(descriptor, $0, $1) }
    return result == 0 ? Int32(address.ss_family) : -1
  }

  /// Who is at the other end, for people: "127.0.0.1:40312", or "uid 1000, pid 4711" on a Unix socket.
  static func peerName(of descriptor: Int32) -> String {
    var address = sockaddr_storage()
    guard withSocketAddress(&address, { getpeername(descriptor, $0, $1) }) == 0 else { return "unknown" }
    if Int32(address.ss_family) == AF_UNIX {
      guard let peer = unixPeer(of: descriptor) else { return "unknown" }
      return "uid \(peer.uid), pid \(peer.pid)"
    }
    return numericName(of: &address)
  }

  /// Who is at the other end, for access rules.
  static func origin(of descriptor: Int32) -> ClientIdentity.Origin {
    var address = sockaddr_storage()
    guard withSocketAddress(&address, { getpeername(descriptor, $0, $1) }) == 0 else { return .unknown }
    if Int32(address.ss_family) == AF_UNIX { return unixPeer(of: descriptor).map { .unix(uid: $0.uid) } ?? .unknown }
    return NetworkAddress(&address).map { .network($0) } ?? .unknown
  }

  /// Who connected to, or listens at, the other end of a Unix socket. The process may have ended meanwhile.
  static func unixPeer(of descriptor: Int32) -> (pid: Int32, uid: UInt32)? {
    // struct ucred: pid, uid, gid (unix(7)); glibc shows it with _GNU_SOURCE only.
    var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else { return nil }
    return (credentials.pid, credentials.uid)
  }

  /// The address a TCP socket is bound to: its numeric host and its port.
  static func boundName(of descriptor: Int32) -> (host: String, port: UInt16)? {
    var address = sockaddr_storage()
    guard withSocketAddress(&address, { getsockname(descriptor, $0, $1) }) == 0 else { return nil }
    return numericParts(of: &address)
  }

  /// Where a listening socket is, for people: of an abstract Unix name the @ that stands for its zero byte.
  static func boundAddress(of descriptor: Int32) -> ListenAddress {
    var address = sockaddr_storage()
    var byteCount: socklen_t = 0
    let result = withSocketAddress(&address) {
      let result = getsockname(descriptor, $0, $1)
      byteCount = $1.pointee
      return result
    }
    guard result == 0 else { return .unix(path: "unknown") }
    if let (host, port) = numericParts(of: &address), Int32(address.ss_family) != AF_UNIX { return .tcp(host: host, port: port) }
    let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
    var name = withUnsafeBytes(of: &address) { Array($0[start..<max(start, min(Int(byteCount), $0.count))]) }
    if let first = name.first, first == 0 { name[0] = UInt8(ascii: "@") }
    return .unix(path: name.isEmpty ? "unnamed" : String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
  }

  /// The ring waits by itself; for a socket that must not block it would not.
  static func makeBlocking(_ descriptor: Int32) {
    _ = clinux_fcntl_int(descriptor, F_SETFL, clinux_fcntl_int(descriptor, F_GETFL, 0) & ~O_NONBLOCK)
  }

  private static func numericName(of address: inout sockaddr_storage) -> String {
    guard let (host, port) = numericParts(of: &address) else { return "unknown" }
    return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  private static func numericParts(of address: inout sockaddr_storage) -> (host: String, port: UInt16)? {
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
    let result = withSocketAddress(&address) { pointer, length in
      getnameinfo(
        pointer, length.pointee, &host, socklen_t(host.count), &service, socklen_t(service.count),
        Int32(NI_NUMERICHOST | NI_NUMERICSERV))
    }
    guard result == 0, let port = UInt16(String(cText: service)) else { return nil }
    return (String(cText: host), port)
  }

  private static func withSocketAddress(
    _ address: inout sockaddr_storage, _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> Int32 {
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
    }
  }
}
