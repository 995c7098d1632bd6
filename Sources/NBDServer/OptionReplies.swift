/// Messages of the server in the handshake: pure functions from facts to bytes.
enum OptionReplies {
  static func greeting() -> [UInt8] {
    var writer = WireWriter()
    writer.append(Magic.server)
    writer.append(Magic.option)
    writer.append(HandshakeFlags([.fixedNewstyle, .noZeroes]).rawValue)
    return writer.bytes
  }

  static func reply(to option: UInt32, _ type: OptionReplyType, data: [UInt8] = []) -> [UInt8] {
    var writer = WireWriter()
    writer.append(Magic.optionReply)
    writer.append(option)
    writer.append(type.rawValue)
    writer.append(UInt32(truncatingIfNeeded: data.count))
    writer.append(contentsOf: data)
    return writer.bytes
  }

  static func refusal(of option: UInt32, _ refusal: OptionRefusal) -> [UInt8] {
    reply(to: option, refusal.replyType, data: text(refusal.message))
  }

  /// A part of the answer to LIST.
  static func servers(_ names: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    for name in names where name.utf8.count <= WireLimits.stringByteCount {
      var data = WireWriter()
      data.append(UInt32(truncatingIfNeeded: name.utf8.count))
      data.append(name)
      bytes += reply(to: OptionNumber.list.rawValue, .server, data: data.bytes)
    }
    return bytes
  }

  /// The answer to INFO and GO: size and flags, then what was asked for, then the acknowledgement.
  static func information(
    for number: OptionNumber, _ export: ExportDescription, _ query: ExportQuery, _ negotiated: Negotiated
  ) -> [UInt8] {
    let option = number.rawValue
    var replies: [UInt8] = []
    func add(_ type: InformationType, _ fill: (inout WireWriter) -> Void) {
      var data = WireWriter()
      data.append(type.rawValue)
      fill(&data)
      replies += reply(to: option, .information, data: data.bytes)
    }
    add(.export) {
      $0.append(export.geometry.byteCount)
      $0.append(export.transmissionFlags(negotiated).rawValue)
    }
    if query.wantsName { add(.name) { $0.append(contentsOf: text(export.name)) } }
    if query.wantsDescription { add(.description) { $0.append(contentsOf: text(export.description)) } }
    if query.wantsBlockSize {
      add(.blockSize) {
        $0.append(UInt32(truncatingIfNeeded: export.minimumBlockByteCount))
        $0.append(UInt32(truncatingIfNeeded: export.preferredBlockByteCount))
        $0.append(UInt32(truncatingIfNeeded: WireLimits.payloadByteCount))
      }
    }
    return replies + reply(to: option, .acknowledge)
  }

  /// One reply a context, then the acknowledgement. Ids mean something only in a selection.
  static func metaContexts(for option: OptionNumber, _ contexts: MetaContextSet) -> [UInt8] {
    var replies: [UInt8] = []
    for context in contexts.contexts {
      var data = WireWriter()
      data.append(option == .setMetaContext ? context.rawValue : UInt32(0))
      data.append(context.name)
      replies += reply(to: option.rawValue, .metaContext, data: data.bytes)
    }
    return replies + reply(to: option.rawValue, .acknowledge)
  }

  /// EXPORT_NAME has no option reply: size, flags, and 124 zeros that nobody wants any more.
  static func exportName(_ export: ExportDescription, _ negotiated: Negotiated) -> [UInt8] {
    var writer = WireWriter()
    writer.append(export.geometry.byteCount)
    writer.append(export.transmissionFlags(negotiated).rawValue)
    if !negotiated.noZeroes { writer.append(zeros: 124) }
    return writer.bytes
  }

  /// A string of at most the protocol's length, cut between Unicode scalars.
  static func text(_ string: String) -> [UInt8] {
    let bytes = string.utf8
    guard let limit = bytes.index(bytes.startIndex, offsetBy: WireLimits.stringByteCount, limitedBy: bytes.endIndex) else {
      return Array(bytes)
    }
    var end = limit
    while end.samePosition(in: string.unicodeScalars) == nil { end = bytes.index(before: end) }
    return Array(bytes[..<end])
  }
}
