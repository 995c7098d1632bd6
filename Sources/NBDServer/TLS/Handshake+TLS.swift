extension Handshake {
  /// Whether STARTTLS would be granted now.
  var mayStartTLS: Bool { tls != nil && negotiated.isFixedNewstyle && !socket.isEncrypted }

  /// Before TLS where that is required, a client may ask for TLS or leave, and learns nothing.
  func checkTLS(_ option: UInt32) throws(OptionRefusal) {
    guard let tls, tls.configuration.isRequired, !socket.isEncrypted else { return }
    switch OptionNumber(rawValue: option) {
    case .startTLS, .abort: return
    // The protocol's text: no TLS, and no word of it, with a client that does not speak fixed newstyle.
    default: throw negotiated.isFixedNewstyle ? .tlsRequired : .tlsNeedsFixedNewstyle
    }
  }

  mutating func startTLS() async -> Step {
    let number = OptionNumber.startTLS.rawValue
    guard let tls else { return await refuse(number, .noTLS) }
    if socket.isEncrypted { return await refuse(number, .secondTLS) }
    guard mayStartTLS else { return await refuse(number, .tlsNeedsFixedNewstyle) }
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
  static let tlsNeedsFixedNewstyle = OptionRefusal(
    replyType: .errorPolicy, message: "TLS is for clients that speak fixed newstyle: set that flag before the first option")
  static let secondTLS = OptionRefusal(replyType: .errorInvalid, message: "this connection is encrypted already")
}
