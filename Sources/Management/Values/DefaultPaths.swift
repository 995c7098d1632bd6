import Glibc

/// Where server and clients look when they aren't told: under /run and /var/lib for root, and where the XDG Base Directory
/// Specification says for others.
public struct DefaultPaths: Sendable {
  /// The user whose paths these are.
  let userID: UInt32
  let environment: [String: String]

  /// The variable by which clients and server find the control socket when --control isn't given.
  public static let controlVariable = "SPACEPORT_CONTROL"

  /// - Parameter userID: the effective user id.
  public init(userID: UInt32, environment: [String: String]) {
    self.userID = userID
    self.environment = environment
  }

  /// An absolute directory out of a variable. The specification says to ignore relative ones.
  private func directory(_ variable: String) -> String? {
    environment[variable].flatMap { $0.utf8.first == UInt8(ascii: "/") ? $0 : nil }
  }

  /// Whether the runtime directory lies in /tmp, where any user can make it first.
  private var runtimeDirectoryIsShared: Bool { userID != 0 && directory("XDG_RUNTIME_DIR") == nil }

  /// The directory of the sockets.
  public var runtimeDirectory: String {
    if userID == 0 { return "/run/spaceport" }
    if let base = directory("XDG_RUNTIME_DIR") { return "\(base)/spaceport" }
    return "/tmp/spaceport-\(userID)"
  }

  /// The control socket when neither --control nor SPACEPORT_CONTROL is given.
  public var controlSocket: String { "\(runtimeDirectory)/control.sock" }

  /// Where NBD clients are served when --listen isn't given.
  public var nbdSocket: String { "\(runtimeDirectory)/nbd.sock" }

  /// The server's state directory when --state-dir isn't given.
  /// - Throws: `APIError` when the environment doesn't say where the user's files are.
  public func stateDirectory() throws(APIError) -> String {
    if userID == 0 { return "/var/lib/spaceport" }
    if let base = directory("XDG_STATE_HOME") { return "\(base)/spaceport" }
    if let home = directory("HOME") { return "\(home)/.local/state/spaceport" }
    throw APIError(
      .badRequest, "No place for the server's state is known: neither XDG_STATE_HOME nor HOME is an absolute path",
      remedy: "Give a directory with --state-dir")
  }

  /// The control socket to use: the option, else the variable, else the default.
  public func controlSocket(option: String?) -> String {
    if let option { return option }
    if let value = environment[Self.controlVariable], !value.isEmpty { return value }
    return controlSocket
  }

  /// Makes the runtime directory (mode 0700 for a user, 0755 for root, whose sockets carry their own modes) where it is missing, and
  /// makes sure that nobody else can put sockets of his own in it.
  /// - Throws: `APIError` that names the directory and what is wrong with it.
  public func prepareRuntimeDirectory() throws(APIError) {
    try Directories.create(runtimeDirectory, mode: userID == 0 ? 0o755 : 0o700)
    try Directories.requirePrivate(runtimeDirectory, userID: userID)
  }

  /// Makes sure that a default control socket in /tmp is the user's own, since whoever makes that directory first could pose as the
  /// server. Does nothing for other paths.
  /// - Throws: `APIError` that names the directory and what is wrong with it.
  public func checkControlSocket(_ path: String) throws(APIError) {
    guard runtimeDirectoryIsShared, path == controlSocket, Directories.exists(runtimeDirectory) else { return }
    try Directories.requirePrivate(runtimeDirectory, userID: userID)
  }
}

/// Directories that this program makes or relies on.
public enum Directories {
  /// Makes a directory, with those above it, where it is missing.
  /// - Parameter mode: permission bits of the last one; those above it get 0755.
  /// - Throws: `APIError` that names the directory and why it can't be made.
  public static func create(_ path: String, mode: UInt32) throws(APIError) {
    let bytes = path.utf8
    var end = bytes.startIndex
    while end != bytes.endIndex {
      let next = bytes[bytes.index(after: end)...].firstIndex(of: UInt8(ascii: "/")) ?? bytes.endIndex
      let part = String(decoding: bytes[..<next], as: UTF8.self)
      end = next
      let isLast = next == bytes.endIndex
      if mkdir(part, isLast ? mode_t(mode) : 0o755) != 0 {
        let code = errno
        // A directory above may exist and refuse mkdir for another reason (EROFS, EACCES) than that it exists.
        if isDirectory(part) { continue }
        throw APIError(
          .permissionDenied, "The directory \(part) can't be made: \(errorText(code))",
          remedy: "Make it yourself, or choose another place with the options of spaceport serve")
      }
    }
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  private static func isDirectory(_ path: String) -> Bool {
    var information = stat()
    return stat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
  }

  /// - Throws: `APIError` unless the path is a directory (not a link to one) of that user's, in which nobody else may write.
  static func requirePrivate(_ path: String, userID: UInt32) throws(APIError) {
    var information = stat()
    guard lstat(path, &information) == 0 else {
      throw APIError(.ioError, "The directory \(path) can't be looked at: \(errorText(errno))", remedy: "Choose a socket with --control")
    }
    let fault: String
    if information.st_mode & S_IFMT != S_IFDIR {
      fault = "is not a directory"
    } else if information.st_uid != userID {
      fault = "belongs to user \(information.st_uid), not to you"
    } else if information.st_mode & 0o022 != 0 {
      fault = "can be written by other users"
    } else {
      return
    }
    throw APIError(
      .permissionDenied, "\(path) \(fault), so whoever made it could pose as the server",
      remedy: "Remove it, or set XDG_RUNTIME_DIR, or choose a socket with --control")
  }

  /// What the operating system calls an error number.
  static func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }
}
