import BlockDevice
import PhysicalDisk
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// Virtual disks share a cache disk as they share the disks behind it.
@Suite struct CacheDiskShareTests {
  @Test(arguments: [(60, 60), (400, 60)]) func aBusyCacheDiskIsShared(depths: (Int, Int)) throws {
    let shares = VirtualDiskShares()
    shares.set(300, of: VirtualDiskHandle(number: 2))
    let bench = CacheDiskBench(seed: 21, slots: 40)
    bench.layersOverCacheDisk = { BusDevice(disk: NarrowDisk($0), shares: shares) }
    try bench.run { bench in
      try await bench.open()
      for _ in 0..<3 { try await bench.read(0..<128) }
      try await bench.settle()
      let (bus, reactor) = (bench.buses[0], bench.buses[0].reactor)
      let before = try #require(bench.store).counters
      let readers = [Readers(bus, 1, depth: depths.0), Readers(bus, 2, depth: depths.1)]
      await reactor.sleep(milliseconds: 300)
      for reader in readers { reader.count = 0 }
      await reactor.sleep(milliseconds: 1000)
      let ratio = Double(readers[1].count) / Double(readers[0].count)
      #expect((2.7...3.3).contains(ratio), "\(readers[1].count) to \(readers[0].count)")
      for reader in readers { reader.isOver = true }
      while bus.statistics[.read].inFlight > 0 { await reactor.sleep(milliseconds: 1) }
      // All of it came from the cache disk.
      #expect(try #require(bench.store).counters.misses == before.misses)
      try await bench.close()
    }
  }
}

/// Reads the first 16 pages round and round, `depth` at a time.
private final class Readers: @unchecked Sendable {  // reactor-confined
  var count = 0
  var isOver = false

  init(_ bus: BusDevice, _ virtualDisk: UInt32, depth: Int) {
    for first in 0..<depth {
      bus.reactor.spawn { [self] in
        let slice = await bus.reactor.buffers.acquire(byteCount: 4096)
        defer { bus.reactor.buffers.release(slice.buffer) }
        var page = UInt64(first)
        while !isOver {
          page = (page + 1) % 16
          try? await bus.read(at: page * 4096, into: slice, IORequest(virtualDisk: VirtualDiskHandle(number: virtualDisk)))
          count += 1
        }
      }
    }
  }
}

/// Reads eight pages at a time, each for a millisecond.
private final class NarrowDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let disk: PhysicalDisk
  private var working = 0
  private var waiting = WaitQueue()

  init(_ disk: PhysicalDisk) {
    self.disk = disk
    super.init(reactor: disk.reactor, layerName: "Test", label: "narrow")
  }

  override var geometry: BlockGeometry { disk.geometry }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if working >= 8 { await withUnsafeContinuation { waiting.append($0) } } else { working += 1 }
    await reactor.sleep(milliseconds: 1)
    defer { if waiting.isEmpty { working -= 1 } else { waiting.wakeFirst() } }
    try await disk.read(at: offset, into: slice, request)
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await disk.write(at: offset, from: slice, request)
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await disk.flush(request) }
}
