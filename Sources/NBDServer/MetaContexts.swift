/// What BLOCK_STATUS can tell of an export. The number is the context's id on the wire.
enum MetaContext: UInt32, CaseIterable {
  /// Whether space is allocated, and whether zeros are read.
  case allocation = 1
  /// Which slab row an extent lies on: our own, see docs/nbd.md.
  case slab = 2

  var namespace: String {
    switch self {
    case .allocation: "base:"
    case .slab: "spaceport:"
    }
  }

  var name: String {
    switch self {
    case .allocation: "base:allocation"
    case .slab: "spaceport:slab"
    }
  }
}

struct MetaContextSet: OptionSet, Hashable, Sendable {
  let rawValue: UInt8
  init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ context: MetaContext) { rawValue = 1 << UInt8(truncatingIfNeeded: context.rawValue) }

  func contains(_ context: MetaContext) -> Bool { !isDisjoint(with: MetaContextSet(context)) }
  var contexts: [MetaContext] { MetaContext.allCases.filter(contains) }
  var count: Int { rawValue.nonzeroBitCount }
}

/// The contexts a client has selected, and the export it has selected them for: they hold for no other.
struct MetaContextSelection: Equatable {
  private(set) var exportName = ""
  private(set) var selected: MetaContextSet = []

  init() {}

  init(_ selected: MetaContextSet, of exportName: String) {
    self.exportName = exportName
    self.selected = selected
  }

  /// - Parameter exportName: the export's own name, also where a client asked for the default one.
  func contexts(of exportName: String) -> MetaContextSet { exportName == self.exportName ? selected : [] }
}

/// What LIST_META_CONTEXT and SET_META_CONTEXT ask.
struct MetaContextQuery: Equatable {
  var exportName: String
  var queries: [String] = []

  private static let noNamespace = OptionRefusal(
    replyType: .errorInvalid, message: "a query has no namespace; queries look like base:allocation")
  private static let longQuery = OptionRefusal(
    replyType: .errorTooBig, message: "a query is longer than \(WireLimits.stringByteCount) bytes")
  private static let badQuery = OptionRefusal(replyType: .errorInvalid, message: "a query is not UTF-8 text")

  /// length, export name, count, that many times length and query; nothing more.
  static func parse(_ data: UnsafeRawBufferPointer) throws(OptionRefusal) -> MetaContextQuery {
    var reader = WireReader(data)
    guard let name = try text(&reader, tooLong: .longName, notText: .badName), let count = reader.integer(UInt32.self) else {
      throw .mismatch
    }
    var query = MetaContextQuery(exportName: name)
    for _ in 0..<count {
      guard let text = try text(&reader, tooLong: longQuery, notText: badQuery) else { throw .mismatch }
      guard text.contains(":") else { throw noNamespace }
      query.queries.append(text)
    }
    guard reader.isAtEnd else { throw .mismatch }
    return query
  }

  /// A length and so many bytes of text; nil when they are not all there.
  private static func text(
    _ reader: inout WireReader, tooLong: OptionRefusal, notText: OptionRefusal
  ) throws(OptionRefusal) -> String? {
    guard let byteCount = reader.integer(UInt32.self) else { return nil }
    var textReader = reader
    guard reader.bytes(Int(byteCount)) != nil else { return nil }
    guard byteCount <= UInt32(WireLimits.stringByteCount) else { throw tooLong }
    guard let text = textReader.string(Int(byteCount)) else { throw notText }
    return text
  }

  /// For LIST: all without a query; a namespace alone stands for all in it. What nobody here knows is ignored.
  var listed: MetaContextSet {
    if queries.isEmpty { return MetaContextSet(MetaContext.allCases.map(MetaContextSet.init)) }
    return matching { $0.name == $1 || $0.namespace == $1 }
  }

  /// For SET: whole names only.
  var selected: MetaContextSet { matching { $0.name == $1 } }

  private func matching(_ matches: (MetaContext, String) -> Bool) -> MetaContextSet {
    MetaContextSet(MetaContext.allCases.filter { context in queries.contains { matches(context, $0) } }.map(MetaContextSet.init))
  }
}
