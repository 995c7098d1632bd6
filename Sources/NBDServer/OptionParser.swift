/// The fixed part of an option: magic, number, length of the data that follows.
struct OptionHeader: Equatable {
  static let byteCount = 16
  var number: UInt32
  var dataByteCount: UInt32

  /// nil when the magic is wrong or bytes are missing.
  static func decode(_ bytes: UnsafeRawBufferPointer) -> OptionHeader? {
    var reader = WireReader(bytes)
    guard reader.integer(UInt64.self) == Magic.option, let number = reader.integer(UInt32.self), let length = reader.integer(UInt32.self)
    else { return nil }
    return OptionHeader(number: number, dataByteCount: length)
  }
}

/// What GO and INFO ask: one export, and which facts of it.
struct ExportQuery: Equatable {
  var name: String
  var wantsName = false
  var wantsDescription = false
  var wantsBlockSize = false
}

/// An option a client sent, understood.
enum ClientOption: Equatable {
  case exportName(String)
  case abort
  case list
  case startTLS
  case info(ExportQuery)
  case go(ExportQuery)
  case structuredReply
  case extendedHeaders
  case listMetaContexts(MetaContextQuery)
  case setMetaContexts(MetaContextQuery)
}

/// An option that is answered with an error; the handshake goes on.
struct OptionRefusal: Error, Equatable {
  var replyType: OptionReplyType
  var message: String

  static let mismatch = OptionRefusal(replyType: .errorInvalid, message: "the lengths inside the option do not add up")
  static let badName = OptionRefusal(replyType: .errorInvalid, message: "the export name is not UTF-8 text")
  static let longName = OptionRefusal(
    replyType: .errorTooBig, message: "the export name is longer than \(WireLimits.stringByteCount) bytes")
}

extension OptionRefusal {
  init(_ error: ExportError) { self.init(replyType: error.replyType, message: error.description) }
}

/// Pure functions from bytes to options.
enum OptionParser {
  static func parse(number: UInt32, data: UnsafeRawBufferPointer) throws(OptionRefusal) -> ClientOption {
    switch OptionNumber(rawValue: number) {
    case .exportName:
      var reader = WireReader(data)
      guard data.count <= WireLimits.stringByteCount else { throw .longName }
      guard let name = reader.string(data.count) else { throw .badName }
      return .exportName(name)
    case .abort:
      return .abort
    case .list:
      return try withoutData(.list, "LIST", data)
    case .info:
      return .info(try exportQuery(data))
    case .go:
      return .go(try exportQuery(data))
    case .startTLS:
      return try withoutData(.startTLS, "STARTTLS", data)
    case .structuredReply:
      return try withoutData(.structuredReply, "STRUCTURED_REPLY", data)
    case .extendedHeaders:
      return try withoutData(.extendedHeaders, "EXTENDED_HEADERS", data)
    case .listMetaContext:
      return .listMetaContexts(try MetaContextQuery.parse(data))
    case .setMetaContext:
      return .setMetaContexts(try MetaContextQuery.parse(data))
    case nil:
      throw OptionRefusal(replyType: .errorUnsupported, message: "this server does not know option \(number)")
    }
  }

  private static func withoutData(
    _ option: ClientOption, _ name: String, _ data: UnsafeRawBufferPointer
  ) throws(OptionRefusal) -> ClientOption {
    guard data.isEmpty else { throw OptionRefusal(replyType: .errorInvalid, message: "\(name) takes no data") }
    return option
  }

  /// length, name, count, that many information types; nothing more. Types nobody knows are ignored, as the protocol wants.
  private static func exportQuery(_ data: UnsafeRawBufferPointer) throws(OptionRefusal) -> ExportQuery {
    var reader = WireReader(data)
    guard let nameByteCount = reader.integer(UInt32.self), nameByteCount <= UInt32(data.count) else { throw .mismatch }
    guard nameByteCount <= UInt32(WireLimits.stringByteCount) else { throw .longName }
    var nameReader = reader
    guard reader.bytes(Int(nameByteCount)) != nil, let count = reader.integer(UInt16.self) else { throw .mismatch }
    guard let name = nameReader.string(Int(nameByteCount)) else { throw .badName }
    var query = ExportQuery(name: name)
    for _ in 0..<count {
      guard let type = reader.integer(UInt16.self) else { throw .mismatch }
      switch InformationType(rawValue: type) {
      case .name: query.wantsName = true
      case .description: query.wantsDescription = true
      case .blockSize: query.wantsBlockSize = true
      case .export, nil: break  // EXPORT is always sent
      }
    }
    guard reader.isAtEnd else { throw .mismatch }
    return query
  }
}
