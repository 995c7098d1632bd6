import BlockDevice
import Reactor

/// A few aligned buffers for partial blocks and for copying. They are apart from the payload buffers: who holds one waits for disks only,
/// never for another buffer, so that requests cannot block each other in a circle.
///
/// Small ones are there from the start. Large ones, for jobs that have the disks to themselves, are made when they are asked for, kept while
/// there are jobs, and given back afterwards: an idle pool holds none.
public final class BounceBuffers: @unchecked Sendable {  // reactor-confined
  private let buffers: BufferPool
  private var free: [BufferSlice] = []
  /// Left to hung requests, with no memory for others in their place; looked at again whenever a buffer comes back.
  private var lost: [BufferSlice] = []
  private var waiting = WaitQueue()
  private var freeLarge: [BufferSlice] = []
  /// Large ones that are held or free; those that hung requests still use are not counted.
  private(set) var largeCount = 0
  private var waitingForLarge = WaitQueue()
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
    for slice in free + lost + freeLarge { buffers.release(slice.buffer) }
  }

  public func acquire() async -> BufferSlice {
    while true {
      if let slice = free.popLast() { return slice }
      await withUnsafeContinuation { waiting.append($0) }
    }
  }

  /// For copying `byteCount` bytes: a small buffer where that is enough, or the system has no memory for a large one.
  public func acquire(forCopying byteCount: UInt64) async -> BufferSlice {
    while byteCount > UInt64(PoolLimits.bounceBufferByteCount) {
      if let slice = freeLarge.popLast() { return slice }
      if largeCount < PoolLimits.copyBufferCount {
        guard let slice = buffers.reserve(byteCount: PoolLimits.copyBufferByteCount) else {
          waitingForLarge.wakeAll()  // there is perhaps none left that would come back
          break
        }
        largeCount += 1
        return slice
      }
      await withUnsafeContinuation { waitingForLarge.append($0) }
    }
    return await acquire()
  }

  /// Gives the memory of large buffers that nobody uses back to the system.
  func releaseIdleLargeBuffers() {
    for slice in freeLarge { buffers.release(slice.buffer) }
    largeCount -= freeLarge.count
    freeLarge.removeAll()
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
    if slice.byteCount > PoolLimits.bounceBufferByteCount { return releaseLarge(slice) }
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

  /// One that a hung request still uses is that disk's alone from here on; whoever needs another makes it.
  private func releaseLarge(_ slice: BufferSlice) {
    if PlantedBug.hungBufferReused.isPlanted || buffers.isExclusive(slice.buffer) {
      freeLarge.append(slice)
    } else {
      buffers.release(slice.buffer)
      largeCount -= 1
    }
    waitingForLarge.wakeFirst()
  }
}
