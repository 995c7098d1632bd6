/// How the messages of the transmission phase look.
enum MessageStyle: Sendable {
  /// Compact requests, simple replies: what the kernel's client speaks.
  case simple
  /// Compact requests, replies in chunks.
  case structured
  /// Requests and replies with 64-bit lengths, replies in chunks.
  case extended
}

/// What client and server agreed on before transmission.
struct Negotiated: Equatable {
  // From the client's first flags, not from an option.
  /// Without it EXPORT_NAME is the only option the client is sure to understand, and TLS is not for it.
  var isFixedNewstyle = false
  var noZeroes = false

  var style = MessageStyle.simple
  var metaContexts = MetaContextSelection()
  /// The client asked for the block sizes when it entered, and by that promised to keep to them.
  var keepsToBlockSizes = false

  /// What options have brought about is void when the client starts TLS: it may have been somebody else in between who asked for it.
  mutating func forgetOptions() { self = Negotiated(isFixedNewstyle: isFixedNewstyle, noZeroes: noZeroes) }
}

extension ExportDescription {
  func transmissionFlags(_ negotiated: Negotiated) -> TransmissionFlags {
    // CAN_MULTI_CONN: a FLUSH goes to the device, which does not know connections, so it covers what was answered on any of them.
    var flags: TransmissionFlags = [.hasFlags, .sendFlush, .sendFUA, .canMultiConn, .sendCache]
    if isReadOnly || geometry.isReadOnly {
      flags.insert(.readOnly)
    } else {
      flags.formUnion([.sendTrim, .sendWriteZeroes, .sendFastZero])
    }
    if geometry.isRotational { flags.insert(.rotational) }
    if negotiated.style != .simple { flags.insert(.sendDontFragment) }
    if negotiated.style == .extended && !negotiated.metaContexts.contexts(of: name).isEmpty { flags.insert(.blockStatusPayload) }
    return flags
  }
}
