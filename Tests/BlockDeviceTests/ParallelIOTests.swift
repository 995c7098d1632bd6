import Reactor
import Testing

@testable import BlockDevice

/// A device in memory that fails on request.
final class MemoryDevice: BlockDevice, @unchecked Sendable {
  var content = [UInt8](repeating: 0, count: 1 << 16)
  var failsReads = false
  var hangs = false
  private(set) var hanging = WaitQueue()

  override var geometry: BlockGeometry { BlockGeometry(byteCount: UInt64(content.count), logicalSector: 512, physicalSector: 512) }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if hangs { await withUnsafeContinuation { hanging.append($0) } } else { await reactor.sleep(milliseconds: 0) }
    if failsReads { throw BlockError(.ioFailed) }
    for index in 0..<slice.byteCount { slice.bytes[index] = content[Int(offset) + index] }
  }

  func releaseHanging() {
    hangs = false
    hanging.wakeAll()
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    for index in 0..<slice.byteCount { content[Int(offset) + index] = slice.bytes[index] }
  }
}

@Suite struct ParallelIOTests {
  @Test func allPartsAreDoneAndTheFirstErrorIsThrown() async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let good = MemoryDevice(reactor: reactor, layerName: "Memory", label: "good")
      let bad = MemoryDevice(reactor: reactor, layerName: "Memory", label: "bad")
      bad.failsReads = true
      for index in good.content.indices { good.content[index] = UInt8(truncatingIfNeeded: index / 512) }
      let parallel = ParallelIO(reactor: reactor)
      let slice = await reactor.buffers.acquire(byteCount: 32 << 10)
      let split = parallel.begin()
      for index in 0..<64 {
        split.add(IOPart(.read, good, at: UInt64(index) * 512, slice: slice.part(from: index * 512, byteCount: 512)))
      }
      await #expect(throws: Never.self) { try await parallel.performAll(split, IORequest()) }
      for part in 0..<64 {
        #expect(slice.bytes[part * 512] == UInt8(part))
        #expect(slice.bytes[part * 512 + 511] == UInt8(part))
      }
      #expect(good.statistics[.read].requests == 64)
      #expect(good.statistics[.read].bytes == 32 << 10)

      let mixed = parallel.begin()
      for device in [good, bad, good] { mixed.add(IOPart(.read, device, slice: slice)) }
      await parallel.perform(mixed, IORequest())
      #expect((0..<3).map { mixed.error(ofPart: $0) } == [nil, BlockError(.ioFailed), nil])
      await #expect(throws: BlockError(.ioFailed)) { try await parallel.performAll(mixed, IORequest()) }
      #expect(bad.statistics[.read].errors == 2)
      #expect(good.statistics[.read].inFlight == 0)
      reactor.buffers.release(slice.buffer)
      await parallel.close()
    }
    reactor.stop()
  }

  /// A hundred tasks had done the parts of a whole pool: a disk that did not answer soon had them all.
  @Test func aDiskThatHangsHoldsUpNoOther() async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run { [reactor] () async in
      let stuck = MemoryDevice(reactor: reactor, layerName: "Memory", label: "stuck")
      let good = MemoryDevice(reactor: reactor, layerName: "Memory", label: "good")
      stuck.hangs = true
      let parallel = ParallelIO(reactor: reactor)
      let slice = await reactor.buffers.acquire(byteCount: 512)
      @Sendable func read(_ device: MemoryDevice, of virtualDisk: UInt32) async {
        let split = parallel.begin()
        for index in 0..<8 { split.add(IOPart(.read, device, at: UInt64(index) * 512, slice: slice)) }
        await parallel.perform(split, IORequest(virtualDisk: VirtualDiskHandle(number: virtualDisk)))
        #expect(!split.hasError)
        parallel.end(split)
      }
      let waiting = (0..<100).map { _ in reactor.spawn { await read(stuck, of: 1) } }
      while stuck.hanging.count < 800 { await reactor.sleep(milliseconds: 1) }
      await read(good, of: 2)
      #expect(good.statistics[.read].requests == 8)
      stuck.releaseHanging()
      for task in waiting { await task.value }
      reactor.buffers.release(slice.buffer)
      await parallel.close()
    }
    reactor.stop()
  }

  @Test func virtualDisksTakeTurns() {
    var queue = TurnQueue<String>()
    let (one, other) = (VirtualDiskHandle(number: 1), VirtualDiskHandle(number: 2))
    for name in ["a", "b", "c"] { queue.append(name, of: one) }
    queue.append("x", of: other)
    #expect(queue.popFirst() == "a" && queue.popFirst() == "x" && queue.popFirst() == "b")
    queue.append("y", of: other)
    #expect(queue.popFirst() == "c" && queue.popFirst() == "y" && queue.popFirst() == nil)
    queue.append("d", of: one)
    #expect(queue.popFirst() == "d" && queue.popFirst() == nil)
  }

  @Test func boundsAreCheckedBeforeALayerIsAsked() async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let device = MemoryDevice(reactor: reactor, layerName: "Memory", label: "device")
      let slice = await reactor.buffers.acquire(byteCount: 512)
      for offset in [UInt64(1 << 16) - 511, 1 << 16, .max - 511, .max] {
        await #expect(throws: BlockError(.outOfRange)) { try await device.read(at: offset, into: slice, IORequest()) }
      }
      await #expect(throws: BlockError(.outOfRange)) { try await device.discard(at: 512, byteCount: .max, IORequest()) }
      #expect(device.statistics[.read].errors == 4)
      reactor.buffers.release(slice.buffer)
    }
    reactor.stop()
  }
}
