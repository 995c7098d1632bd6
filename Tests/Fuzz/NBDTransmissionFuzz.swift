@testable import NBDServer

/// The transmission: two bytes choose what is negotiated and how the client behaves, the rest are requests.
///
/// What comes back is held against a model made from the protocol's text alone: exactly the requests that were sent whole are answered, each once; what
/// is skipped is what the header says, or the requests behind it would not be found; data is what the disk holds; what is said to be written was written.
func fuzzTransmission(_ input: UnsafeBufferPointer<UInt8>) {
  var input = FuzzBytes(input)
  let terms = TransmissionTerms(input.byte(), input.byte())
  let requests = input.all()
  checkRules(requests, terms)
  var model = TransmissionModel(requests, terms)
  let server = FuzzServer.shared
  server.onReactor { $0.device.reset(fails: terms.deviceFails, dawdles: terms.deviceDawdles) }
  let received = server.serve(terms.handshake + model.bytes, terms.manner)
  if terms.manner.leavesAtOnce { return }
  var reader = HandshakeReader(received)
  for option in terms.options {
    precondition(reader.replies(to: option) == 1, "an honest handshake was refused")
  }
  model.check(reader.rest)
  server.onReactor { precondition($0.device.written == model.written, "what was said to be written is not what the disk was given") }
  server.serveHonestClient()
}

/// What is agreed on before, and how the client and the disk behave.
struct TransmissionTerms {
  let style: MessageStyle
  let contexts: MetaContextSet
  let keepsToBlocks: Bool
  /// Headers are given their magic, and lengths that let more requests follow.
  let isWellFormed: Bool
  let deviceFails: Bool
  let deviceDawdles: Bool
  let manner: FuzzServer.Manner

  init(_ first: UInt8, _ second: UInt8) {
    style = [.simple, .structured, .extended, .extended][Int(first & 3)]
    var contexts: MetaContextSet = []
    if style != .simple && first & 4 != 0 { contexts.insert(MetaContextSet(.allocation)) }
    if style != .simple && first & 8 != 0 { contexts.insert(MetaContextSet(.slab)) }
    self.contexts = contexts
    keepsToBlocks = first & 16 != 0
    isWellFormed = first & 32 != 0
    deviceFails = first & 64 != 0
    deviceDawdles = first & 128 != 0
    manner = FuzzServer.Manner(
      pieceByteCount: second & 1 == 0 ? 0 : 1 + Int(second >> 3) * 61, leavesAtOnce: second & 2 != 0, isReadOnly: second & 4 != 0)
  }

  var options: [UInt32] {
    (style == .simple ? [] : [style == .structured ? 8 : 11]) + (contexts.isEmpty ? [] : [10]) + [7]
  }

  var handshake: [UInt8] {
    var bytes = OptionBytes.clientFlags
    if style != .simple { bytes += OptionBytes.option(style == .structured ? 8 : 11) }
    if !contexts.isEmpty { bytes += OptionBytes.select(contexts.contexts.map(\.name)) }
    return bytes + (keepsToBlocks ? OptionBytes.goByBlocks : OptionBytes.go)
  }
}

/// The rules by themselves, for exports of every size.
private func checkRules(_ bytes: [UInt8], _ terms: TransmissionTerms) {
  let rules = RequestRules(
    isReadOnly: terms.manner.isReadOnly, style: terms.style, metaContexts: terms.contexts,
    minimumBlockByteCount: terms.keepsToBlocks ? 512 : 1)
  bytes.withUnsafeBytes { raw in
    guard raw.count >= 40, let start = raw.baseAddress else { return }
    let size = bytes.big(UInt64.self, at: 32)
    let header = terms.style == .extended ? RequestHeader.decodeExtended(start) : RequestHeader.decode(start)
    guard let header else { return }
    _ = rules.hasStatusPayload(header)
    if case .perform(let command) = rules.judge(header, exportByteCount: size), command != .flush {
      precondition(header.offset <= size && header.length <= size - header.offset && header.length > 0, "beyond the end")
      precondition(!rules.isReadOnly || !command.changesData, "a write where only reads are allowed")
      precondition(!terms.keepsToBlocks || (header.offset | header.length) % 512 == 0, "not aligned")
      precondition(RequestRules.bufferByteCount(of: command, header) <= 32 << 20, "more memory than is meant")
    }
    for count in [8, 12, 16, 20] {
      guard let asked = StatusPayload.decode(UnsafeRawBufferPointer(rebasing: raw[..<count]), of: terms.contexts) else { continue }
      precondition(asked.contexts.isSubset(of: terms.contexts) && asked.contexts.count == (count - 8) / 4, "contexts that nobody asked for")
    }
  }
}
