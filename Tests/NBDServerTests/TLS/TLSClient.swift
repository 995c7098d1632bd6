import CGnuTLS
import CLinux
import Testing

/// A client's side of TLS over the blocking socket of a `RawClient`, by GnuTLS's own functions. It sends exactly what it is told to.
final class TLSClient {
  struct Failed: Error, CustomStringConvertible {
    var code: Int32
    var description: String { String(cString: gnutls_strerror(code)) }
  }

  let raw: RawClient
  private var session: gnutls_session_t?
  private var certificates: gnutls_certificate_credentials_t?
  private var psk: gnutls_psk_client_credentials_t?

  static let modern = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK"
  static let tls12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK"

  /// After STARTTLS was acknowledged; no byte of TLS is exchanged yet. `directory` has a client's certificate.
  init(_ raw: RawClient, priority: String = TLSClient.modern, directory: String? = nil, psk key: (user: String, hex: String)? = nil) throws
  {
    self.raw = raw
    try check(gnutls_init(&session, 2 | 1 << 6))  // GNUTLS_CLIENT, GNUTLS_NO_SIGNAL
    try check(gnutls_priority_set_direct(session, priority, nil))
    try check(gnutls_certificate_allocate_credentials(&certificates))
    if let directory {
      try check(
        gnutls_certificate_set_x509_key_file(
          certificates, "\(directory)/client-cert.pem", "\(directory)/client-key.pem", GNUTLS_X509_FMT_PEM))
    }
    try check(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(certificates)))
    if let key {
      try check(gnutls_psk_allocate_client_credentials(&psk))
      var hex = Array(key.hex.utf8)
      try hex.withUnsafeMutableBufferPointer {
        var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
        try check(gnutls_psk_set_client_credentials(psk, key.user, &datum, GNUTLS_PSK_KEY_HEX))
      }
      try check(gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(psk)))
    }
    gnutls_transport_set_int2(session, raw.descriptor, raw.descriptor)
  }

  deinit {
    gnutls_deinit(session)
    if let certificates { gnutls_certificate_free_credentials(certificates) }
    if let psk { gnutls_psk_free_client_credentials(psk) }
  }

  @discardableResult
  private func check(_ result: Int32) throws -> Int32 {
    if result < 0 { throw Failed(code: result) }
    return result
  }

  /// The client's side: with TLS 1.3 it is done before the server has judged its certificate.
  func handshake() throws {
    while true {
      let result = gnutls_handshake(session)
      if result == 0 { return }
      if gnutls_error_is_fatal(result) != 0 { throw Failed(code: result) }
    }
  }

  /// As far as it goes without the server.
  func handshakeStep() { _ = gnutls_handshake(session) }

  func limitRecords(to byteCount: Int) throws { try check(Int32(gnutls_record_set_max_size(session, byteCount))) }

  /// Its own keys change; with `peer` the server is asked to change its too.
  func updateKeys(peer: Bool) throws { try check(gnutls_session_key_update(session, peer ? 1 : 0)) }

  /// The server's certificate, in DER.
  func serverCertificate() -> [UInt8] {
    var count: UInt32 = 0
    guard let chain = gnutls_certificate_get_peers(session, &count), count > 0 else { return [] }
    return Array(UnsafeBufferPointer(start: chain[0].data, count: Int(chain[0].size)))
  }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { gnutls_record_send(session, $0.baseAddress, $0.count) }
      if count < 0 { throw Failed(code: Int32(count)) }
      rest = rest.dropFirst(count)
    }
  }

  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let got = bytes.withUnsafeMutableBytes { gnutls_record_recv(session, $0.baseAddress! + filled, count - filled) }
      if got == 0 { throw RawClient.Disconnected() }
      if got == Int(GNUTLS_E_AGAIN) { continue }  // a record that was no data: the server's new keys
      if got < 0 { throw Failed(code: Int32(got)) }
      filled += got
    }
    return bytes
  }

  /// True when the server said goodbye in TLS; false when the stream just ended, or something came.
  func isLeftInOrder() -> Bool {
    var byte: UInt8 = 0
    return gnutls_record_recv(session, &byte, 1) == 0
  }

  // MARK: NBD

  func ask(_ number: UInt32, _ data: [UInt8] = []) throws -> [RawClient.OptionReply] {
    try send(RawClient.option(number, data))
    var replies: [RawClient.OptionReply] = []
    while true {
      let header = try receive(20)
      let length: UInt32 = integer(header, 16)
      let reply = RawClient.OptionReply(option: integer(header, 8), type: integer(header, 12), data: try receive(Int(length)))
      replies.append(reply)
      if reply.type == 1 || reply.type >= 1 << 31 { return replies }
    }
  }

  func enter(_ name: String = "disk") throws { try #require(try ask(7, RawClient.query(name)).last?.type == 1) }

  func receiveReply() throws -> (error: UInt32, cookie: UInt64) {
    let header = try receive(16)
    #expect(Array(header[0..<4]) == bigEndian(UInt32(0x6744_6698)))
    return (integer(header, 4), integer(header, 8))
  }

  func write(_ payload: [UInt8], at offset: UInt64) throws -> UInt32 {
    try send(RawClient.request(1, cookie: 5, at: offset, length: UInt32(payload.count), payload: payload))
    return try receiveReply().error
  }

  func read(at offset: UInt64, length: UInt32) throws -> [UInt8] {
    try send(RawClient.request(0, cookie: 6, at: offset, length: length))
    #expect(try receiveReply().error == 0)
    return try receive(Int(length))
  }
}

extension RawClient {
  /// Greets and asks for TLS, which must be granted.
  func startTLS() throws {
    try greet()
    try #require(try ask(5) == [OptionReply(option: 5, type: 1, data: [])])
  }
}
