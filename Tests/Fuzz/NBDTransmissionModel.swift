@testable import NBDServer

/// The requests of a stream as the protocol's text reads it, and what may be answered to them.
struct TransmissionModel {
  private struct Request {
    var bytes: RequestBytes
    /// Of BLOCK_STATUS with a payload: the length is in there.
    var statusByteCount: UInt64
    /// What a WRITE adds to the disk's sum.
    var mark: UInt64 = 0
    /// By the protocol's text, and what the disk does, there is no reason to refuse it.
    var mustSucceed = false
    var isDone = false
    /// A READ's bytes that have come.
    var dataByteCount: UInt64 = 0
    var hasFailed = false
    var seenContexts: Set<UInt32> = []
  }

  /// What is sent: the fuzzer's bytes, with cookies that count up from 0.
  private(set) var bytes: [UInt8]
  private let terms: TransmissionTerms
  private var requests: [Request] = []
  /// Sum of what the disk was given by the writes that succeeded; once the replies are checked.
  private(set) var written: UInt64 = 0

  /// READs of one stream move no more than this: the run is to be short. Bytes.
  private static let readByteCount: UInt64 = 1 << 20
  private static let errors: Set<UInt32> = [1, 5, 12, 22, 28, 75, 95, 108]

  init(_ stream: [UInt8], _ terms: TransmissionTerms) {
    bytes = stream
    self.terms = terms
    let style = terms.style
    let headerByteCount = RequestBytes.headerByteCount(style)
    var position = 0
    var room = TransmissionModel.readByteCount
    while bytes.count - position >= headerByteCount {
      if terms.isWellFormed { makeRight(at: position) }
      guard let request = RequestBytes(bytes, at: position, style) else { return }
      bytes.set(big: UInt64(requests.count), at: position + 8)
      if request.type == 0 && request.payloadByteCount(style) == 0 && request.length <= 32 << 20 {
        if request.length > room { setLength(request.length & 0xFFF, at: position) }
        room -= min(room, request.length)
      }
      let header = RequestBytes(bytes, at: position, style) ?? request
      let payload = header.payloadByteCount(style)
      if payload > (style == .extended ? 32 << 20 : 64 << 20) { return }
      if header.type == 2 { return }
      guard payload <= UInt64(bytes.count - position - headerByteCount) else { return }  // not sent whole: not answered
      position += headerByteCount
      add(header, Array(bytes[position..<position + Int(payload)]))
      position += Int(payload)
    }
  }

  private mutating func add(_ header: RequestBytes, _ payload: [UInt8]) {
    var request = Request(bytes: header, statusByteCount: header.length)
    if header.type == 7 && payload.count >= 8 { request.statusByteCount = payload.big(UInt64.self, at: 0) }
    if header.type == 1 && !payload.isEmpty { request.mark = payload.withUnsafeBytes { FuzzDevice.mark(header.offset, $0) } }
    request.mustSucceed = mustSucceed(request)
    requests.append(request)
  }

  /// Where the text leaves it to the server (no length, FAST_ZERO, BLOCK_STATUS with a payload) nothing is demanded.
  private func mustSucceed(_ request: Request) -> Bool {
    let bytes = request.bytes
    let payloadLength: UInt16 = 1 << 5
    var flags: UInt16 = 1  // FUA
    switch bytes.type {
    case 0: flags |= terms.style == .simple ? 0 : 4  // DF
    case 1:
      if terms.style == .extended {
        if bytes.flags & payloadLength == 0 { return false }
        flags |= payloadLength
      }
    case 3: return bytes.flags & ~flags == 0 && bytes.offset == 0 && bytes.length == 0
    case 4, 5: break
    case 6: flags |= 2  // NO_HOLE
    case 7:
      if terms.contexts.isEmpty { return false }
      flags |= 8  // REQ_ONE
    default: return false
    }
    guard bytes.flags & ~flags == 0, bytes.length > 0 else { return false }
    if bytes.offset > FuzzDevice.byteCount || bytes.length > FuzzDevice.byteCount - bytes.offset { return false }
    if bytes.type < 2 && bytes.length > 32 << 20 { return false }
    if terms.keepsToBlocks && (bytes.offset | bytes.length) % 512 != 0 { return false }
    return !(terms.manner.isReadOnly && [1, 4, 6].contains(bytes.type)) && !terms.deviceFails
  }

  private mutating func makeRight(at position: Int) {
    bytes.set(big: RequestBytes.magic(terms.style), at: position)
    guard var request = RequestBytes(bytes, at: position, terms.style) else { return }
    if request.type > 9 {
      request.type %= 8
      bytes.set(big: request.type, at: position + 6)
    }
    let payload = request.payloadByteCount(terms.style)
    if payload > 0 {
      setLength(payload & 0x3FF, at: position)
    } else if request.length > 1 << 40 {
      setLength(request.length & 0x3FFFF, at: position)
    }
  }

  private mutating func setLength(_ length: UInt64, at position: Int) {
    if terms.style == .extended {
      bytes.set(big: length, at: position + 24)
    } else {
      bytes.set(big: UInt32(truncatingIfNeeded: length), at: position + 24)
    }
  }

  // MARK: Replies

  mutating func check(_ replies: [UInt8]) {
    var position = 0
    while position < replies.count {
      position = terms.style == .simple ? checkSimple(replies, position) : checkChunk(replies, position)
    }
    for (index, request) in requests.enumerated() { precondition(request.isDone, "request \(index) was not answered: \(request.bytes)") }
  }

