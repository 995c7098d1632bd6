import CLinux
import func Glibc.kill
import var Glibc.errno

/// A bound and listening socket that is not yet, or no longer, served.
struct ListeningSocket: Sendable {
  let descriptor: Int32
  /// With the port the system chose.
  let address: ListenAddress
  /// The socket file's identity, so that only our own is unlinked; nil for TCP.
  private let file: FileIdentity?

  private struct FileIdentity: Equatable, Sendable {
    var device: UInt
    var inode: UInt
  }

  /// One socket for a path; one for each address that a host name stands for.
  /// - Parameter group: whose members may connect to a Unix socket beside its owner; nil for none.
  static func open(_ address: ListenAddress, group: UInt32? = nil) throws(ListenError) -> [ListeningSocket] {
    switch address {
    case .unix(let path): [try openUnix(path, group)]
    case .tcp(let host, let port): try openTCP(host, port)
    }
  }

  /// One that a service manager has opened. Its file, if it has one, is the manager's.
  init(inherited descriptor: Int32) {
    SocketOptions.makeBlocking(descriptor)
    self.descriptor = descriptor
    address = SocketOptions.boundAddress(of: descriptor)
    file = nil
  }

  private init(descriptor: Int32, address: ListenAddress, file: FileIdentity?) {
    self.descriptor = descriptor
    self.address = address
    self.file = file
  }

  /// Closes the socket, and removes its file if that is still ours.
  func close() {
    removeFile()
    _ = CLinux.close(descriptor)
  }

  func removeFile() {
    guard case .unix(let path) = address, let file, ListeningSocket.identity(of: path) == file else { return }
    unlink(path)
  }

  // MARK: Unix

  private static func openUnix(_ path: String, _ group: UInt32?) throws(ListenError) -> ListeningSocket {
    guard var name = socketName(path) else {
      throw ListenError(
        "The socket path \(path) is longer than \(WireLimits.socketPathByteCount) bytes, which is all the system takes. Use a shorter one.")
    }
    try removeStale(path, &name)
    let descriptor = socket(AF_UNIX, CLinuxSocket.stream, 0)
    guard descriptor >= 0 else { throw failure("make a socket for", path) }
    fchmod(descriptor, 0o600)  // before bind: the file is made with this mode and is never open to others
    do throws(ListenError) {
      guard bind(descriptor, &name) == 0 else { throw failure("listen on", path) }
      if let group { try open(path, to: group) }
      guard listen(descriptor, WireLimits.listenBacklog) == 0 else { throw failure("listen on", path) }
    } catch {
      _ = CLinux.close(descriptor)
      throw error
    }
    return ListeningSocket(descriptor: descriptor, address: .unix(path: path), file: identity(of: path))
  }

  /// Before anybody can connect.
  private static func open(_ path: String, to group: UInt32) throws(ListenError) {
    guard chown(path, .max, group) == 0, chmod(path, 0o660) == 0 else {
      let reason = String(cString: strerror(errno))
      unlink(path)
      throw ListenError(
        "The socket \(path) cannot be given to group \(group): \(reason). Start the server as root, or as a member of the group.")
    }
  }

  /// Removes the file of a server that is gone; refuses when one answers there, or when the file is something else.
  private static func removeStale(_ path: String, _ name: inout sockaddr_un) throws(ListenError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & 0o170000 == 0o140000 else {  // S_IFMT, S_IFSOCK
      throw ListenError("\(path) exists and is not a socket. Remove it, or listen somewhere else.")
    }
    let probe = socket(AF_UNIX, CLinuxSocket.stream | CLinuxSocket.nonBlocking, 0)
    guard probe >= 0 else { throw failure("make a socket for", path) }
    defer { _ = CLinux.close(probe) }
    let isConnected = connect(probe, &name) == 0
    if isConnected && isGone(SocketOptions.unixPeer(of: probe)?.pid ?? 0) {
      // A server that was killed: the kernel still holds its socket, as long as requests to its disks are under way.
    } else if isConnected || errno == EAGAIN {
      throw ListenError("A server already listens on \(path). Stop it, or listen somewhere else.", mayPass: true)
    } else {
      guard errno == ECONNREFUSED else { throw failure("look who listens on", path) }
    }
    guard unlink(path) == 0 || errno == ENOENT else { throw failure("remove the stale socket", path) }
  }

