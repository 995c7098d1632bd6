/// Who a client is, as far as the system and TLS can say: what access rules go by.
public struct ClientIdentity: Sendable, Equatable {
  public enum Origin: Sendable, Equatable {
    /// A process of this user made the connection (SO_PEERCRED).
    case unix(uid: UInt32)
    case network(NetworkAddress)
    /// A socket of another kind, or one whose peer was gone.
    case unknown
  }

  public var origin: Origin
  /// nil in the clear.
  public var tls: TLSPeer?

  public init(origin: Origin, tls: TLSPeer? = nil) {
    self.origin = origin
    self.tls = tls
  }
}

extension TLSPeer {
  /// Who it is, for people; nil when TLS says nothing of that.
  public var name: String? {
    if let pskUser { return pskUser }
    guard let certificate else { return nil }
    return certificate.commonName.isEmpty ? certificate.distinguishedName : certificate.commonName
  }
}