  private mutating func finish(_ index: Int, failed: Bool) {
    precondition(!requests[index].isDone, "a request was answered twice")
    precondition(!failed || !requests[index].mustSucceed, "a request was refused for no reason: \(requests[index].bytes)")
    requests[index].isDone = true
    if !failed { written &+= requests[index].mark }
  }

  private func index(_ cookie: UInt64) -> Int {
    precondition(cookie < UInt64(requests.count), "an answer to a request that was not sent")
    return Int(cookie)
  }

  private mutating func checkSimple(_ replies: [UInt8], _ position: Int) -> Int {
    precondition(replies.big(UInt32.self, at: position) == 0x6744_6698, "no reply where one belongs")
    let error = replies.big(UInt32.self, at: position + 4)
    let index = index(replies.big(UInt64.self, at: position + 8))
    precondition(error == 0 || TransmissionModel.errors.contains(error), "an error that is not the protocol's")
    finish(index, failed: error != 0)
    let request = requests[index].bytes
    guard error == 0, request.type == 0 else { return position + 16 }
    checkData(replies, position + 16, request.offset, request.length)
    return position + 16 + Int(request.length)
  }

  private func checkData(_ replies: [UInt8], _ position: Int, _ offset: UInt64, _ length: UInt64) {
    precondition(UInt64(replies.count - position) >= length, "data is missing")
    precondition(replies[position..<position + Int(length)].elementsEqual(FuzzDevice.content(offset, Int(length))), "data of another place")
  }

  /// One chunk; returns where the next begins.
  private mutating func checkChunk(_ replies: [UInt8], _ position: Int) -> Int {
    let isExtended = terms.style == .extended
    precondition(replies.big(UInt32.self, at: position) == (isExtended ? 0x6e8a_278c : 0x668e_33ef), "no chunk where one belongs")
    let flags = replies.big(UInt16.self, at: position + 4)
    let type = replies.big(UInt16.self, at: position + 6)
    let index = index(replies.big(UInt64.self, at: position + 8))
    let length = isExtended ? Int(replies.big(UInt64.self, at: position + 24)) : Int(replies.big(UInt32.self, at: position + 16))
    let payload = position + (isExtended ? 32 : 20)
    precondition(flags <= 1 && length <= 33 << 20 && replies.count - payload >= length, "a chunk of \(length) bytes is not all there")
    precondition(!requests[index].isDone, "a chunk behind the last")
    check(type, replies, payload, length, of: index)
    if flags == 1 {
      let request = requests[index]
      let isRead = request.bytes.type == 0 && !request.hasFailed
      precondition(!isRead || request.dataByteCount == request.bytes.length, "a READ without all its data")
      finish(index, failed: request.hasFailed)
    }
    return payload + length
  }

  private mutating func check(_ type: UInt16, _ replies: [UInt8], _ payload: Int, _ length: Int, of index: Int) {
    let request = requests[index]
    switch type {
    case 0: precondition(length == 0, "a chunk of nothing, with bytes")
    case 1, 2:
      precondition(request.bytes.type == 0 && length > 8, "data that nobody asked for")
      let offset = replies.big(UInt64.self, at: payload)
      let count = type == 1 ? UInt64(length - 8) : UInt64(replies.big(UInt32.self, at: payload + 8))
      precondition(offset == request.bytes.offset + request.dataByteCount && count > 0, "data out of its order")
      precondition(request.dataByteCount + count <= request.bytes.length, "more data than was asked for")
      requests[index].dataByteCount += count
      if type == 1 { return checkData(replies, payload + 8, offset, count) }
      precondition(length == 12 && FuzzDevice.content(offset, Int(count)).allSatisfy { $0 == 0 }, "a hole where data is")
    case 5, 6: checkStatus(replies, payload, length, of: index, isWide: type == 6)
    case 0x8001, 0x8002:
      let error = replies.big(UInt32.self, at: payload)
      let text = Int(replies.big(UInt16.self, at: payload + 4))
      precondition(
        TransmissionModel.errors.contains(error) && length == 6 + text + (type == 0x8002 ? 8 : 0), "an error that cannot be read")
      requests[index].hasFailed = true
    default: fatalError("a chunk of no known type")
    }
  }

  private mutating func checkStatus(_ replies: [UInt8], _ payload: Int, _ length: Int, of index: Int, isWide: Bool) {
    precondition(isWide == (terms.style == .extended) && requests[index].bytes.type == 7, "block status that nobody asked for")
    let context = replies.big(UInt32.self, at: payload)
    precondition(terms.contexts.contexts.contains { $0.rawValue == context }, "a context that was not agreed on")
    precondition(requests[index].seenContexts.insert(context).inserted, "a context told twice")
    let head = isWide ? 8 : 4
    let size = isWide ? 16 : 8
    precondition(length > head && (length - head) % size == 0, "extents that do not add up")
    var sum: UInt64 = 0
    for place in stride(from: payload + head, to: payload + length, by: size) {
      let count = isWide ? replies.big(UInt64.self, at: place) : UInt64(replies.big(UInt32.self, at: place))
      precondition(count > 0, "an empty extent")
      sum += count
    }
    precondition(sum <= requests[index].statusByteCount, "extents beyond the request")
  }
}