  /// A process of another namespace has the number 0 here: nobody can tell.
  private static func isGone(_ process: Int32) -> Bool { process > 0 && kill(process, 0) != 0 && errno == ESRCH }

  private static func socketName(_ path: String) -> sockaddr_un? {
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count <= WireLimits.socketPathByteCount, !path.utf8.contains(0) else { return nil }
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
    return name
  }

  private static func bind(_ descriptor: Int32, _ name: inout sockaddr_un) -> Int32 {
    withSocketAddress(&name) { CLinux.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
  }

  private static func connect(_ descriptor: Int32, _ name: inout sockaddr_un) -> Int32 {
    withSocketAddress(&name) { CLinux.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
  }

  private static func withSocketAddress(_ name: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>) -> Int32) -> Int32 {
    withUnsafePointer(to: &name) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) } }
  }

  private static func identity(of path: String) -> FileIdentity? {
    var status = stat()
    return lstat(path, &status) == 0 ? FileIdentity(device: status.st_dev, inode: status.st_ino) : nil
  }

  // MARK: TCP

  private static func openTCP(_ host: String, _ port: UInt16) throws(ListenError) -> [ListeningSocket] {
    var hints = addrinfo()
    hints.ai_socktype = CLinuxSocket.streamType
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var results: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host, String(port), &hints, &results)
    guard status == 0 else {
      throw ListenError("The host \(host) is not known: \(String(cString: gai_strerror(status))). Give an address of this machine.")
    }
    defer { freeaddrinfo(results) }
    var sockets: [ListeningSocket] = []
    var next = results
    while let entry = next?.pointee {
      next = entry.ai_next
      do throws(ListenError) { sockets.append(try openTCP(entry, host, port)) } catch {
        for socket in sockets { socket.close() }
        throw error
      }
    }
    return sockets
  }

  private static func openTCP(_ entry: addrinfo, _ host: String, _ port: UInt16) throws(ListenError) -> ListeningSocket {
    let place = "\(host):\(port)"
    let descriptor = socket(entry.ai_family, CLinuxSocket.stream, 0)
    guard descriptor >= 0 else { throw failure("make a socket for", place) }
    SocketOptions.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)  // a restart need not wait for old connections to be forgotten
    if entry.ai_family == AF_INET6 { SocketOptions.set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    guard CLinux.bind(descriptor, entry.ai_addr, entry.ai_addrlen) == 0, listen(descriptor, WireLimits.listenBacklog) == 0,
      let name = SocketOptions.boundName(of: descriptor)
    else {
      let error = failure("listen on", place)
      _ = CLinux.close(descriptor)
      throw error
    }
    return ListeningSocket(descriptor: descriptor, address: .tcp(host: name.host, port: name.port), file: nil)
  }

  /// From errno.
  private static func failure(_ deed: String, _ place: String) -> ListenError {
    let number = errno
    let remedy =
      switch number {
      case EACCES, EPERM: "This user may not: check the directory's permissions, or take a port above 1023."
      case EADDRINUSE: "Another program listens there: stop it, or listen somewhere else."
      case EADDRNOTAVAIL: "This machine has no such address."
      case ENOENT: "The directory does not exist: make it first."
      case EMFILE, ENFILE: "Too many files are open: raise the limit, `ulimit -n` or LimitNOFILE=."
      default: "Listen somewhere else, or remove the cause."
      }
    return ListenError("Cannot \(deed) \(place): \(String(cString: strerror(number))). \(remedy)", mayPass: number == EADDRINUSE)
  }
}

/// socket(2)'s types: C enumerations that Swift imports as types of their own.
enum CLinuxSocket {
  static let streamType = Int32(SOCK_STREAM.rawValue)
  static let nonBlocking = Int32(SOCK_NONBLOCK.rawValue)
  static let stream = streamType | Int32(SOCK_CLOEXEC.rawValue)
}
