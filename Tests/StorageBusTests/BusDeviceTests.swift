import BlockDevice
import Reactor
import StorageBus
import Testing

/// A disk whose reads wait until the test lets them end.
final class HeldDisk: BlockDevice, @unchecked Sendable {
  var held: [UnsafeContinuation<Void, Never>] = []
  var order: [IOClass] = []

  override var geometry: BlockGeometry { BlockGeometry(byteCount: 1 << 20, logicalSector: 512, physicalSector: 512) }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    order.append(request.ioClass)
    await withUnsafeContinuation { held.append($0) }
  }

  private(set) var isAbandoned = false
  override func abandon() { isAbandoned = true }
  override func oldestRequestAge(now: Instant) -> UInt64 { 7 }
  override var hasDrained: Bool { held.isEmpty }
  override var ailment: String? { "held" }
  override func checkIntegrity() async throws(BlockError) { throw BlockError(.ioFailed) }

  func releaseAll() {
    let waiting = held
    held.removeAll()
    for continuation in waiting { continuation.resume() }
  }
}

/// How reads that run beside the test ended.
final class Outcomes: @unchecked Sendable {  // reactor-confined
  private(set) var errors: [BlockError] = []
  private(set) var count = 0

  func start(_ bus: BusDevice, _ ioClass: IOClass) {
    bus.reactor.spawn { [self] in
      let slice = BufferSlice(start: UnsafeMutableRawPointer(bitPattern: 4096)!, byteCount: 512, buffer: .unpooled)
      do throws(BlockError) { try await bus.read(at: 0, into: slice, IORequest(ioClass: ioClass)) } catch { errors.append(error) }
      count += 1
    }
  }
}

@Suite struct BusDeviceTests {
  private func run(_ body: @escaping @Sendable (HeldDisk, BusDevice, any Reactor) async -> Void) async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let disk = HeldDisk(reactor: reactor, layerName: "Test", label: "disk")
      await body(disk, BusDevice(disk: disk), reactor)
    }
    reactor.stop()
  }

  private func read(_ bus: BusDevice, _ ioClass: IOClass, _ reactor: any Reactor) -> Task<Void, Never> {
    reactor.spawn {
      let slice = await reactor.buffers.acquire(byteCount: 512)
      _ = try? await bus.read(at: 0, into: slice, IORequest(ioClass: ioClass))
      reactor.buffers.release(slice.buffer)
    }
  }

  /// Returns once so many requests have come to the bus: each then waits there, or in the disk.
  private func arrival(of count: Int, at bus: BusDevice) async {
    while bus.statistics[.read].inFlight < count { await bus.reactor.sleep(milliseconds: 0) }
  }

  @Test(.timeLimit(.minutes(1))) func backgroundWorkGetsAFewPlacesWhileApplicationsAreBusyAndNeverNone() async throws {
    try await run { disk, bus, reactor in
      var tasks = (0..<8).map { _ in read(bus, .application, reactor) }
      await arrival(of: 8, at: bus)
      tasks += (0..<8).map { _ in read(bus, .repair, reactor) }
      await arrival(of: 16, at: bus)
      #expect(disk.order.count { $0 == .application } == 8)
      #expect(disk.order.count { $0 == .repair } == StorageBusLimits.backgroundDepthUnderContention)
      while disk.order.count < 16 || !disk.held.isEmpty {
        disk.releaseAll()
        await reactor.sleep(milliseconds: 0)
      }
      for task in tasks { await task.value }
      #expect(bus.statistics[.read].requests == 16)
    }
  }

  @Test(.timeLimit(.minutes(1))) func anAbandonedDiskSendsAwayWhoWaitsInItsQueue() async throws {
    try await run { disk, bus, reactor in
      let outcomes = Outcomes()
      for _ in 0..<StorageBusLimits.firstDepth + 50 { outcomes.start(bus, .application) }
      for _ in 0..<50 { outcomes.start(bus, .repair) }
      await arrival(of: StorageBusLimits.firstDepth + 100, at: bus)
      let sent = StorageBusLimits.firstDepth + StorageBusLimits.backgroundDepthUnderContention
      let waiting = StorageBusLimits.firstDepth + 100 - sent
      #expect(disk.order.count == sent && outcomes.errors.isEmpty)
      bus.abandon()
      #expect(disk.isAbandoned && !bus.hasDrained && bus.ailment == "held" && bus.oldestRequestAge(now: reactor.now) == 7)
      while outcomes.count < waiting { await reactor.sleep(milliseconds: 0) }
      #expect(outcomes.errors.count == waiting && outcomes.errors.allSatisfy { $0 == BlockError(.stalled) })
      #expect(disk.order.count == sent, "nothing more is sent")
      await #expect(throws: BlockError(.ioFailed)) { try await bus.checkIntegrity() }
      // Who was with the disk is that one's to send away.
      disk.releaseAll()
      while outcomes.count < StorageBusLimits.firstDepth + 100 { await reactor.sleep(milliseconds: 0) }
      #expect(outcomes.count == StorageBusLimits.firstDepth + 100)
    }
  }

  @Test(.timeLimit(.minutes(1))) func thePoolsMetadataDoesNotWait() async throws {
    try await run { disk, bus, reactor in
      var tasks = (0..<StorageBusLimits.firstDepth + 10).map { _ in read(bus, .application, reactor) }
      await arrival(of: StorageBusLimits.firstDepth + 10, at: bus)
      #expect(disk.order.count == StorageBusLimits.firstDepth)
      tasks.append(read(bus, .metadata, reactor))
      await arrival(of: StorageBusLimits.firstDepth + 11, at: bus)
      #expect(disk.order.count == StorageBusLimits.firstDepth + 1 && disk.order.last == .metadata)
      while disk.order.count < StorageBusLimits.firstDepth + 11 || !disk.held.isEmpty {
        disk.releaseAll()
        await reactor.sleep(milliseconds: 0)
      }
      for task in tasks { await task.value }
    }
  }

  @Test(.timeLimit(.minutes(1))) func noMoreThanTheDepthIsInFlightAndEverythingIsDone() async throws {
    try await run { disk, bus, reactor in
      let tasks = (0..<StorageBusLimits.firstDepth + 100).map { _ in
        reactor.spawn {
          let slice = BufferSlice(start: UnsafeMutableRawPointer(bitPattern: 4096)!, byteCount: 512, buffer: .unpooled)
          _ = try? await bus.read(at: 0, into: slice, IORequest())
        }
      }
      await arrival(of: tasks.count, at: bus)
      #expect(disk.order.count == StorageBusLimits.firstDepth)
      while disk.order.count < tasks.count || !disk.held.isEmpty {
        disk.releaseAll()
        await reactor.sleep(milliseconds: 0)
      }
      for task in tasks { await task.value }
    }
  }
}
