@testable import NBDServer

/// The handshake: the first byte chooses how the client behaves, the rest is what it sends from its flags on. Where bit 0 is set these are not the bytes
/// themselves but options, each a number, two bytes of length and data: their headers are made right.
func fuzzHandshake(_ input: UnsafeBufferPointer<UInt8>) {
  var input = FuzzBytes(input)
  let choice = input.byte()
  let sent = choice & 1 == 0 ? input.all() : wellFormedOptions(&input)
  if sent.count > 20 { checkParser(Array(sent[20...])) }
  let manner = FuzzServer.Manner(
    pieceByteCount: choice & 2 == 0 ? 0 : 7, leavesAtOnce: choice & 4 != 0, isReadOnly: choice & 8 != 0)
  let server = FuzzServer.shared
  server.onReactor { $0.device.reset(fails: false, dawdles: false) }
  let received = server.serve(sent, manner)
  if !manner.leavesAtOnce { check(received, for: sent) }
  server.serveHonestClient()
}

private func wellFormedOptions(_ input: inout FuzzBytes) -> [UInt8] {
  var bytes: [UInt8] = [0, 0, 0, input.byte()]
  while !input.isAtEnd {
    let number = UInt32(input.byte())
    bytes += OptionBytes.option(number, input.take(input.short()))
  }
  return bytes
}

/// The parsers by themselves: whatever they understand is what the lengths say, and no more than is allowed.
private func checkParser(_ data: [UInt8]) {
  data.withUnsafeBytes { bytes in
    for number in UInt32(0)...12 {
      guard let option = parse(number, bytes) else { continue }
      switch option {
      case .go(let query):
        precondition(parse(6, bytes) == .info(query), "GO and INFO are read differently")
        let head = 4 + query.name.utf8.count
        precondition(Array(query.name.utf8) == Array(data[4..<head]) && head - 4 <= 4096, "another name than was sent")
        precondition(data.count == head + 2 + 2 * Int(data.big(UInt16.self, at: head)), "bytes that nobody has read")
      case .setMetaContexts(let query):
        precondition(query.selected.isSubset(of: query.listed), "more is selected than there is")
        let texts = [query.exportName] + query.queries
        precondition(
          texts.allSatisfy { $0.utf8.count <= 4096 } && query.queries.allSatisfy { $0.contains(":") }, "a text that is not allowed")
        precondition(data.count == 4 + texts.reduce(0) { $0 + 4 + $1.utf8.count }, "bytes that nobody has read")
      case .exportName(let name):
        precondition(Array(name.utf8) == data && data.count <= 4096, "another name than was sent")
      default: break
      }
    }
  }
}

private func parse(_ number: UInt32, _ bytes: UnsafeRawBufferPointer) -> ClientOption? {
  do throws(OptionRefusal) { return try OptionParser.parse(number: number, data: bytes) } catch {
    precondition(!error.message.isEmpty && error.replyType.rawValue >= 1 << 31, "a refusal that refuses nothing")
    return nil
  }
}

/// The server has answered each option that it got whole with one final reply, in their order, up to the one that ended the handshake.
private func check(_ received: [UInt8], for sent: [UInt8]) {
  var reader = HandshakeReader(received)
  guard sent.count >= 4, sent[0] == 0, sent[1] == 0, sent[2] == 0, sent[3] < 4 else {
    precondition(reader.isAtEnd, "an answer to a client that knows more than was offered")
    return
  }
  var position = 4
  // An input is too short for more options than a handshake may have (run.sh).
  while sent.count - position >= OptionBytes.headerByteCount, sent.big(UInt64.self, at: position) == OptionBytes.magic {
    let number = sent.big(UInt32.self, at: position + 8)
    let length = Int(sent.big(UInt32.self, at: position + 12))
    if length > 64 << 10 {
      // EXPORT_NAME has no error reply: the server can only close.
      let isRefused = number == 1 || reader.replies(to: number) ?? 0 >= 1 << 31
      precondition(isRefused && reader.isAtEnd, "an option that is too long was not refused")
      return
    }
    position += OptionBytes.headerByteCount + length
    if position > sent.count { break }
    if number == 1 {
      if reader.exportReply(sent[3] & 2 != 0) { return }  // what follows is the transmission's
      break
    }
    guard let type = reader.replies(to: number) else { fatalError("option \(number) was not answered") }
    if number == 2 && type == 1 { break }
    if number == 7 && type == 1 { return }
  }
  precondition(reader.isAtEnd, "an answer to nothing")
}
