import ArgumentParser
import Management
import NBDServer

/// The spellings of --tls.
enum TLSMode: String, ExpressibleByArgument, CaseIterable {
  case off, offer, require
}

/// Whether the server speaks TLS, and with which keys.
struct TLSOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Whether clients must encrypt (require), may (offer), or cannot (off), on TCP and Unix sockets alike. With keys else require.",
      valueName: "mode"))
  var tls: TLSMode?

  @Option(
    help: ArgumentHelp(
      "Certificates for TLS: ca-cert.pem, server-cert.pem, server-key.pem and, if there is one, ca-crl.pem.", valueName: "dir"))
  var tlsCertificates: String?

  @Flag(help: "Clients must show a certificate that ca-cert.pem vouches for, unless they have a pre-shared key.")
  var tlsVerifyPeer = false

  @Option(help: ArgumentHelp("Pre-shared keys for TLS, as psktool makes them: lines of USER:HEXKEY.", valueName: "file"))
  var tlsPSK: String?

  func validate() throws {
    let hasKeys = tlsCertificates != nil || tlsPSK != nil
    if let tls, tls != .off, !hasKeys {
      throw ValidationError("--tls \(tls.rawValue) needs keys. Give --tls-certificates DIR or --tls-psk FILE.")
    }
    if tls == .off && (hasKeys || tlsVerifyPeer) { throw ValidationError("Keys for TLS were given, and --tls off. Give either.") }
    if tlsVerifyPeer && tlsCertificates == nil {
      throw ValidationError("--tls-verify-peer needs the authority's certificate. Give --tls-certificates DIR.")
    }
  }

  /// nil without TLS.
  func configuration() throws(APIError) -> TLSConfiguration? {
    guard tlsCertificates != nil || tlsPSK != nil else { return nil }
    var configuration = TLSConfiguration(isRequired: tls != .offer, verifiesPeer: tlsVerifyPeer)
    if let tlsCertificates { configuration.certificateDirectory = try Paths.absolute(tlsCertificates) }
    if let tlsPSK { configuration.pskFile = try Paths.absolute(tlsPSK) }
    return configuration
  }
}
