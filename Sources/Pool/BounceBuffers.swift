import Reactor

/// A few aligned buffers for partial blocks. They are apart from the payload buffers: who holds one waits for disks only, never for
/// another buffer, so that requests cannot block each other in a circle.
public final class BounceBuffers: @unchecked Sendable {  // reactor-confined
  private let memory: UnsafeMutableRawPointer
  private var free: [BufferSlice] = []
  private var waiting = WaitQueue()
  /// Zeros, as long as two of the largest blocks. Nobody writes there.
  public let zeroes: BufferSlice
  private static let zeroByteCount = 8192

  public init() {
    memory = .allocate(
      byteCount: PoolLimits.bounceBufferCount * PoolLimits.bounceBufferByteCount + BounceBuffers.zeroByteCount, alignment: 4096)
    let zeroStart = memory + PoolLimits.bounceBufferCount * PoolLimits.bounceBufferByteCount
    zeroStart.initializeMemory(as: UInt8.self, repeating: 0, count: BounceBuffers.zeroByteCount)
    zeroes = BufferSlice(start: zeroStart, byteCount: BounceBuffers.zeroByteCount, buffer: .unpooled)
    for index in 0..<PoolLimits.bounceBufferCount {
      free.append(
        BufferSlice(
          start: memory + index * PoolLimits.bounceBufferByteCount, byteCount: PoolLimits.bounceBufferByteCount, buffer: .unpooled))
    }
  }

  deinit { memory.deallocate() }

  public func acquire() async -> BufferSlice {
    while true {
      if let slice = free.popLast() { return slice }
      await withUnsafeContinuation { waiting.append($0) }
    }
  }

  public func release(_ slice: BufferSlice) {
    free.append(slice)
    waiting.wakeFirst()
  }
}
