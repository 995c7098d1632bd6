import Testing

@testable import NBDServer

/// What carries a client's bytes.
protocol ClientTransport {
  func send(_ bytes: [UInt8]) throws
  func receive(_ count: Int) throws -> [UInt8]
  func ask(_ number: UInt32, _ data: [UInt8]) throws -> [RawClient.OptionReply]
}

extension RawClient: ClientTransport {}
extension TLSClient: ClientTransport {}

/// A client that speaks the protocol in one of its modes, and holds every reply against the protocol's rules.
final class ConformanceClient {
  let raw: RawClient
  /// What its bytes go through: `raw`, or TLS over it.
  private let transport: any ClientTransport
  let mode: Mode
  /// Ids of the contexts it has selected, by name.
  private(set) var contexts: [String: UInt32] = [:]
  private(set) var transmissionFlags: UInt16 = 0
  /// What the server said when it was asked, else 1.
  private(set) var minimumBlockByteCount: UInt64 = 1
  private var cookie: UInt64 = 0x1122_3344_5566_7700
  private var asked: [UInt64: Asked] = [:]
  private var begun: [UInt64: Reply] = [:]

  /// In transmission with `name`.
  init(
    _ harness: ServerHarness, _ mode: Mode, contexts queries: [String] = [], name: String = "disk", blockSizes: Bool = false,
    overTCP: Bool = false, tls: ((RawClient) throws -> TLSClient)? = nil
  ) throws {
    raw = overTCP ? try harness.connectTCP() : try harness.connect()
    self.mode = mode
    if let tls {
      try raw.startTLS()
      transport = try tls(raw)
    } else {
      try raw.greet()
      transport = raw
    }
    if let option = mode.option { try #require(try transport.ask(option, []).map(\.type) == [1]) }
    if !queries.isEmpty {
      for reply in try transport.ask(10, RawClient.metaQuery(name, queries)).dropLast() {
        contexts[String(decoding: reply.data[4...], as: UTF8.self)] = integer(reply.data, 0)
      }
    }
    let replies = try transport.ask(7, RawClient.query(name, blockSizes ? [3] : []))
    try #require(replies.last?.type == 1)
    transmissionFlags = integer(replies[0].data, 10)
    if blockSizes {
      let sizes = try #require(replies.first { $0.data.starts(with: bigEndian(UInt16(3))) && $0.data.count == 14 })
      minimumBlockByteCount = UInt64(integer(sizes.data, 2) as UInt32)
    }
  }

  // MARK: Sending

  /// Sends a request, and remembers it; its cookie. A WRITE has the flag that extended headers want.
  @discardableResult
  func send(
    _ type: UInt16, at offset: UInt64 = 0, length: UInt64 = 0, flags: UInt16 = 0, payload: [UInt8] = []
  ) throws -> UInt64 {
    cookie += 1
    asked[cookie] = Asked(
      type: type, cookie: cookie, offset: offset, byteCount: length, flags: flags, contexts: Set(contexts.values),
      minimumBlockByteCount: minimumBlockByteCount)
    let bytes =
      mode == .extended
      ? RawClient.extendedRequest(
        type, cookie: cookie, at: offset, length: length, flags: type == 1 ? flags | 32 : flags, payload: payload)
      : RawClient.request(type, cookie: cookie, at: offset, length: UInt32(length), flags: flags, payload: payload)
    try transport.send(bytes)
    return cookie
  }

  /// A BLOCK_STATUS with extended headers that says in a payload which contexts it is about.
  func sendStatus(at offset: UInt64, length: UInt64, ids: [UInt32], flags: UInt16 = 0) throws -> UInt64 {
    cookie += 1
    asked[cookie] = Asked(
      type: 7, cookie: cookie, offset: offset, byteCount: length, flags: flags, contexts: Set(ids),
      minimumBlockByteCount: minimumBlockByteCount)
    let payload = bigEndian(length) + ids.flatMap { bigEndian($0) }
    try transport.send(
      RawClient.extendedRequest(
        7, cookie: cookie, at: offset, length: UInt64(payload.count), flags: flags | 32, payload: payload))
    return cookie
  }

  // MARK: Receiving

  /// The next reply that is whole, whichever request it answers.
  func receive() throws -> Reply {
    while true {
      let magic: UInt32 = integer(try transport.receive(4), 0)
      if magic == 0x6744_6698 { return try receiveSimple() }
      try require(magic == (mode == .extended ? 0x6e8a_278c : 0x668e_33ef) && mode.hasChunks, "a reply of another mode: \(magic)")
      let header = try transport.receive(mode == .extended ? 28 : 16)
      let byteCount = mode == .extended ? integer(header, 20) as UInt64 : UInt64(integer(header, 12) as UInt32)
      try require(byteCount <= 32 << 20 + 8, "a chunk of \(byteCount) bytes")
      let chunk = Chunk(
        flags: integer(header, 0), type: integer(header, 2), cookie: integer(header, 4),
        offset: mode == .extended ? integer(header, 12) : nil, payload: try transport.receive(Int(byteCount)))
      guard let question = asked[chunk.cookie] else { throw Violation("a reply to nobody") }
      var reply = begun[chunk.cookie] ?? Reply(cookie: chunk.cookie)
      try reply.take(chunk, for: question)
      begun[chunk.cookie] = chunk.isDone ? nil : reply
      if chunk.isDone {
        asked[chunk.cookie] = nil
        return reply
      }
    }
  }

  private func receiveSimple() throws -> Reply {
    let rest = try transport.receive(12)
    var reply = Reply(cookie: integer(rest, 4), error: integer(rest, 0))
    guard let question = asked.removeValue(forKey: reply.cookie) else { throw Violation("a reply to nobody") }
    try require(mode != .extended, "a simple reply with extended headers")
    try require(mode == .simple || question.type != 0, "a simple reply to READ with structured replies")
    try require([0, 1, 5, 12, 22, 28, 95, 108].contains(reply.error), "error \(reply.error) is none of the protocol's")
    if question.type == 0 && reply.error == 0 { reply.bytes = try transport.receive(Int(question.byteCount)) }
    return reply
  }

  // MARK: One at a time

  func perform(
    _ type: UInt16, at offset: UInt64 = 0, length: UInt64 = 0, flags: UInt16 = 0, payload: [UInt8] = []
  ) throws -> Reply {
    let cookie = try send(type, at: offset, length: length, flags: flags, payload: payload)
    let reply = try receive()
    try require(reply.cookie == cookie, "the reply's cookie is another")
    return reply
  }

  func error(_ type: UInt16, at offset: UInt64 = 0, length: UInt64 = 0, flags: UInt16 = 0, payload: [UInt8] = []) throws -> UInt32 {
    try perform(type, at: offset, length: length, flags: flags, payload: payload).error
  }

  func write(_ payload: [UInt8], at offset: UInt64, flags: UInt16 = 0) throws -> UInt32 {
    try error(1, at: offset, length: UInt64(payload.count), flags: flags, payload: payload)
  }

  func read(at offset: UInt64, length: UInt64, flags: UInt16 = 0) throws -> Reply {
    try perform(0, at: offset, length: length, flags: flags)
  }

  /// What `context` says; the reply must be a success.
  func status(_ context: String, at offset: UInt64, length: UInt64, flags: UInt16 = 0) throws -> [Reply.Extent] {
    let reply = try perform(7, at: offset, length: length, flags: flags)
    try require(reply.error == 0, "block status fails: \(reply.message)")
    guard let id = contexts[context], let extents = reply.status[id] else { throw Violation("\(context) is missing") }
    return extents
  }
}
