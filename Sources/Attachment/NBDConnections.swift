import CAttach
import CLinux
import Management
import NBDServer

/// Connections to an export, past their handshake, until they are closed. The kernel keeps what it was given.
public struct NBDConnections: ~Copyable {
  var descriptors: [Int32] = []
  var byteCount: UInt64 = 0
  var flags: UInt64 = 0

  /// Blocks for at most the handshakes' time.
  public init(to export: String, at address: ListenAddress, count: Int) throws(APIError) {
    for _ in 0..<count {
      var connection = cattach_connection(descriptor: -1, byte_count: 0, flags: 0)
      try KernelNBD.call("No connection to the export \(export) at \(address)") { message in
        switch address {
        case .unix(let path): cattach_connect(path, nil, nil, export, AttachmentLimits.handshakeMilliseconds, &connection, message)
        case .tcp(let host, let port):
          cattach_connect(nil, host, "\(port)", export, AttachmentLimits.handshakeMilliseconds, &connection, message)
        }
      }
      descriptors.append(connection.descriptor)
      byteCount = connection.byte_count
      flags = connection.flags
    }
  }

  /// None.
  init() {}

  deinit { for descriptor in descriptors { close(descriptor) } }
}
