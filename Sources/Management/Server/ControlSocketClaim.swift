import Glibc

/// The right of this process to be the server at a control socket's path.
///
/// A lock on a file beside the socket settles who is the server, also between two that start at the same moment. The socket itself is
/// made under a private directory and renamed into place, so that there is no moment at which others could connect to it, and none at
/// which a dead server's socket is gone and the new one not there.
///
/// A server takes the claim first of all, before it opens pools, and publishes the socket last, when it has something to say.
public final class ControlSocketClaim: Sendable {
  /// The control socket's path.
  public let path: String
  /// Where the listener has to be bound.
  let bindPath: String
  /// The group whose members may use it; nil for none.
  let group: UInt32?
  /// A socket at `path` that a service manager has opened, and that is served instead of one of our own; nil when there is none.
  let inherited: Int32?
  private let bindDirectory: String
  private let lockDescriptor: Int32

  /// Takes the claim and holds it while this object lives. No socket is there yet.
  /// - Parameters:
  ///   - path: the control socket's absolute path; its directory must exist.
  ///   - group: by name or number. The mode of a socket that a service manager has opened is the manager's.
  ///   - inherited: the descriptor of such a socket, which listens at `path`.
  /// - Throws: `APIError` with code `busy` when a live server has the path, or one that says why there can't be a socket.
  public init(path: String, group: String? = nil, inherited: Int32? = nil) throws(APIError) {
    self.path = path
    self.inherited = inherited
    self.group = if let group { try UnixGroup.number(of: group) } else { nil }
    // Paths are bytes: a mark after a slash makes another character of the two, and still a slash to the kernel.
    let separator = UInt8(ascii: "/")
    guard let slash = path.utf8.lastIndex(of: separator), path.utf8.first == separator, path.utf8.last != separator else {
      throw APIError(
        .badRequest, "The control socket path \"\(path)\" is not the absolute path of a file",
        remedy: "Give a path that begins with / and does not end with it")
    }
    // As short as can be, because the whole has to fit the length limit.
    self.bindDirectory = "\(path[..<slash])/.\(getpid())"
    self.bindPath = "\(bindDirectory)/s"
    guard max(path.utf8.count, bindPath.utf8.count) <= Limits.socketPathByteCount else {
      throw APIError(
        .badRequest, "The control socket path \(path) is too long: a Unix socket's path has at most \(Limits.socketPathByteCount) bytes",
        remedy: "Choose a shorter one with --control")
    }
    self.lockDescriptor = try Self.lock("\(path).lock", socketPath: path)
    // When this throws, all properties are set, so that deinit runs and closes the lock.
    if inherited == nil { try Self.refuseForeign(path) }
  }

  deinit { close(lockDescriptor) }

  private static func lock(_ lockPath: String, socketPath: String) throws(APIError) -> Int32 {
    let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else {
      let code = errno
      throw APIError(
        code == EACCES ? .permissionDenied : .ioError, "The control socket \(socketPath) can't be made: \(Directories.errorText(code))",
        remedy: "Make its directory writable for this user, or choose another socket with --control")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      throw alreadyRunning(socketPath)
    }
    return descriptor
  }

  private static func alreadyRunning(_ path: String) -> APIError {
    APIError(
      .busy, "A server is already running at the control socket \(path)",
      remedy: "Use that one, stop it first, or give this one another socket with --control and another --state-dir")
  }

  /// Refuses to replace anything but the socket of a server that is gone.
  private static func refuseForeign(_ path: String) throws(APIError) {
    var information = stat()
    guard lstat(path, &information) == 0 else { return }
    guard information.st_mode & S_IFMT == S_IFSOCK else {
      throw APIError(
        .alreadyExists, "\(path) exists and is not a socket", remedy: "Move it away, or choose another control socket with --control")
    }
    if try answers(path) { throw alreadyRunning(path) }
  }

  /// Whether someone listens at a socket: a program without our lock, perhaps on another machine's view of the directory.
  private static func answers(_ path: String) throws(APIError) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else {
      throw APIError(.ioError, "No socket can be made: \(Directories.errorText(errno))", remedy: "Raise the limit of open files")
    }
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let outcome = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    // EAGAIN is a listener with a full queue. Only a refusal says that nobody is there.
    return outcome == 0 || (errno != ECONNREFUSED && errno != ENOENT)
  }

  /// Makes the private directory in which the listener is bound.
  func prepareToBind() throws(APIError) {
    // A directory of this name can only be left over from a killed process that had our number: others don't get to this point.
    unlink(bindPath)
    rmdir(bindDirectory)
    guard mkdir(bindDirectory, 0o700) == 0 else {
      throw APIError(
        .ioError, "The directory \(bindDirectory) can't be made: \(Directories.errorText(errno))",
        remedy: "Remove it if it exists, or choose another control socket with --control")
    }
  }

  /// Puts the bound listener in its place: with mode 0600, or 0660 where there is a group.
  func publish() throws(APIError) {
    if inherited != nil {
      removeBound()
      return
    }
    if let group, chown(bindPath, .max, group) != 0 {
      throw APIError(
        .permissionDenied, "The control socket \(path) can't be given to group \(group): \(Directories.errorText(errno))",
        remedy: "Name a group that this user is a member of, or run the server as root")
    }
    guard chmod(bindPath, group == nil ? 0o600 : 0o660) == 0, rename(bindPath, path) == 0 else {
      throw APIError(
        .ioError, "The control socket \(path) can't be put in its place: \(Directories.errorText(errno))",
        remedy: "Choose another one with --control")
    }
    rmdir(bindDirectory)
  }

  /// Takes the socket out of sight. The lock stays until the claim is gone.
  func withdraw() {
    if inherited == nil { unlink(path) }
    removeBound()
  }

  private func removeBound() {
    unlink(bindPath)
    rmdir(bindDirectory)
  }
}
