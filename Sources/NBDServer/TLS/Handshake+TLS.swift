extension Handshake {
  /// Before TLS where that is required, a client may ask for TLS or leave, and learns nothing.
  func checkTLS(_ option: UInt32) throws(OptionRefusal) {
    guard let tls, tls.configuration.isRequired, !socket.isEncrypted else { return }
    switch OptionNumber(rawValue: option) {
    case .startTLS, .abort: return
    default: throw .tlsRequired
    }
  }

  mutating func startTLS() async -> Step {
    let number = OptionNumber.startTLS.rawValue
    guard let tls else { return await refuse(number, .noTLS) }
    if socket.isEncrypted { return await refuse(number, .secondTLS) }
    guard await socket.sendAll(OptionReplies.reply(to: number, .acknowledge)) else { return .end }
    negotiated.forgetOptions()
    switch await socket.startTLS(tls) {
    case .success(let peer):
      client.tls = peer
      return .nextOption
    case .failure(let error):
      failure = error.reason
      return .end
    }
  }
}

extension OptionRefusal {
  static let tlsRequired = OptionRefusal(
    replyType: .errorTLSRequired, message: "this server speaks to clients over TLS only: begin with STARTTLS")
  static let noTLS = OptionRefusal(replyType: .errorPolicy, message: "this server was not given keys for TLS")
  static let secondTLS = OptionRefusal(replyType: .errorInvalid, message: "this connection is encrypted already")
}
