import BlockDevice
import Reactor
import Testing
import Volume

/// Remembers what it was asked.
final class RecordingDevice: BlockDevice, @unchecked Sendable {
  var asked: [String] = []

  override var geometry: BlockGeometry { BlockGeometry(byteCount: 1 << 20, logicalSector: 512, physicalSector: 4096) }
  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    asked.append("read \(offset)+\(slice.byteCount)")
  }
  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    asked.append("write \(offset)+\(slice.byteCount) fua=\(request.isForceUnitAccess)")
  }
  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    asked.append("flush")
    return FlushToken(number: 1)
  }
  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    asked.append("discard \(offset)+\(byteCount)")
  }
  override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    asked.append("zero \(offset)+\(byteCount) keep=\(request.flags.contains(.keepAllocated))")
  }
}

@Suite struct VolumeTests {
  @Test func requestsPassThroughUnchangedAndAreCounted() async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let device = RecordingDevice(reactor: reactor, layerName: "Test", label: "below")
      let volume = Volume(device, label: "tank/disk")
      let slice = await reactor.buffers.acquire(byteCount: 4096)
      await #expect(throws: Never.self) { () async throws in
        try await volume.read(at: 512, into: slice, IORequest())
        try await volume.write(at: 1024, from: slice, IORequest(flags: .forceUnitAccess))
        try await volume.flush(IORequest())
        try await volume.discard(at: 0, byteCount: 8192, IORequest())
        try await volume.writeZeroes(at: 4096, byteCount: 512, IORequest(flags: .keepAllocated))
      }
      #expect(device.asked == ["read 512+4096", "write 1024+4096 fua=true", "flush", "discard 0+8192", "zero 4096+512 keep=true"])
      #expect(volume.statistics[.write].bytes == 4096 && volume.statistics[.flush].requests == 1)
      await #expect(throws: BlockError(.outOfRange)) { try await volume.read(at: (1 << 20) - 4095, into: slice, IORequest()) }
      #expect(volume.geometry == device.geometry)
      reactor.buffers.release(slice.buffer)
    }
    reactor.stop()
  }

  @Test func clientsAreCounted() async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let volume = Volume(RecordingDevice(reactor: reactor, layerName: "Test", label: "below"), label: "tank/disk")
      volume.addClient()
      volume.addClient()
      volume.removeClient()
      #expect(volume.clientCount == 1)
      #expect(volume.remarks == ["1 client"])
    }
    reactor.stop()
  }
}
