import CTLS

/// One client's TLS session over buffers in memory. Used by one thread at a time: during the handshake that of its `TLSContext`, then the
/// reactor's.
final class TLSSession: @unchecked Sendable {
  enum Progress: Sendable {
    case done, again, failed
  }

  private let pointer: OpaquePointer
  private let credentials: TLSCredentials  // the session uses them to its end

  init?(_ credentials: TLSCredentials) {
    guard let pointer = ctls_session_new(credentials.pointer, TLSLimits.inputByteCount, TLSLimits.outputByteCount) else { return nil }
    self.pointer = pointer
    self.credentials = credentials
  }

  deinit { ctls_session_free(pointer) }

  func handshake() -> Progress {
    switch Int(ctls_handshake(pointer)) {
    case 0: .done
    case CTLS_AGAIN: .again
    default: .failed
    }
  }

  // MARK: Bytes of the network

  var inputRoom: UnsafeMutableRawBufferPointer {
    var count = 0
    let start = ctls_input_room(pointer, &count)
    return UnsafeMutableRawBufferPointer(start: start, count: count)
  }

  func addInput(_ byteCount: Int) { ctls_input_add(pointer, byteCount) }

  var output: UnsafeRawBufferPointer {
    var count = 0
    let start = ctls_output(pointer, &count)
    return UnsafeRawBufferPointer(start: start, count: count)
  }

  func removeOutput(_ byteCount: Int) { ctls_output_remove(pointer, byteCount) }

  /// Lets the system have the pages of buffers back that hold nothing.
  func giveBackMemory() { ctls_give_back_memory(pointer) }

  // MARK: Bytes of the client

  enum Transfer {
    case moved(Int)
    /// Nothing moves before more was received, or what there is was sent.
    case again
    case failed
  }

  func open(into memory: UnsafeMutableRawBufferPointer) -> Transfer {
    TLSSession.transfer(ctls_open(pointer, memory.baseAddress, memory.count))
  }

  func seal(_ memory: UnsafeRawBufferPointer) -> Transfer { TLSSession.transfer(ctls_seal(pointer, memory.baseAddress, memory.count)) }

  func sayGoodbye() { ctls_bye(pointer) }

  private static func transfer(_ result: Int) -> Transfer {
    result >= 0 ? .moved(result) : result == CTLS_AGAIN ? .again : .failed
  }

  // MARK: Facts

  var errorText: String { String(cString: ctls_error_text(pointer)) }

  /// Who the client proved to be, once the handshake is done.
  var peer: TLSPeer {
    var description = TLSSession.textBuffer
    ctls_describe(pointer, &description)
    var commonName = TLSSession.textBuffer
    var distinguishedName = TLSSession.textBuffer
    var fingerprint = [UInt8](repeating: 0, count: Int(CTLS_FINGERPRINT_BYTES))
    var peer = TLSPeer(cipher: String(cText: description))
    peer.pskUser = ctls_psk_user(pointer).flatMap { String(validatingCString: $0) }
    if ctls_peer_certificate(pointer, &commonName, &distinguishedName, &fingerprint) {
      peer.certificate = TLSPeer.Certificate(
        commonName: String(validCText: commonName) ?? "", distinguishedName: String(validCText: distinguishedName) ?? "",
        fingerprint: fingerprint)
    }
    return peer
  }

  private static var textBuffer: [CChar] { [CChar](repeating: 0, count: Int(CTLS_TEXT_BYTES)) }
}

/// What a client's TLS handshake has shown.
public struct TLSPeer: Sendable, Equatable {
  public struct Certificate: Sendable, Equatable {
    /// Empty when the subject has none, or several, or one that is not UTF-8.
    public var commonName: String
    /// The subject as RFC 4514 writes it; empty when it is longer than 511 bytes, or not UTF-8.
    public var distinguishedName: String
    /// SHA-256 of the whole certificate.
    public var fingerprint: [UInt8]

    public init(commonName: String, distinguishedName: String, fingerprint: [UInt8]) {
      self.commonName = commonName
      self.distinguishedName = distinguishedName
      self.fingerprint = fingerprint
    }
  }

  /// Protocol and cipher suite, for people.
  public var cipher: String
  /// Whose pre-shared key it has; nil also for a name that is not UTF-8, which no rule can name.
  public var pskUser: String?
  /// One that was verified; nil when none was asked for.
  public var certificate: Certificate?

  public init(cipher: String, pskUser: String? = nil, certificate: Certificate? = nil) {
    self.cipher = cipher
    self.pskUser = pskUser
    self.certificate = certificate
  }
}
