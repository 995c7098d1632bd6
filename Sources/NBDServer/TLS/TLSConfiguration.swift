/// Which keys and certificates the server has, and whether clients may do without.
public struct TLSConfiguration: Sendable, Equatable {
  /// Every client, on TCP and Unix sockets alike, has to ask for TLS before it gets or learns anything.
  public var isRequired: Bool
  /// With `ca-cert.pem`, `server-cert.pem`, `server-key.pem` and, if it is there, `ca-crl.pem`: the names that libnbd, nbdkit and qemu use.
  /// Once there was a `ca-crl.pem`, files without it are not taken into use.
  public var certificateDirectory: String?
  /// Lines of `user:hexkey`, as psktool makes them. Read at each handshake.
  public var pskFile: String?
  /// Clients without a pre-shared key must show a certificate that `ca-cert.pem` vouches for.
  public var verifiesPeer: Bool

  public init(isRequired: Bool, certificateDirectory: String? = nil, pskFile: String? = nil, verifiesPeer: Bool = false) {
    self.isRequired = isRequired
    self.certificateDirectory = certificateDirectory
    self.pskFile = pskFile
    self.verifiesPeer = verifiesPeer
  }

  /// True when nobody gets through a handshake without having proved who it is.
  public var authenticatesClients: Bool { isRequired && (verifiesPeer || certificateDirectory == nil) }

  /// Clients can prove who they are by a pre-shared key.
  public var takesKeys: Bool { pskFile != nil }
  /// Clients can prove who they are by a certificate.
  public var asksForCertificates: Bool { certificateDirectory != nil && verifiesPeer }

  enum FileName {
    static let authorities = "ca-cert.pem"
    static let certificate = "server-cert.pem"
    static let key = "server-key.pem"
    static let revocations = "ca-crl.pem"
  }

  func path(_ name: String) -> String? { certificateDirectory.map { "\($0)/\(name)" } }
}

/// Why the server cannot speak TLS: a whole sentence, with what to do.
public struct TLSError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}
