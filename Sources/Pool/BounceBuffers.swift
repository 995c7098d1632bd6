import Reactor

/// A few aligned buffers for partial blocks. They are apart from the payload buffers: who holds one waits for disks only, never for
/// another buffer, so that requests cannot block each other in a circle.
public final class BounceBuffers: @unchecked Sendable {  // reactor-confined
  public static let count = 16
  public static let byteCount = 64 << 10

  private let memory: UnsafeMutableRawPointer
  private var free: [BufferSlice] = []
  private var waiting = WaitQueue()
  /// Zeros, as long as two of the largest blocks. Nobody writes there.
  public let zeroes: BufferSlice
  private static let zeroByteCount = 8192

  public init() {
    memory = .allocate(byteCount: BounceBuffers.count * BounceBuffers.byteCount + BounceBuffers.zeroByteCount, alignment: 4096)
    let zeroStart = memory + BounceBuffers.count * BounceBuffers.byteCount
    zeroStart.initializeMemory(as: UInt8.self, repeating: 0, count: BounceBuffers.zeroByteCount)
    zeroes = BufferSlice(start: zeroStart, byteCount: BounceBuffers.zeroByteCount, buffer: .unpooled)
    for index in 0..<BounceBuffers.count {
      free.append(
        BufferSlice(start: memory + index * BounceBuffers.byteCount, byteCount: BounceBuffers.byteCount, buffer: .unpooled))
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
