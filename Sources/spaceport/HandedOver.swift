import Glibc
import Management
import Systemd

/// What a service manager has handed to this process: sockets that listen, and whom to tell how the server is.
struct HandedOver: Sendable {
  /// For NBD.
  var sockets: [InheritedSocket] = []
  /// The one that is named `control`.
  var control: InheritedSocket?
  var manager: ServiceManager?

  private static let controlName = "control"

  /// - Throws: `APIError` for what makes no sense.
  static func take() throws(APIError) -> HandedOver {
    do throws(ServiceManagerError) {
      let sockets = try InheritedSockets.take()
      let controls = sockets.filter { $0.name == controlName }
      guard controls.count <= 1 else {
        throw ServiceManagerError("More than one socket is named \(controlName). Give the NBD sockets another FileDescriptorName=.")
      }
      return HandedOver(
        sockets: sockets.filter { $0.name != controlName }, control: controls.first, manager: ServiceManager.take())
    } catch {
      throw APIError(.badRequest, String(error.description.dropLast()), remedy: "")
    }
  }

  /// Where clients find the control socket; nil when none was handed over.
  /// - Throws: `APIError` when it is no Unix socket with a path.
  func controlPath() throws(APIError) -> String? {
    guard let control else { return nil }
    var name = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let isKnown = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(control.descriptor, $0, &length) == 0 }
    }
    let path = withUnsafeBytes(of: &name.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    guard isKnown, Int32(name.sun_family) == AF_UNIX, path.hasPrefix("/") else {
      throw APIError(
        .badRequest, "The control socket that the service manager handed over has no path",
        remedy: "Use ListenStream=/run/spaceport/control.sock")
    }
    return path
  }
}
