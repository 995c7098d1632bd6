/// A whole reply, gathered from its chunks or its simple message.
struct Reply {
  struct Content: Equatable {
    var offset: UInt64
    var byteCount: UInt64
    var isHole: Bool
  }
  struct Extent: Equatable {
    var byteCount: UInt64
    var flags: UInt64
    init(_ byteCount: UInt64, _ flags: UInt64) {
      self.byteCount = byteCount
      self.flags = flags
    }
  }

  var cookie: UInt64 = 0
  var error: UInt32 = 0
  var errorOffset: UInt64?
  var message = ""
  /// Of a READ, in the order of arrival.
  var content: [Content] = []
  /// Of a READ: the bytes, put in their places.
  var bytes: [UInt8] = []
  /// Of a BLOCK_STATUS, by context id.
  var status: [UInt32: [Extent]] = [:]
  var chunkCount = 0
}

/// What was asked: replies are held against it.
struct Asked {
  var type: UInt16
  var cookie: UInt64
  var offset: UInt64
  var byteCount: UInt64
  var flags: UInt16
  /// Contexts that a BLOCK_STATUS is answered for.
  var contexts: Set<UInt32> = []
  /// What the server said its least block is; 1 where it was not asked.
  var minimumBlockByteCount: UInt64 = 1
}

/// A chunk of a reply as it came.
struct Chunk {
  var flags: UInt16
  var type: UInt16
  var cookie: UInt64
  /// With extended headers.
  var offset: UInt64?
  var payload: [UInt8]

  var isDone: Bool { flags & 1 != 0 }
}

extension Reply {
  /// Takes in a chunk, and checks it against all that the protocol says of chunks of its kind.
  mutating func take(_ chunk: Chunk, for asked: Asked) throws {
    try require(chunk.flags & ~1 == 0, "unknown reply flags \(chunk.flags)")
    try require(chunk.offset == nil || chunk.offset == asked.offset, "the offset of an extended reply is not the request's")
    chunkCount += 1
    switch chunk.type {
    case 0: try require(chunk.isDone && chunk.payload.isEmpty, "NONE is empty and last")
    case 1, 2: try takeContent(chunk, asked)
    case 5, 6: try takeStatus(chunk, asked)
    case 0x8001, 0x8002: try takeError(chunk, asked)
    default: throw Violation("chunk type \(chunk.type)")
    }
    if chunk.isDone { try finish(asked) }
  }

  private mutating func takeContent(_ chunk: Chunk, _ asked: Asked) throws {
    try require(asked.type == 0, "content for command \(asked.type)")
    let isHole = chunk.type == 2
    try require(isHole ? chunk.payload.count == 12 : chunk.payload.count >= 9, "a content chunk of \(chunk.payload.count) bytes")
    let offset: UInt64 = integer(chunk.payload, 0)
    let byteCount = isHole ? UInt64(integer(chunk.payload, 8) as UInt32) : UInt64(chunk.payload.count - 8)
    try require(byteCount > 0, "a content chunk describes at least a byte")
    try require(byteCount <= 32 << 20, "a chunk is longer than the largest payload")
    try require(
      offset >= asked.offset && byteCount <= asked.byteCount && offset - asked.offset <= asked.byteCount - byteCount,
      "content outside of the request")
    for other in content {
      try require(offset + byteCount <= other.offset || other.offset + other.byteCount <= offset, "content chunks overlap")
    }
    content.append(Content(offset: offset, byteCount: byteCount, isHole: isHole))
    if bytes.isEmpty { bytes = [UInt8](repeating: 0xcc, count: Int(asked.byteCount)) }
    let start = Int(offset - asked.offset)
    if isHole {
      for index in start..<start + Int(byteCount) { bytes[index] = 0 }
    } else {
      bytes.replaceSubrange(start..<start + Int(byteCount), with: chunk.payload[8...])
    }
  }

  private mutating func takeStatus(_ chunk: Chunk, _ asked: Asked) throws {
    let isExtended = chunk.offset != nil
    try require(asked.type == 7, "block status for command \(asked.type)")
    try require(chunk.type == (isExtended ? 6 : 5), "status type \(chunk.type) belongs to other headers")
    let (head, size) = isExtended ? (8, 16) : (4, 8)
    try require(chunk.payload.count > head && (chunk.payload.count - head) % size == 0, "a status chunk of \(chunk.payload.count) bytes")
    let id: UInt32 = integer(chunk.payload, 0)
    try require(asked.contexts.contains(id), "context \(id) was not asked for")
    try require(status[id] == nil, "context \(id) was told twice")
    let count = (chunk.payload.count - head) / size
    if isExtended { try require((integer(chunk.payload, 4) as UInt32) == count, "the descriptor count is wrong") }
    try require(count <= 1 << 20, "more than 2^20 descriptors")
    let extents = (0..<count).map { index in
      let place = head + index * size
      return isExtended
        ? Extent(integer(chunk.payload, place), integer(chunk.payload, place + 8))
        : Extent(UInt64(integer(chunk.payload, place) as UInt32), UInt64(integer(chunk.payload, place + 4) as UInt32))
    }
    try require(extents.allSatisfy { $0.byteCount > 0 }, "an extent of no length")
    try require(extents.allSatisfy { $0.byteCount % asked.minimumBlockByteCount == 0 }, "an extent is not a multiple of the least block")
    for (left, right) in zip(extents, extents.dropFirst()) { try require(left.flags != right.flags, "neighbours that are alike") }
    // Stricter than the protocol, which lets the last extent reach beyond: ours never does, and no sum can overflow.
    var rest = asked.byteCount
    for extent in extents {
      try require(extent.byteCount <= rest, "extents reach beyond the request")
      rest -= extent.byteCount
    }
    if asked.flags & 8 != 0 { try require(count == 1, "REQ_ONE, and \(count) extents") }
    status[id] = extents
  }

  private mutating func takeError(_ chunk: Chunk, _ asked: Asked) throws {
    let tail = chunk.type == 0x8002 ? 8 : 0
    try require(chunk.payload.count >= 6 + tail, "an error chunk of \(chunk.payload.count) bytes")
    let code: UInt32 = integer(chunk.payload, 0)
    let messageByteCount = Int(integer(chunk.payload, 4) as UInt16)
    try require(code != 0, "an error chunk without an error")
    try require([1, 5, 12, 22, 28, 75, 95, 108].contains(code), "error \(code) is none of the protocol's")
    try require(messageByteCount <= 4096 && 6 + messageByteCount + tail == chunk.payload.count, "the message does not fit its chunk")
    let text = chunk.payload[6..<6 + messageByteCount]
    try require(!text.contains(0) && String(validating: text, as: UTF8.self) != nil, "the message is no text")
    try require(!text.isEmpty, "every refusal says what was wrong")
    message = String(decoding: text, as: UTF8.self)
    error = code
    guard tail > 0 else { return }
    let offset: UInt64 = integer(chunk.payload, 6 + messageByteCount)
    try require(offset >= asked.offset && offset - asked.offset < max(1, asked.byteCount), "the error lies outside of the request")
    errorOffset = offset
  }

  private func finish(_ asked: Asked) throws {
    if error != 0 { return }
    if asked.type == 0 {
      try require(content.reduce(0) { $0 + $1.byteCount } == asked.byteCount, "a successful READ does not cover its range")
      if asked.flags & 4 != 0 { try require(content.count <= 1, "DF, and \(content.count) content chunks") }
    }
    if asked.type == 7 { try require(Set(status.keys) == asked.contexts, "not exactly one chunk a context") }
  }
}
