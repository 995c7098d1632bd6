/// The header of a chunk of a reply.
enum ChunkHeader {
  static let longestByteCount = 32
  /// What a chunk of a READ has beside data: offset and length of a hole. Data has an offset only.
  static let longestContentByteCount = 12

  /// The payload of an error chunk: error, length of the words, the words, and the place where that is known.
  static func errorByteCount(messageByteCount: Int, hasOffset: Bool) -> Int { 6 + messageByteCount + (hasOffset ? 8 : 0) }

  @inline(__always)
  static func byteCount(_ style: MessageStyle) -> Int { style == .extended ? longestByteCount : 20 }

  /// Writes `byteCount(style)` bytes to `header`.
  @inline(__always)
  static func store(
    _ type: ChunkType, _ style: MessageStyle, _ request: RequestHeader, payloadByteCount: Int, isLast: Bool,
    at header: UnsafeMutableRawPointer
  ) {
    let magic = style == .extended ? Magic.extendedReply : Magic.structuredReply
    header.storeBytes(of: magic.bigEndian, as: UInt32.self)
    header.storeBytes(of: (isLast ? ChunkType.done : 0).bigEndian, toByteOffset: 4, as: UInt16.self)
    header.storeBytes(of: type.rawValue.bigEndian, toByteOffset: 6, as: UInt16.self)
    header.storeBytes(of: request.cookie, toByteOffset: 8, as: UInt64.self)
    if style == .extended {
      header.storeBytes(of: request.offset.bigEndian, toByteOffset: 16, as: UInt64.self)
      header.storeBytes(of: UInt64(payloadByteCount).bigEndian, toByteOffset: 24, as: UInt64.self)
    } else {
      header.storeBytes(of: UInt32(truncatingIfNeeded: payloadByteCount).bigEndian, toByteOffset: 16, as: UInt32.self)
    }
  }
}

extension ReplyBatch {
  /// Adds a reply in chunks. Its last chunk says so: by now nothing can go wrong with it any more.
  func appendChunks(_ slot: RequestSlot) {
    if slot.error != .none { return appendError(slot) }
    switch slot.command {
    case .read:
      for index in slot.parts.indices { appendPart(slot.parts[index], of: slot, isLast: index == slot.parts.count - 1) }
    case .blockStatus:
      if let payload = slot.payload { appendVector(payload.start, byteCount: payload.byteCount) }
    default:
      _ = appendHeader(.none, slot, payloadByteCount: 0, ownByteCount: 0, isLast: true)
    }
  }

  private func appendPart(_ part: ReadPart, of slot: RequestSlot, isLast: Bool) {
    if part.isZero {
      let fields = appendHeader(.offsetHole, slot, payloadByteCount: 12, ownByteCount: 12, isLast: isLast)
      fields.storeBytes(of: part.offset.bigEndian, as: UInt64.self)
      fields.storeBytes(of: UInt32(truncatingIfNeeded: part.byteCount).bigEndian, toByteOffset: 8, as: UInt32.self)  // 32 MiB at most
    } else if let payload = slot.payload {
      let byteCount = Int(part.byteCount)
      let fields = appendHeader(.offsetData, slot, payloadByteCount: 8 + byteCount, ownByteCount: 8, isLast: isLast)
      fields.storeBytes(of: part.offset.bigEndian, as: UInt64.self)
      appendVector(payload.start + Int(part.offset - slot.payloadOffset), byteCount: byteCount)
    }
  }

  /// One chunk, whatever was to be sent: with words for people, and with the place where that is known.
  private func appendError(_ slot: RequestSlot) {
    let message = slot.error.message
    let messageByteCount = message.utf8CodeUnitCount
    let byteCount = ChunkHeader.errorByteCount(messageByteCount: messageByteCount, hasOffset: slot.errorOffset != nil)
    let type = slot.errorOffset == nil ? ChunkType.error : .errorOffset
    let fields = appendHeader(type, slot, payloadByteCount: byteCount, ownByteCount: byteCount, isLast: true)
    fields.storeBytes(of: slot.error.code.bigEndian, as: UInt32.self)
    fields.storeBytes(of: UInt16(truncatingIfNeeded: messageByteCount).bigEndian, toByteOffset: 4, as: UInt16.self)
    (fields + 6).copyMemory(from: message.utf8Start, byteCount: messageByteCount)
    if let offset = slot.errorOffset { fields.storeBytes(of: offset.bigEndian, toByteOffset: 6 + messageByteCount, as: UInt64.self) }
  }

  /// A chunk's header, and `ownByteCount` bytes behind it to be filled in; the rest of its payload is elsewhere.
  private func appendHeader(
    _ type: ChunkType, _ slot: RequestSlot, payloadByteCount: Int, ownByteCount: Int, isLast: Bool
  ) -> UnsafeMutableRawPointer {
    let byteCount = ChunkHeader.byteCount(style)
    let header = takeHeader(byteCount + ownByteCount)
    ChunkHeader.store(type, style, slot.header, payloadByteCount: payloadByteCount, isLast: isLast, at: header)
    return header + byteCount
  }
}
