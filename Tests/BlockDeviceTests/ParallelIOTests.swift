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
      let parts = (0..<64).map { IOPart(.read, good, at: UInt64($0) * 512, slice: slice.part(from: $0 * 512, byteCount: 512)) }
      await #expect(throws: Never.self) { try await parallel.perform(parts, IORequest()) }
      for part in 0..<64 {
        #expect(slice.bytes[part * 512] == UInt8(part))
        #expect(slice.bytes[part * 512 + 511] == UInt8(part))
      }
      #expect(good.statistics[.read].requests == 64)
      #expect(good.statistics[.read].bytes == 32 << 10)

      let mixed = [IOPart(.read, good, slice: slice), IOPart(.read, bad, slice: slice), IOPart(.read, good, slice: slice)]
      await #expect(throws: BlockError(.ioFailed)) { try await parallel.perform(mixed, IORequest()) }
      #expect(bad.statistics[.read].errors == 1)
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
