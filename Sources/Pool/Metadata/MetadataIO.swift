import BlockDevice
import CLinux
import Reactor

/// Memory for reading metadata, on a page boundary.
final class MemoryBlock: @unchecked Sendable {  // reactor-confined
  let bytes: UnsafeMutableRawBufferPointer

  init(byteCount: Int) { bytes = .allocate(byteCount: byteCount, alignment: FormatLimits.blockByteCount) }

  deinit { bytes.deallocate() }
}

/// Reading and writing of metadata when a pool is opened, formatted or inspected. An open store's own writes use buffers it holds for
/// good: it must never wait for a buffer that a request holds which itself waits for a commit.
enum MetadataIO {
  static let request = IORequest(ioClass: .metadata, cacheHint: .bypass)
  static let durable = request.with(flags: .forceUnitAccess)

  /// A buffer in place of one that was left to a device. It comes from nothing that requests may hold: those may wait for the very write that it
  /// is for. Waits only while the system has no memory.
  static func ownBuffer(_ reactor: any Reactor, byteCount: Int) async -> BufferSlice {
    while true {
      if let buffer = reactor.buffers.reserve(byteCount: byteCount) { return buffer }
      await reactor.sleep(milliseconds: StoreLimits.memoryRetryMilliseconds)
    }
  }

  static func read(_ device: BlockDevice, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer) async throws(BlockError) {
    let step = min(bytes.count, StoreLimits.transferByteCount)
    let buffer = await device.reactor.buffers.acquire(byteCount: step)
    defer { device.reactor.buffers.release(buffer.buffer) }
    var done = 0
    while done < bytes.count {
      let slice = buffer.part(from: 0, byteCount: min(step, bytes.count - done))
      try await device.read(at: offset + UInt64(done), into: slice, request)
      memcpy(bytes.baseAddress! + done, slice.start, slice.byteCount)
      done += slice.byteCount
    }
  }

  static func read(_ device: BlockDevice, at offset: UInt64, byteCount: Int) async throws(BlockError) -> MemoryBlock {
    let block = MemoryBlock(byteCount: byteCount)
    try await read(device, at: offset, into: block.bytes)
    return block
  }

  /// One block of 4096 bytes that `fill` makes, to each of `offsets`.
  static func writeBlock(
    _ device: BlockDevice, at offsets: [UInt64], fill: (UnsafeMutableRawBufferPointer) -> Void
  ) async throws(BlockError) {
    let buffer = await device.reactor.buffers.acquire(byteCount: FormatLimits.blockByteCount)
    defer { device.reactor.buffers.release(buffer.buffer) }
    fill(buffer.bytes)
    for offset in offsets { try await device.write(at: offset, from: buffer, request) }
  }

  /// Zeros, really written: a file's blocks that are only promised could turn out not to be there when they are needed.
  static func writeZeros(_ device: BlockDevice, at offset: UInt64, byteCount: UInt64) async throws(BlockError) {
    let step = UInt64(StoreLimits.transferByteCount)
    let buffer = await device.reactor.buffers.acquire(byteCount: StoreLimits.transferByteCount)
    defer { device.reactor.buffers.release(buffer.buffer) }
    buffer.bytes.zero()
    var done: UInt64 = 0
    while done < byteCount {
      let slice = buffer.part(from: 0, byteCount: Int(min(step, byteCount - done)))
      try await device.write(at: offset + done, from: slice, request)
      done += UInt64(slice.byteCount)
    }
  }

  /// Does `body` for all items at the same time and returns the errors, in the order of the items.
  static func inParallel<Item: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws(BlockError) -> Void
  ) async -> [BlockError?] {
    if items.count == 1 { return [await outcome(items[0], body)] }
    return await withTaskGroup(of: (Int, BlockError?).self) { group in
      for (index, item) in items.enumerated() { group.addTask { (index, await outcome(item, body)) } }
      var errors = [BlockError?](repeating: nil, count: items.count)
      for await (index, error) in group { errors[index] = error }
      return errors
    }
  }

  private static func outcome<Item>(_ item: Item, _ body: (Item) async throws(BlockError) -> Void) async -> BlockError? {
    do throws(BlockError) {
      try await body(item)
      return nil
    } catch { return error }
  }
}
