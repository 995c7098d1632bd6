import BlockDevice
import CLinux

/// The replies that go out in one send: headers in memory of its own, payloads where they are.
final class ReplyBatch: @unchecked Sendable {  // reactor-confined
  /// The slots whose replies these are, to be freed when all is sent.
  private(set) var slots: [RequestSlot] = []
  let message: UnsafeMutablePointer<msghdr>

  private let vectors: UnsafeMutablePointer<iovec>
  private var vectorCount = 0
  private var firstVector = 0
  private let headers: UnsafeMutableRawPointer
  private var headerBytes = 0
  let style: MessageStyle
  /// With so many of either there may be no room for another reply in chunks.
  private let vectorsWhenFull: Int
  private let headerBytesWhenFull: Int

  private static let simpleReplyByteCount = 16

  init(_ style: MessageStyle) {
    self.style = style
    slots.reserveCapacity(WireLimits.repliesPerSend)
    message = .allocate(capacity: 1)
    message.initialize(to: msghdr())
    vectorsWhenFull = WireLimits.repliesPerSend * 2
    let replyByteCount =
      style == .simple ? ReplyBatch.simpleReplyByteCount : ChunkHeader.longestByteCount + ChunkHeader.longestContentByteCount
    headerBytesWhenFull = WireLimits.repliesPerSend * replyByteCount
    vectors = .allocate(capacity: vectorsWhenFull + WireLimits.readParts * 2)
    headers = .allocate(byteCount: headerBytesWhenFull + WireLimits.chunkHeadersByteCount, alignment: 16)
  }

  deinit {
    message.deallocate()
    vectors.deallocate()
    headers.deallocate()
  }

  var isFull: Bool {
    slots.count == WireLimits.repliesPerSend
      || (style != .simple && (vectorCount > vectorsWhenFull || headerBytes > headerBytesWhenFull))
  }

  func clear() {
    slots.removeAll(keepingCapacity: true)
    vectorCount = 0
    firstVector = 0
    headerBytes = 0
  }

  /// Adds the reply of `slot`; there is room while it is not full.
  func append(_ slot: RequestSlot) {
    if style == .simple { appendSimple(slot) } else { appendChunks(slot) }
    slots.append(slot)
  }

  /// A header, and behind it the data of a READ that succeeded.
  private func appendSimple(_ slot: RequestSlot) {
    let header = takeHeader(ReplyBatch.simpleReplyByteCount)
    header.storeBytes(of: Magic.simpleReply.bigEndian, as: UInt32.self)
    header.storeBytes(of: slot.error.code.bigEndian, toByteOffset: 4, as: UInt32.self)
    header.storeBytes(of: slot.header.cookie, toByteOffset: 8, as: UInt64.self)
    if slot.command == .read, slot.error == .none, let payload = slot.payload { appendVector(payload.start, byteCount: payload.byteCount) }
  }

  /// The next `byteCount` bytes that go out, to be filled in. Headers without data between them lie side by side and go as one piece.
  @inline(__always)
  func takeHeader(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let header = headers + headerBytes
    headerBytes += byteCount
    if vectorCount > 0, let last = vectors[vectorCount - 1].iov_base, last + vectors[vectorCount - 1].iov_len == header {
      vectors[vectorCount - 1].iov_len += byteCount
    } else {
      appendVector(header, byteCount: byteCount)
    }
    return header
  }

  @inline(__always)
  func appendVector(_ start: UnsafeMutableRawPointer, byteCount: Int) {
    vectors[vectorCount] = iovec(iov_base: start, iov_len: byteCount)
    vectorCount += 1
  }

  /// Points `message` at what is not yet sent; false when all is.
  func prepare() -> Bool {
    if firstVector == vectorCount { return false }
    message.pointee.msg_iov = vectors + firstVector
    message.pointee.msg_iovlen = vectorCount - firstVector
    return true
  }

  /// Takes `byteCount` sent bytes off the front.
  func advance(_ byteCount: Int) {
    var rest = byteCount
    while rest > 0, firstVector < vectorCount {
      let length = vectors[firstVector].iov_len
      if rest < length {
        vectors[firstVector].iov_base = vectors[firstVector].iov_base.map { $0 + rest }
        vectors[firstVector].iov_len = length - rest
        return
      }
      rest -= length
      firstVector += 1
    }
  }
}
