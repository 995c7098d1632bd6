extension Handshake {
  /// Before TLS where that is required, a client may ask for TLS or leave, and learns nothing.
  func checkTLS(_ option: UInt32) throws(OptionRefusal) {
    guard let tls, tls.configuration.isRequired, !socket.isEncrypted else { return }
    switch OptionNumber(rawValue: option) {
    case .startTLS, .abort: return
    default: throw .tlsRequired
    }
  }
}
