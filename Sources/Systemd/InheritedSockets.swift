import CLinux

/// A listening socket that a service manager has opened and handed over (sd_listen_fds(3)).
public struct InheritedSocket: Sendable, Equatable {
  public var descriptor: Int32
  /// As the manager's FileDescriptorName= has it; empty when it gave no names.
  public var name: String

  public init(descriptor: Int32, name: String) {
    self.descriptor = descriptor
    self.name = name
  }
}

/// What a service manager said that makes no sense, and what to do.
public struct ServiceManagerError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}

public enum InheritedSockets {
  /// The first that is handed over (SD_LISTEN_FDS_START).
  static let firstDescriptor: Int32 = 3
  /// More than any configuration of ours has; a number beyond is a mistake, and would have us close or use what is not ours.
  static let most: Int32 = 64

  static let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]

  /// What these variables hand to the process of this number; nothing when they are another's.
  public static func parse(_ environment: [String: String], processID: Int32) throws(ServiceManagerError) -> [InheritedSocket] {
    guard let process = environment["LISTEN_PID"], let countText = environment["LISTEN_FDS"] else { return [] }
    guard let number = decimal(process), number > 0 else {
      throw ServiceManagerError("LISTEN_PID=\(process) is not the number of a process.")
    }
    if number != processID { return [] }
    guard let count = decimal(countText), (0...most).contains(count) else {
      throw ServiceManagerError("LISTEN_FDS=\(countText) is not a number of sockets from 0 to \(most).")
    }
    var names = [String](repeating: "", count: Int(count))
    if let text = environment["LISTEN_FDNAMES"] {
      names = count == 0 && text.isEmpty ? [] : text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard names.count == Int(count) else {
        throw ServiceManagerError("LISTEN_FDNAMES=\(text) names \(names.count) sockets, and LISTEN_FDS=\(countText) says another number.")
      }
    }
    return names.enumerated().map { InheritedSocket(descriptor: firstDescriptor + Int32($0.offset), name: $0.element) }
  }

  /// Takes over what was handed to this process: the sockets are closed on exec from then on, and the variables are gone, so that no child takes
  /// them for its own. Call it once, before other threads read the environment.
  public static func take() throws(ServiceManagerError) -> [InheritedSocket] {
    var environment: [String: String] = [:]
    for variable in variables { environment[variable] = getenv(variable).map { String(cString: $0) } }
    for variable in variables { unsetenv(variable) }
    let sockets = try parse(environment, processID: getpid())
    for socket in sockets {
      guard isListening(socket.descriptor) else {
        throw ServiceManagerError(
          "The descriptor \(socket.descriptor) that the service manager handed over is not a listening stream socket. Use ListenStream= and "
            + "Accept=no, or serve --inetd for one client.")
      }
      _ = clinux_fcntl_int(socket.descriptor, F_SETFD, FD_CLOEXEC)
    }
    return sockets
  }

  private static func isListening(_ descriptor: Int32) -> Bool {
    option(descriptor, SO_TYPE) == Int32(SOCK_STREAM.rawValue) && option(descriptor, SO_ACCEPTCONN) == 1
  }

  private static func option(_ descriptor: Int32, _ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
  }

  /// Decimal digits only, without a sign.
  private static func decimal(_ text: String) -> Int32? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Int32(text)
  }
}
