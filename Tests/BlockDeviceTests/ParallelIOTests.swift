import BlockDevice
import Reactor
import Testing

/// A device in memory that fails on request.
final class MemoryDevice: BlockDevice, @unchecked Sendable {
  var content = [UInt8](repeating: 0, count: 1 << 16)
  var failsReads = false

  override var geometry: BlockGeometry { BlockGeometry(byteCount: UInt64(content.count), logicalSector: 512, physicalSector: 512) }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    await reactor.sleep(milliseconds: 0)
    if failsReads { throw BlockError(.ioFailed) }
    for index in 0..<slice.byteCount { slice.bytes[index] = content[Int(offset) + index] }
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
