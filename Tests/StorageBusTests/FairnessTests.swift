import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// A disk that works on a number of requests at a time, each for the same time and for so long as its bytes take; the others wait inside,
/// first come first served.
private final class BusyDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  let width: Int
  var nanoseconds: UInt64
  private let isRotational: Bool
  private var working = 0
  private var waiting = WaitQueue()
  private(set) var mostInside = 0
  private var inside = 0

  init(_ reactor: any Reactor, width: Int, nanoseconds: UInt64, isRotational: Bool) {
    self.width = width
    self.nanoseconds = nanoseconds
    self.isRotational = isRotational
    super.init(reactor: reactor, layerName: "Test", label: "disk")
  }

  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: 1 << 40, logicalSector: 512, physicalSector: 512, isRotational: isRotational)
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    await work(nanoseconds + UInt64(slice.byteCount))  // 1 GB/s a place
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    await work(nanoseconds)
  }

  private func work(_ duration: UInt64) async {
    inside += 1
    mostInside = max(mostInside, inside)
    defer { inside -= 1 }
    if working >= width { await withUnsafeContinuation { waiting.append($0) } } else { working += 1 }
    await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds + duration))
    if waiting.isEmpty { working -= 1 } else { waiting.wakeFirst() }
  }

  func forgetMost() { mostInside = inside }
}

/// Reads, or trims, one after the other, `depth` at a time, until the end of the test.
private final class Load: @unchecked Sendable {  // reactor-confined
  private(set) var count: UInt64 = 0
  private(set) var slowest: UInt64 = 0
  var isOver = false

  init(_ bus: BusDevice, _ request: IORequest, depth: Int, byteCount: Int = 4096, trims: Bool = false, pause milliseconds: UInt64 = 0) {
    for _ in 0..<depth {
      bus.reactor.spawn { [self] in
        let slice = BufferSlice(start: UnsafeMutableRawPointer(bitPattern: 4096)!, byteCount: byteCount, buffer: .unpooled)
        while !isOver {
          let began = bus.reactor.now
          if trims {
            try? await bus.discard(at: 0, byteCount: UInt64(byteCount), request)
          } else {
            try? await bus.read(at: 0, into: slice, request)
          }
          count += 1
          slowest = max(slowest, bus.reactor.now.nanoseconds - began.nanoseconds)
          if milliseconds > 0 { await bus.reactor.sleep(milliseconds: milliseconds) }
        }
      }
    }
  }

  func reset() {
    count = 0
    slowest = 0
  }
}

@Suite struct FairnessTests {
  private static func disk(_ number: UInt32) -> IORequest { IORequest(virtualDisk: VirtualDiskHandle(number: number)) }

  private func run(
    width: Int = 8, milliseconds: UInt64 = 1, isRotational: Bool = false, shares: VirtualDiskShares = VirtualDiskShares(),
    _ body: @escaping @Sendable (BusyDisk, BusDevice, SimulatedReactor) async -> [Load]
  ) throws {
    let reactor = SimulatedReactor(seed: 1)
    try reactor.runToCompletion {
      let disk = BusyDisk(reactor, width: width, nanoseconds: milliseconds * 1_000_000, isRotational: isRotational)
      let bus = BusDevice(disk: disk, shares: shares)
      let loads = await body(disk, bus, reactor)
      for load in loads { load.isOver = true }
      while bus.statistics[.read].inFlight > 0 { await reactor.sleep(milliseconds: 1) }
    }
  }

  @Test func virtualDisksGetADiskInProportionToTheirShares() throws {
    let shares = VirtualDiskShares()
    shares.set(300, of: VirtualDiskHandle(number: 2))
    shares.set(50, of: VirtualDiskHandle(number: 3))
    try run(shares: shares) { _, bus, reactor in
      // However many requests each has in flight.
      let loads = [Load(bus, Self.disk(1), depth: 256), Load(bus, Self.disk(2), depth: 100), Load(bus, Self.disk(3), depth: 1000)]
      await reactor.sleep(milliseconds: 1000)
      for load in loads { load.reset() }
      await reactor.sleep(milliseconds: 2000)
      let (one, two, three) = (Double(loads[0].count), Double(loads[1].count), Double(loads[2].count))
      #expect((2.8...3.2).contains(two / one), "\(two) to \(one)")
      #expect((0.45...0.55).contains(three / one), "\(three) to \(one)")
      // And nothing of the disk is lost by it: 8 at a time, 1.004 ms each.
      #expect(one + two + three > 0.97 * 2000 * 8 / 1.0041, "\(one + two + three)")
      return loads
    }
  }

