import CLinux
import Reactor

/// Where requests are received, many at a time, and what of them is not yet used. Small payloads land here too and are copied out, which
/// is cheaper than a receive for each; of a large one only what came in behind its header is.
final class ReceiveStaging: @unchecked Sendable {  // reactor-confined
  private let memory: UnsafeMutableRawBufferPointer
  private var begin = 0
  private var end = 0
  /// For receiving a payload and, behind it, the next headers.
  let message: UnsafeMutablePointer<msghdr>
  private let vectors: UnsafeMutablePointer<iovec>

  init(byteCount: Int) {
    memory = .allocate(byteCount: byteCount, alignment: Int(getpagesize()))
    message = .allocate(capacity: 1)
    message.initialize(to: msghdr())
    vectors = .allocate(capacity: 2)
  }

  deinit {
    memory.deallocate()
    message.deallocate()
    vectors.deallocate()
  }

  /// Lets the system have the pages back, if nothing is in them, where a request's header comes next. A receive may be waiting to fill them: they
  /// come back as it does. One that has filled them, and whose task has not run yet, is known by the first byte, which is no zero in any header.
  func giveBackMemory() {
    if count == 0 && memory[end % memory.count] == 0 { madvise(memory.baseAddress, memory.count, MADV_DONTNEED) }
  }

  var count: Int { end - begin }
  /// The unused bytes; nil when the memory could not be had, which `init` rules out.
  var first: UnsafeRawPointer? { memory.baseAddress.map { UnsafeRawPointer($0 + begin) } }

  func consume(_ byteCount: Int) {
    assert(byteCount <= count)
    begin += byteCount
  }

  /// Moves up to `byteCount` unused bytes to `destination`; how many.
  func take(upTo byteCount: Int, to destination: UnsafeMutableRawPointer) -> Int {
    let taken = min(byteCount, count)
    if taken > 0, let first { destination.copyMemory(from: first, byteCount: taken) }
    begin += taken
    return taken
  }

  func drop(upTo byteCount: UInt64) -> UInt64 {
    let dropped = min(byteCount, UInt64(count))
    begin += Int(dropped)
    return dropped
  }

  /// Free room, after the unused bytes were moved to the front.
  func room() -> UnsafeMutableRawBufferPointer {
    if begin > 0 {
      if end > begin, let base = memory.baseAddress { memmove(base, base + begin, end - begin) }
      end -= begin
      begin = 0
    }
    if end < memory.count { memory[end] = 0 }  // for `giveBackMemory`
    return UnsafeMutableRawBufferPointer(rebasing: memory[end...])
  }

  /// `byteCount` bytes were received into `room()`.
  func append(_ byteCount: Int) { end += byteCount }

  /// Points `message` at `payload` and, behind it, at the first `tailByteCount` bytes of the room here.
  func prepareMessage(payload: UnsafeMutableRawBufferPointer, tailByteCount: Int) {
    let tail = room()
    vectors[0] = iovec(iov_base: payload.baseAddress, iov_len: payload.count)
    vectors[1] = iovec(iov_base: tail.baseAddress, iov_len: min(tail.count, tailByteCount))
    message.pointee.msg_iov = vectors
    message.pointee.msg_iovlen = 2
  }
}
