import Glibc
import Hummingbird
import HummingbirdCore
import NIOCore

/// Who may use the control socket: root, the server's own user, and the members of the group that the socket was given to. The socket's mode says
/// the same; this holds too where somebody has changed that, and its refusal says why.
struct ControlAccess: Sendable {
  let ownUser: UInt32
  /// nil when no group was named.
  let group: UInt32?

  func admits(user: UInt32, group peerGroup: UInt32, otherGroups: [UInt32]) -> Bool {
    if user == 0 || user == ownUser { return true }
    guard let group else { return false }
    return peerGroup == group || otherGroups.contains(group)
  }

  /// - Throws: `APIError` with code `permissionDenied` unless the process that has connected may.
  func check(_ channel: any Channel) async throws {
    guard let socket = channel as? any SocketOptionProvider else { throw refusal("of an unknown user") }
    let peer: PeerCredentials = try await socket.unsafeGetSocketOption(level: .socket, name: PeerCredentials.option).get()
    var otherGroups: [UInt32] = []
    if group != nil, let groups: PeerGroups = try? await socket.unsafeGetSocketOption(level: .socket, name: PeerGroups.option).get() {
      otherGroups = groups.numbers
    }
    guard admits(user: peer.user, group: peer.group, otherGroups: otherGroups) else { throw refusal("of user \(peer.user)") }
  }

  private func refusal(_ who: String) -> APIError {
    let whom = group.map { "root, user \(ownUser) and group \($0)" } ?? (ownUser == 0 ? "root" : "root and user \(ownUser)")
    return APIError(
      .permissionDenied, "The control socket does not answer a process \(who): it is for \(whom) only",
      remedy: "Run this as one of them, or start the server with --control-group GROUP")
  }
}

/// SO_PEERCRED's struct ucred (unix(7)).
private struct PeerCredentials {
  static let option = NIOBSDSocket.Option(rawValue: SO_PEERCRED)
  var process: Int32
  var user: UInt32
  var group: UInt32
}

/// The supplementary groups of the peer (SO_PEERGROUPS). A process with more than these is judged by its own group alone.
private struct PeerGroups {
  static let option = NIOBSDSocket.Option(rawValue: 59)
  private var list = InlineArray<1024, UInt32>(repeating: 0)

  /// What the kernel did not fill in is zero. So group 0 cannot be told from nothing, and is left out.
  var numbers: [UInt32] { list.indices.map { list[$0] }.filter { $0 != 0 } }
}

/// What is known of a call: with the connection it came over.
struct ControlContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let channel: any Channel

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }
}

/// Turns away who may not use the control socket, before any call is looked at.
struct PeerCheck: RouterMiddleware {
  typealias Context = ControlContext
  let access: ControlAccess

  func handle(_ request: Request, context: Context, next: (Request, Context) async throws -> Response) async throws -> Response {
    try await access.check(context.channel)
    return try await next(request, context)
  }
}