  /// After years, and where it would have run over.
  @Test(arguments: [StorageBusLimits.virtualTimeLimit, UInt64.max]) func sharesHoldWhenVirtualTimeBeginsAnew(limit: UInt64) throws {
    let shares = VirtualDiskShares()
    shares.set(300, of: VirtualDiskHandle(number: 2))
    try run(shares: shares) { _, bus, reactor in
      // A tenth of a second before.
      bus.scheduler.virtualTime = limit - 200 * 72 * 10_000
      let loads = [Load(bus, Self.disk(1), depth: 100), Load(bus, Self.disk(2), depth: 100)]
      await reactor.sleep(milliseconds: 1000)
      for load in loads { load.reset() }
      await reactor.sleep(milliseconds: 2000)
      let ratio = Double(loads[1].count) / Double(loads[0].count)
      #expect((2.8...3.2).contains(ratio), "\(ratio)")
      #expect(bus.scheduler.virtualTime < StorageBusLimits.virtualTimeLimit)
      return loads
    }
  }

  /// Trims have their turn as reads have: who trims much is held to its share, and holds up nobody.
  @Test func trimsHaveShares() throws {
    let shares = VirtualDiskShares()
    shares.set(300, of: VirtualDiskHandle(number: 2))
    try run(shares: shares) { _, bus, reactor in
      let trims = [Load(bus, Self.disk(1), depth: 200, trims: true), Load(bus, Self.disk(2), depth: 200, trims: true)]
      let reads = Load(bus, Self.disk(3), depth: 200)
      let loads = trims + [reads]
      await reactor.sleep(milliseconds: 1000)
      for load in loads { load.reset() }
      await reactor.sleep(milliseconds: 2000)
      let (one, two, three) = (Double(loads[0].count), Double(loads[1].count), Double(loads[2].count))
      #expect((2.8...3.2).contains(two / one), "\(two) to \(one)")
      // 32 KiB a trim, 36 a read.
      #expect((0.8...1).contains(three / one), "\(three) to \(one)")
      return loads
    }
  }

  @Test func bytesCountToo() throws {
    try run { _, bus, reactor in
      // So many that both always have some that wait.
      let small = Load(bus, Self.disk(1), depth: 400, byteCount: 4096)
      let large = Load(bus, Self.disk(2), depth: 64, byteCount: 1 << 20)
      await reactor.sleep(milliseconds: 1000)
      for load in [small, large] { load.reset() }
      await reactor.sleep(milliseconds: 2000)
      // 32 KiB and its bytes each: 36 KiB against 1056.
      let ratio = Double(small.count) / Double(large.count)
      #expect((26...33).contains(ratio), "\(ratio)")
      return [small, large]
    }
  }

  @Test func aSmallVirtualDiskDoesNotWaitBehindALargeOne() throws {
    try run { _, bus, reactor in
      let heavy = Load(bus, Self.disk(1), depth: 1000)
      await reactor.sleep(milliseconds: 2000)
      let light = Load(bus, Self.disk(2), depth: 1, pause: 5)
      await reactor.sleep(milliseconds: 2000)
      // The bound of 10 ms for what the disk already has, and its turn; alone in a line of 1000 it would be 125 ms.
      #expect(light.count > 80 && light.slowest < 25_000_000, "\(light.count) reads, the slowest \(light.slowest) ns")
      return [heavy, light]
    }
  }

