import CLinux
import PhysicalDisk
import Reactor
import Simulation
import Testing

@Suite struct FaultTests {
  @Test func errorsComeAtTheNumberedOperationAndOnlyThere() throws {
    let machine = machineWithOneDisk(
      seed: 1,
      plan: [
        FaultRule(.ioError, .atMatch(2), operations: [.write]), FaultRule(.noSpace, .atMatch(3), operations: [.write]),
        FaultRule(.ioError, .always, operations: [.read], range: 4096..<8192, limit: 1),
      ])
    let results = try onDisk(machine) { port, reactor in
      var results: [Int32] = []
      for number in 1...4 as ClosedRange<UInt64> { results.append(await port.write(Fill(number), sectors: number..<number + 1, reactor)) }
      return results
    }
    #expect(results == [0, -EIO, -ENOSPC, 0])
    #expect(machine.disks[0].peekFills(sectors: 3..<4) == [.zeros], "a write without space writes nothing")
    machine.powerOn()
    try onDisk(machine) { port, reactor in
      _ = try await port.fills(sectors: 0..<8, reactor)
      do {
        _ = try await port.fills(sectors: 0..<9, reactor)
        throw Surprise("the latent sector was read")
      } catch let error as Surprise where error.description.contains("-5") {}
      _ = try await port.fills(sectors: 0..<9, reactor)
    }
    #expect(machine.coverage[.readError] == 1 && machine.coverage[.writeError] == 1 && machine.coverage[.noSpace] == 1)
  }

