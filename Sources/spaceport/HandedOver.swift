import Management
import Systemd

/// What a service manager has handed to this process: sockets that listen, and whom to tell how the server is.
struct HandedOver: Sendable {
  var sockets: [InheritedSocket] = []
  var manager: ServiceManager?

  /// - Throws: `APIError` for what makes no sense.
  static func take() throws(APIError) -> HandedOver {
    do throws(ServiceManagerError) {
      let handedOver = HandedOver(sockets: try InheritedSockets.take(), manager: ServiceManager.take())
      if let control = handedOver.sockets.first(where: { $0.name == "control" }) {
        throw ServiceManagerError(
          "The control socket cannot be handed over (descriptor \(control.descriptor)). Remove it from the socket unit: the server makes its own, at "
            + "--control.")
      }
      return handedOver
    } catch {
      throw APIError(.badRequest, String(error.description.dropLast()), remedy: "")
    }
  }
}
