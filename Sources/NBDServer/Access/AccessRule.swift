/// Who may open an export, and how. A list without a name in it refuses nobody.
///
/// Two questions are asked. Where from: if `users` or `peers` names anybody, a client must be one of those users on a Unix socket, or come from
/// one of those networks. Who by TLS: if `certificates` or `pskUsers` names anybody, a client must have proved to be one of those. So naming a
/// user shuts TCP out, and naming a certificate shuts out all that is not encrypted.
public struct AccessRule: Sendable, Hashable, Codable {
  public var isReadOnly: Bool
  /// Numbers of Unix users. Root is no exception.
  public var users: [UInt32]
  public var peers: [NetworkRange]
  /// The certificate's common name, its distinguished name (any text with `=`), or `sha256:` and its fingerprint in hexadecimal.
  public var certificates: [String]
  public var pskUsers: [String]

  public static let everybody = AccessRule()

  public init(
    isReadOnly: Bool = false, users: [UInt32] = [], peers: [NetworkRange] = [], certificates: [String] = [], pskUsers: [String] = []
  ) {
    self.isReadOnly = isReadOnly
    self.users = users
    self.peers = peers
    self.certificates = certificates
    self.pskUsers = pskUsers
  }

  public func admission(of client: ClientIdentity) -> Admission {
    guard isRightOrigin(client.origin), isRightName(client.tls) else { return .denied }
    return isReadOnly ? .readOnly : .readWrite
  }

  /// Whether a client that is denied in the clear may be admitted over TLS: it comes from the right place, and has not shown who it is.
  public func needsTLS(of client: ClientIdentity) -> Bool { client.tls == nil && isRightOrigin(client.origin) && !isRightName(nil) }

  private func isRightOrigin(_ origin: ClientIdentity.Origin) -> Bool {
    if users.isEmpty && peers.isEmpty { return true }
    switch origin {
    case .unix(let uid): return users.contains(uid)
    case .network(let address): return peers.contains { $0.contains(address) }
    case .unknown: return false
    }
  }

  private func isRightName(_ tls: TLSPeer?) -> Bool {
    if certificates.isEmpty && pskUsers.isEmpty { return true }
    if let user = tls?.pskUser { return pskUsers.contains { $0.utf8.elementsEqual(user.utf8) } }
    guard let certificate = tls?.certificate else { return false }
    return certificates.contains { certificate.isNamed($0) }
  }
}

/// How an export may be opened. What is more is greater.
public enum Admission: Int, Sendable, Comparable {
  case denied, readOnly, readWrite

  public static func < (left: Admission, right: Admission) -> Bool { left.rawValue < right.rawValue }
}

extension AccessRule {
  /// Whether a certificate could have that name: a fingerprint is 64 hexadecimal digits.
  public static func isCertificateName(_ name: String) -> Bool {
    guard name.hasPrefix(TLSPeer.Certificate.fingerprintPrefix) else { return true }
    let digits = name.utf8.dropFirst(TLSPeer.Certificate.fingerprintPrefix.utf8.count)
    return digits.count == 64 && digits.allSatisfy { $0 < 0x80 && Character(UnicodeScalar($0)).isHexDigit }
  }
}

extension TLSPeer.Certificate {
  static let fingerprintPrefix = "sha256:"

  /// Compared as a whole, byte by byte: Unicode knows several spellings of one text, an authority may not.
  func isNamed(_ name: String) -> Bool {
    if name.hasPrefix(Self.fingerprintPrefix) { return name.dropFirst(Self.fingerprintPrefix.count).lowercased() == fingerprintText }
    let own = name.contains("=") ? distinguishedName : commonName
    return !own.isEmpty && own.utf8.elementsEqual(name.utf8)
  }

  private var fingerprintText: String {
    fingerprint.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

extension NetworkRange: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    do throws(NetworkRangeError) { try self.init(parsing: text) } catch {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
