import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// A cache disk that is slow, fails or goes: it costs time and nothing else.
@Suite struct CacheDiskFaultTests {
  private static let io: Set<DiskOperation> = [.read, .write]

  /// A bench whose cache disk has everything.
  private func run(
    seed: UInt64, slots: Int = 64, _ body: @escaping @Sendable (CacheDiskBench) async throws -> Void
  ) throws -> CacheDiskBench {
    let bench = CacheDiskBench(seed: seed, slots: slots)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      try await body(bench)
      bench.machine.plan.rules = []
      bench.disk.releaseHung()
    }
    return bench
  }

  /// Milliseconds that a body takes.
  private func time(_ bench: CacheDiskBench, _ body: () async throws -> Void) async throws -> UInt64 {
    let began = bench.machine.now
    try await body()
    return bench.machine.now.nanoseconds(since: began) / 1_000_000
  }

  @Test func aReadThatHangsCostsTheTimeLimitOnceAndNobodyAnError() throws {
    _ = try run(seed: 1) { bench in
      let store = try #require(bench.store)
      bench.machine.plan.add(FaultRule(.hang, .atMatch(1), disk: 0, operations: [.read]))
      // One request of many pages waits once.
      #expect(try await time(bench) { try await bench.read(0..<160) } < 800)
      #expect(store.isOverdue && store.isUsable && store.counters.timeouts == 1)
      // While it has not answered nobody asks it, nor gives it anything.
      let hits = store.counters.hits
      #expect(try await time(bench) { for sector in 0..<100 { try await bench.read(sector..<sector + 3) } } < 100)
      #expect(store.counters.hits == hits)
      try await bench.write(0..<40)
      try await bench.read(0..<8)
      #expect(store.counters.skippedFills > 0)
      bench.disk.releaseHung()
      try await bench.settle()
      #expect(!store.isOverdue && bench.losses.isEmpty)
      try await bench.read(100..<160)
      #expect(store.counters.hits > hits)
      #expect(try await bench.close())
      let reactor = try #require(bench.machine.reactor)
      await reactor.sleep(milliseconds: 1000)
      #expect(reactor.buffers.reservedByteCount == 0 && reactor.buffers.heldCount == 0)
    }
  }

  @Test func aDiskThatStallsIsGivenUp() throws {
    _ = try run(seed: 2) { bench in
      bench.machine.plan.add(FaultRule(.hang, .always, disk: 0, operations: Self.io))
      for _ in 0..<300 {
        #expect(try await time(bench) { try await bench.read(3..<30) } < 800)
        await bench.store?.reactor.sleep(milliseconds: 50)
      }
      #expect(bench.losses.count == 1 && bench.store?.isUsable == false && bench.buses[0].cacheDisk == nil)
      guard case .stalled = bench.losses[0] else { throw WrongBytes(description: "\(bench.losses)") }
      #expect(await bench.store?.close(nonces: bench.contents.map(\.found)) == false)
      bench.physical?.abandon()
    }
  }

  @Test func aDiskThatFailsIsGivenUp() throws {
    _ = try run(seed: 3) { bench in
      bench.machine.plan.add(FaultRule(.ioError, .always, disk: 0, operations: Self.io))
      for _ in 0..<20 { try await bench.readAll() }
      await bench.store?.reactor.sleep(milliseconds: 10)
      guard case .errors = bench.losses.first else { throw WrongBytes(description: "\(bench.losses)") }
      #expect(bench.losses.count == 1 && bench.buses[0].cacheDisk == nil)
    }
  }

  @Test func aDiskThatLiesIsGivenUp() throws {
    _ = try run(seed: 4) { bench in
      bench.machine.plan.add(FaultRule(.bitFlip, .always, disk: 0))
      for _ in 0..<20 { try await bench.readAll() }
      await bench.store?.reactor.sleep(milliseconds: 10)
      #expect(bench.losses == [.corrupt])
      #expect(bench.store?.counters.checksumErrors ?? 0 > 10)
    }
  }

  @Test func aDiskThatIsPulledAndReturnsIsColdAndThenUsed() throws {
    _ = try run(seed: 5) { bench in
      bench.disk.vanish()
      try await bench.readAll()
      await bench.store?.reactor.sleep(milliseconds: 10)
      #expect(bench.losses.count == 1)
      try await bench.write(0..<100)
      await bench.store?.close(nonces: bench.contents.map(\.found))
      bench.physical?.abandon()
      await bench.physical?.drained()
      await bench.physical?.close()
      bench.disk.reappear()
      try await bench.reopen()
      #expect(bench.store?.counters.warm == 0)
      try await bench.readAll()
      try await bench.settle()
      let before = bench.capacityReads
      try await bench.read(0..<200)
      #expect(bench.capacityReads == before && bench.losses.count == 1)
      #expect(try await bench.close())
    }
  }

  /// A page on its way to a disk that hangs: its place is given to no other until it has arrived, whatever becomes of the page.
  @Test func aHungFillKeepsItsSlot() throws {
    let bench = CacheDiskBench(seed: 6, slots: 1)
    try bench.run { bench in
      try await bench.open()
      bench.machine.plan.add(FaultRule(.hang, .atMatch(1), disk: 0, operations: [.write]))
      try await bench.read(0..<8)
      try await bench.write(2..<3)
      for page in 1..<20 { try await bench.read(page * 8..<page * 8 + 8) }
      let store = try #require(bench.store)
      #expect(store.counters.fills == 0 && store.usedPageCount == 0 && store.freePageCount == 0)
      bench.disk.releaseHung()
      try await bench.settle()
      #expect(store.counters.fills == 0 && store.freePageCount == 1)
      try await bench.read(8..<16)
      try await bench.settle()
      #expect(store.counters.fills == 1)
      let before = bench.capacityReads
      try await bench.read(8..<16)
      #expect(bench.capacityReads == before)
      #expect(try await bench.close())
    }
  }

  @Test func aDiskThatHangsWhenItIsClosedIsColdAfterwards() throws {
    let bench = try run(seed: 7) { bench in
      bench.machine.plan.add(FaultRule(.hang, .atMatch(1), disk: 0, operations: [.read]))
      try await bench.read(0..<8)
      let store = try #require(bench.store)
      #expect(await store.close(nonces: bench.contents.map(\.found), deadline: store.reactor.now.advanced(milliseconds: 700)) == false)
      bench.physical?.abandon()
    }
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.counters.warm == 0)
      try await bench.close()
    }
  }

  /// Those that hang are then given up together, not one after the other.
  @Test func capacityDisksAreFlushedAtTheSameTime() throws {
    let bench = CacheDiskBench(seed: 11, capacityDisks: 4)
    try bench.run { bench in
      try await bench.open()
      for disk in bench.capacity { disk.flushLatency = 1_000_000_000 }
      let milliseconds = try await time(bench) { try await bench.close() }
      #expect(milliseconds < 1500)
    }
  }

  /// Their buffers are in use elsewhere, and there is no memory for others: workers go, none is left behind, and who waited for one looks again.
  @Test func workersWithoutMemoryGo() throws {
    _ = try run(seed: 12) { bench in
      let store = try #require(bench.store)
      let buffers = store.reactor.buffers
      let key = PageKey(disk: 1, page: 1)
      let reader = try #require(store.beginRead(key, for: IORequest().virtualDisk))
      #expect(await store.finish(reader))
      store.drop(key)
      let fill = try #require(store.takeFill(key, for: .pool))
      store.giveBack(fill)
      let waiting = store.reactor.spawn { await store.waitForReader() }
      await store.reactor.sleep(milliseconds: 1)
      let held = [reader.buffer.buffer, fill.buffer.buffer]
      for buffer in held { buffers.retain(buffer) }
      buffers.refusesToReserve = true
      store.giveBack(reader)
      await waiting.value
      #expect(!store.readers.contains { $0 === reader })
      while let other = store.takeFill(key, for: .pool) { #expect(other !== fill) }
      #expect(!store.fills.contains { $0 === fill } && store.counters.skippedFills > 0)
      buffers.refusesToReserve = false
      for buffer in held { buffers.release(buffer) }
      #expect(try await bench.close())
      await store.reactor.sleep(milliseconds: 1000)
      #expect(buffers.reservedByteCount == 0 && buffers.heldCount == 0)
    }
  }

  /// The newer header decays: the older one must not bring back what it knew.
  @Test(arguments: [UInt64(0), 64 << 10]) func aDamagedHeaderIsCold(offset: UInt64) throws {
    let bench = try run(seed: 8) { bench in try await bench.close() }
    let isNewest = { bench.disk.peek(at: bench.range.lowerBound + offset + 128, byteCount: 1) != [0] }()
    bench.disk.poke(at: bench.range.lowerBound + offset, [UInt8](repeating: 0x55, count: 512))
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.counters.warm == (isNewest ? 0 : 41))
      try await bench.readAll()
      #expect(try await bench.close())
    }
  }

  @Test func whatCannotBeMarkedAsUsedIsNotUsed() throws {
    let bench = try run(seed: 9) { bench in try await bench.close() }
    for operations: Set<DiskOperation> in [[.write], [.flush]] {
      try bench.run { bench in
        bench.machine.plan.rules = [FaultRule(.ioError, .always, disk: 0, operations: operations)]
        await #expect(throws: BlockError.self) { try await bench.open() }
        bench.machine.plan.rules = []
        bench.contents[0].nonce += 1
        #expect(bench.machine.reactor?.buffers.reservedByteCount == 0)
      }
    }
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.counters.warm == 0)
      try await bench.close()
    }
  }

  /// What a change that nobody watched has overtaken does not come in.
  @Test func aDiskIsBoundWhileItIsWritten() throws {
    let bench = CacheDiskBench(seed: 10, slots: 64)
    try bench.run { bench in
      try await bench.open()
      bench.buses[0].unbind()
      bench.capacity[0].latency = 50_000_000
      let reactor = try #require(bench.machine.reactor)
      let write = reactor.spawn { try? await bench.write(0..<8) }
      await reactor.sleep(milliseconds: 10)
      bench.bind()
      bench.capacity[0].latency = 1_000_000
      try await bench.read(0..<8)
      try await bench.settle()
      await write.value
      try await bench.read(0..<8)
      // The same with a binding that ends while it watches.
      bench.capacity[0].latency = 50_000_000
      let second = reactor.spawn { try? await bench.write(0..<8) }
      await reactor.sleep(milliseconds: 10)
      bench.buses[0].unbind()
      bench.bind()
      bench.capacity[0].latency = 1_000_000
      try await bench.read(0..<8)
      try await bench.settle()
      await second.value
      try await bench.readAll()
      try await bench.settle()
      #expect(bench.buses[0].unwatchedChanges == 0 && bench.store?.counters.fills ?? 0 > 30)
      #expect(try await bench.close())
    }
  }
}