  @Test func aFailedFlushLosesDataThoughTheNextOneSucceeds() throws {
    var afterwards = Set<Fill?>()
    var before = Set<Fill?>()
    for seed in 0..<40 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed, plan: [FaultRule(.ioError, .atMatch(1), operations: [.flush])])
      before.formUnion(
        try onDisk(machine) { port, reactor in
          _ = await port.write(Fill(1), sectors: 0..<1, reactor)
          if await port.synchronize() != -EIO { throw Surprise("the first flush must fail") }
          _ = await port.write(Fill(2), sectors: 1..<2, reactor)
          if await port.synchronize() != 0 { throw Surprise("the second flush must succeed") }
          return try await port.fills(sectors: 0..<1, reactor)
        })
      machine.cutPower()
      #expect(machine.disks[0].peekFills(sectors: 1..<2) == [Fill(2)])
      afterwards.formUnion(machine.disks[0].peekFills(sectors: 0..<1))
      #expect(machine.coverage[.dataGoneAfterFailedFlush] == 1)
    }
    #expect(before == [.zeros, Fill(1)] && afterwards.contains(.zeros))
  }

  @Test func aStallTakesVirtualTimeOnly() throws {
    let machine = machineWithOneDisk(seed: 1, plan: [FaultRule(.stall(seconds: 60...60), .atMatch(1), operations: [.write])])
    let began = machine.now
    #expect(try onDisk(machine) { port, reactor in await port.write(Fill(1), sectors: 0..<1, reactor) } == 0)
    #expect(machine.now.nanoseconds(since: began) >= 60_000_000_000)
    #expect(machine.disks[0].peekFills(sectors: 0..<1) == [Fill(1)])
  }

  @Test func aHungWriteLandsWhenReleasedAndAHangForEverIsADeadlock() throws {
    let machine = machineWithOneDisk(seed: 1, plan: [FaultRule(.hang, .atMatch(1), operations: [.write])])
    let reactor = try machine.present()
    let port = try machine.openDisk(0)
    let task = reactor.spawn { _ = await port.write(Fill(1), sectors: 0..<1, reactor) }
    #expect { try reactor.runToCompletion(task) } throws: { error in
      (error as? SimulationError)?.cause == .deadlock && "\(error)".contains("disk0 write 0+512")
    }
    #expect(machine.disks[0].peekFills(sectors: 0..<1) == [.zeros])
    machine.disks[0].releaseHung()
    try reactor.runToCompletion(task)
    #expect(machine.disks[0].peekFills(sectors: 0..<1) == [Fill(1)])
  }

  @Test func silentFaultsAreSilent() throws {
    func run(_ fault: Fault, _ operation: DiskOperation) throws -> (result: Int32, first: Fill?, machine: SimulatedMachine) {
      let machine = machineWithOneDisk(seed: 8, plan: [FaultRule(fault, .atMatch(1), operations: [operation])])
      let (result, fills) = try onDisk(machine) { port, reactor in
        (await port.write(Fill(1), sectors: 0..<1, reactor), try await port.fills(sectors: 0..<1, reactor))
      }
      return (result, fills[0], machine)
    }
    let phantom = try run(.phantomWrite, .write)
    #expect(phantom.result == 0 && phantom.first == .zeros)
    let misdirected = try run(.misdirectedWrite(), .write)
    #expect(misdirected.result == 0 && misdirected.first == .zeros)
    #expect(misdirected.machine.disks[0].peek(at: 0, byteCount: 1 << 20).contains { $0 != 0 })
    let flipped = try run(.bitFlip, .read)
    #expect(flipped.result == 0 && flipped.first == nil)
    #expect(flipped.machine.disks[0].peekFills(sectors: 0..<1) == [Fill(1)])
  }

  @Test func aVanishedDiskAnswersENODEVAndReturnsForANewPort() throws {
    let machine = machineWithOneDisk(seed: 1, plan: [FaultRule(.diskVanishes, .atMatch(2), operations: [.write])])
    let reactor = try machine.present()
    let port = try machine.openDisk(0)
    let results = try reactor.runToCompletion { () async -> [Int32] in
      var results: [Int32] = []
      for number in 1...3 as ClosedRange<UInt64> { results.append(await port.write(Fill(number), sectors: number..<number + 1, reactor)) }
      return results
    }
    #expect(results == [0, -ENODEV, -ENODEV])
    #expect(machine.disks[0].open() == nil)
    machine.disks[0].reappear()
    let fresh = try machine.openDisk(0)
    let after = try reactor.runToCompletion { () async -> [Int32] in [await port.synchronize(), await fresh.synchronize()] }
    #expect(after == [-ENODEV, 0])
    #expect(machine.disks[0].peekFills(sectors: 1..<2) == [Fill(1)])
  }

  @Test func aCloneHasTheSameContentAndALifeOfItsOwn() throws {
    let machine = machineWithOneDisk(seed: 1)
    _ = try onDisk(machine) { port, reactor in await port.write(Fill(1), sectors: 0..<1, reactor) }
    let clone = machine.addClone(of: machine.disks[0], name: "clone")
    machine.disks[0].poke(at: 0, [UInt8](repeating: 9, count: 512))
    #expect(clone.peekFills(sectors: 0..<1) == [Fill(1)])
    #expect(machine.disks[0].peek(at: 0, byteCount: 2) == [9, 9])
  }

  // MARK: Rules of the border

  private func violation(_ body: @escaping @Sendable (SimulatedDiskPort, SimulatedReactor) async throws -> Void) throws -> String {
    let machine = machineWithOneDisk(seed: 1)
    let error = #expect(throws: SimulationError.self) { try onDisk(machine, body) }
    #expect(error?.cause == .violation)
    return error?.description ?? ""
  }

  @Test func brokenRulesAreReported() throws {
    let misaligned = try violation { port, _ in _ = await port.zero(at: 100, byteCount: 512) }
    #expect(misaligned.contains("not aligned"))
    let outside = try violation { port, _ in _ = await port.punch(at: 1 << 20, byteCount: 512) }
    #expect(outside.contains("beyond the end"))
    let closed = try violation { port, _ in
      await port.close()
      _ = await port.synchronize()
    }
    #expect(closed.contains("after it was closed"))
    let changed = try violation { port, reactor in
      let slice = await reactor.buffers.acquire(byteCount: 512)
      async let result = port.write(slice, at: 0, isDurable: false)
      await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds + 1000))
      slice.bytes[5] ^= 1
      _ = await result
    }
    #expect(changed.contains("changed while it was in flight"))
  }

  @Test func aDiskIsClaimedOnce() throws {
    let machine = machineWithOneDisk(seed: 1)
    let port = try machine.openDisk(0)
    #expect(machine.disks[0].open() == nil)
    try machine.present().runToCompletion { await port.close() }
    #expect(machine.disks[0].open() != nil)
  }
}
