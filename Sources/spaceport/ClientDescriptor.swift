import Glibc
import Management

/// The socket of the one client that an inetd-like program has handed over.
enum ClientDescriptor {
  /// A descriptor of our own for it. Standard streams that are the same socket lead nowhere from then on: nobody but the session may write to the
  /// client, and when the session is closed, so is the socket.
  /// - Throws: `APIError` when it is not a connected stream socket.
  static func take(_ descriptor: Int32) throws(APIError) -> Int32 {
    var peer = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let isConnected = withUnsafeMutablePointer(to: &peer) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) == 0 }
    }
    guard isConnected, type(of: descriptor) == Int32(SOCK_STREAM.rawValue), let identity = identity(of: descriptor) else {
      throw APIError(
        .badRequest, "The descriptor \(descriptor) is not a connected stream socket",
        remedy:
          "Let inetd, systemd (Accept=yes, StandardInput=socket) or an NBD client start 'spaceport serve --inetd', or give the socket with --fd"
      )
    }
    let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
    let nowhere = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard own >= 0, nowhere >= 0 else {
      throw APIError(
        .ioError, "The client's socket cannot be taken over: \(String(cString: strerror(errno)))", remedy: "Raise the limit of open files")
    }
    for stream in Int32(0)...2 where self.identity(of: stream) == identity { dup2(nowhere, stream) }
    if descriptor > 2 { close(descriptor) }
    close(nowhere)
    return own
  }

  private struct Identity: Equatable {
    var device: UInt
    var inode: UInt
  }

  private static func identity(of descriptor: Int32) -> Identity? {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? Identity(device: status.st_dev, inode: status.st_ino) : nil
  }

  private static func type(of descriptor: Int32) -> Int32 {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &value, &length) == 0 ? value : -1
  }
}
