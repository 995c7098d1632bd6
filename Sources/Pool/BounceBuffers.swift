import Reactor

/// A few aligned buffers for partial blocks and for copying. They are apart from the payload buffers: who holds one waits for disks only,
/// never for another buffer, so that requests cannot block each other in a circle.
public final class BounceBuffers: @unchecked Sendable {  // reactor-confined
  private let buffers: BufferPool
  private var free: [BufferSlice] = []
  private var waiting = WaitQueue()
  /// Zeros, as long as two of the largest blocks. Nobody writes there.
  public let zeroes: BufferSlice
  private static let zeroByteCount = 8192

  /// Of a reactor; there is memory for them, or the process cannot start.
  init(reactor: any Reactor) {
    buffers = reactor.buffers
    guard let zeroes = buffers.reserve(byteCount: BounceBuffers.zeroByteCount) else {
      preconditionFailure("no memory for the bounce buffers of a pool")
    }
    self.zeroes = zeroes
    for _ in 0..<PoolLimits.bounceBufferCount {
      if let slice = buffers.reserve(byteCount: PoolLimits.bounceBufferByteCount) { free.append(slice) }
    }
    precondition(!free.isEmpty, "no memory for the bounce buffers of a pool")
  }

  deinit {
    buffers.release(zeroes.buffer)
    for slice in free { buffers.release(slice.buffer) }
  }

  public func acquire() async -> BufferSlice {
    while true {
      if let slice = free.popLast() { return slice }
      await withUnsafeContinuation { waiting.append($0) }
    }
  }

  /// A buffer that a hung request still uses is left to it, and another takes its place.
  public func release(_ slice: BufferSlice) {
    free.append(buffers.exclusive(slice) ?? slice)
    waiting.wakeFirst()
  }
}
