import BlockDevice
import Reactor

/// A few aligned buffers for partial blocks and for copying. They are apart from the payload buffers: who holds one waits for disks only,
/// never for another buffer, so that requests cannot block each other in a circle.
public final class BounceBuffers: @unchecked Sendable {  // reactor-confined
  private let buffers: BufferPool
  private var free: [BufferSlice] = []
  /// Left to hung requests, with no memory for others in their place; looked at again whenever a buffer comes back.
  private var lost: [BufferSlice] = []
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
    for slice in free + lost { buffers.release(slice.buffer) }
  }

  public func acquire() async -> BufferSlice {
    while true {
      if let slice = free.popLast() { return slice }
      await withUnsafeContinuation { waiting.append($0) }
    }
  }

  /// For who goes on to the next piece with the same buffer: a write may have succeeded without the disk that hangs, which still sends these
  /// bytes. Throws when there is no memory for another.
  @inline(__always)
  public func renew(_ slice: inout BufferSlice) throws(BlockError) {
    if PlantedBug.hungBufferReused.isPlanted { return }
    guard let own = buffers.exclusive(slice) else { throw BlockError(.noMemory) }
    slice = own
  }

  /// A buffer that a hung request still uses is left to it, and another takes its place. Without memory for that there is one less.
  public func release(_ slice: BufferSlice) {
    if let own = PlantedBug.hungBufferReused.isPlanted ? slice : buffers.exclusive(slice) {
      free.append(own)
      waiting.wakeFirst()
    } else {
      lost.append(slice)
    }
    while let slice = lost.last, let own = buffers.exclusive(slice) {
      lost.removeLast()
      free.append(own)
      waiting.wakeFirst()
    }
  }
}