  @Test(arguments: [(1, 1), (4, 1), (16, 2), (64, 5), (8, 5)] as [(Int, UInt64)])
  func theDepthKeepsTheLatencyInItsBoundAndTheDiskBusy(width: Int, milliseconds: UInt64) throws {
    try run(width: width, milliseconds: milliseconds) { disk, bus, reactor in
      let load = Load(bus, Self.disk(1), depth: 500)
      await reactor.sleep(milliseconds: 1500)
      load.reset()
      disk.forgetMost()
      let before = disk.statistics[.read]
      await reactor.sleep(milliseconds: 1000)
      let after = disk.statistics[.read]
      let mean = (after.totalNanoseconds - before.totalNanoseconds) / (after.requests - before.requests)
      #expect(mean < 12_000_000, "\(mean) ns on average, up to \(disk.mostInside) requests in the disk")
      let most = 1000.0 * Double(width) / (Double(milliseconds) + 0.004)
      #expect(Double(load.count) > 0.95 * most, "\(load.count) of \(most) reads")
      return [load]
    }
  }

  @Test func aDiskThatIsSlowerThanTheBoundGetsItsOwn() throws {
    try run(width: 16, milliseconds: 30) { disk, bus, reactor in
      let load = Load(bus, Self.disk(1), depth: 500)
      await reactor.sleep(milliseconds: 10_000)
      load.reset()
      await reactor.sleep(milliseconds: 2000)
      #expect(Double(load.count) > 0.9 * 2000 * 16 / 30, "\(load.count)")
      // It became quick: the bound is that of others again.
      disk.nanoseconds = 1_000_000
      await reactor.sleep(milliseconds: 4000)
      let before = disk.statistics[.read]
      await reactor.sleep(milliseconds: 4000)
      let after = disk.statistics[.read]
      let mean = (after.totalNanoseconds - before.totalNanoseconds) / (after.requests - before.requests)
      #expect(mean < 12_000_000, "\(mean) ns")
      return [load]
    }
  }

  /// Many fast disks of virtual machines say that their heads move: only one that takes its time is given more of it.
  @Test(arguments: [(1, 12), (8, 100)] as [(UInt64, UInt64)])
  func whoseHeadsMoveHasMoreTimeIfItTakesTime(milliseconds: UInt64, mostMean: UInt64) throws {
    try run(width: 1, milliseconds: milliseconds, isRotational: true) { disk, bus, reactor in
      let load = Load(bus, Self.disk(1), depth: 500)
      await reactor.sleep(milliseconds: 10_000)
      load.reset()
      let before = disk.statistics[.read]
      await reactor.sleep(milliseconds: 4000)
      let after = disk.statistics[.read]
      let mean = (after.totalNanoseconds - before.totalNanoseconds) / (after.requests - before.requests)
      #expect((mostMean / 2 * 1_000_000...mostMean * 1_000_000).contains(mean), "\(mean) ns on average")
      #expect(Double(load.count) > 0.95 * 4000 / Double(milliseconds), "\(load.count)")
      return [load]
    }
  }

  @Test func neitherApplicationsNorBackgroundWorkStarve() throws {
    try run { _, bus, reactor in
      let background = Load(bus, IORequest(ioClass: .repair), depth: 500)
      await reactor.sleep(milliseconds: 1500)
      // All of the disk, as long as nobody else wants it.
      background.reset()
      await reactor.sleep(milliseconds: 1000)
      #expect(Double(background.count) > 0.95 * 1000 * 8 / 1.004, "\(background.count)")
      let applications = Load(bus, Self.disk(1), depth: 500)
      await reactor.sleep(milliseconds: 1500)
      background.reset()
      applications.reset()
      await reactor.sleep(milliseconds: 4000)
      let part = Double(background.count) / Double(background.count + applications.count)
      #expect(part > 0.02 && part < 0.25, "background work has \(part)")
      return [background, applications]
    }
  }

  /// Readers that do not use the whole depth may not raise the bound that is there to keep them short.
  @Test(arguments: [8, 31, 33]) func loadDoesNotRaiseTheBound(depth: Int) throws {
    try run(width: 1) { _, bus, reactor in
      let heavy = Load(bus, Self.disk(1), depth: depth)
      await reactor.sleep(milliseconds: 3000)
      let light = Load(bus, Self.disk(2), depth: 1, pause: 20)
      await reactor.sleep(milliseconds: 3000)
      #expect(bus.scheduler.latencyBound == StorageBusLimits.latencyBound, "\(bus.scheduler.latencyBound) ns")
      #expect(light.count > 50 && light.slowest < 25_000_000, "\(light.count) reads, the slowest \(light.slowest) ns")
      return [heavy, light]
    }
  }
}
