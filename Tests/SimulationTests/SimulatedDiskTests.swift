import CLinux
import PhysicalDisk
import Reactor
import Simulation
import Testing

@Suite struct SimulatedDiskTests {
  /// Many operations on two disks with faults; the digest of it all.
  private func busyRun(seed: UInt64) throws -> SimulatedMachine {
    let machine = SimulatedMachine(
      seed: seed, plan: FaultPlan([FaultRule(.ioError, .perMillion(50_000)), FaultRule(.stall(seconds: 1...3), .perMillion(5_000))]))
    machine.addDisk(.blockDevice("a", byteCount: 1 << 20))
    machine.addDisk(.file("b", byteCount: 1 << 20))
    let reactor = machine.powerOn()
    let ports = [try machine.openDisk(0), try machine.openDisk(1)]
    try reactor.runToCompletion {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<4 as Range<UInt64> {
          group.addTask {
            for step in 0..<25 as Range<UInt64> {
              let port = ports[Int(reactor.random() % 2)]
              let first = reactor.random() % 32 * 8
              _ = await port.write(Fill(worker * 100 + step + 1), sectors: first..<first + 8, reactor, isDurable: step % 5 == 0)
              _ = try? await port.fills(sectors: 0..<64, reactor)
              if step % 7 == 0 { _ = await port.synchronize() }
              if step % 9 == 0 { _ = await port.punch(at: first * 512, byteCount: 4096) }
              if step % 11 == 0 { _ = await port.zero(at: first * 512, byteCount: 4096) }
            }
          }
        }
      }
    }
    machine.cutPower()
    for disk in machine.disks { machine.note("\(disk.peek(at: 0, byteCount: 256 * 512).hashOfBytes)") }
    return machine
  }

  @Test func theSameSeedGivesTheSameRun() throws {
    let first = try busyRun(seed: 42)
    let again = try busyRun(seed: 42)
    let other = try busyRun(seed: 43)
    #expect(first.digest == again.digest)
    #expect(first.trace.lines() == again.trace.lines())
    #expect(first.digest != other.digest)
    #expect(first.trace.eventCount > 200)
    let wanted: [CoverageEvent] = [
      .read, .write, .durableWrite, .flush, .punch, .readError, .writeError, .powerCut, .overlappingWritesInFlight,
    ]
    for event in wanted {
      #expect(first.coverage[event] > 0, "\(event)")
    }
    #expect(first.coverage.missing.contains(.bitFlip))
    #expect(first.coverage.description.contains("powerCut"))
  }

  @Test func readsBackAndStartsWithZerosOrNoise() throws {
    for startsWithGarbage in [false, true] {
      let machine = machineWithOneDisk(seed: 3) { $0.startsWithGarbage = startsWithGarbage }
      let fills = try onDisk(machine) { port, reactor in
        _ = await port.write(Fill(7), sectors: 5..<30, reactor)
        return try await port.fills(sectors: 0..<40, reactor)
      }
      let initial: Fill? = startsWithGarbage ? nil : .zeros
      #expect(fills == Array(repeating: initial, count: 5) + Array(repeating: Fill(7), count: 25) + Array(repeating: initial, count: 10))
    }
  }

  @Test func operationsCompleteInVaryingOrder() throws {
    var orders = Set<[UInt64]>()
    for seed in 0..<10 as Range<UInt64> {
      let order = try onDisk(machineWithOneDisk(seed: seed)) { port, reactor in
        let recorder = Recorder<UInt64>()
        await withTaskGroup(of: Void.self) { group in
          for number in 1...3 as ClosedRange<UInt64> {
            group.addTask {
              _ = await port.write(Fill(number), sectors: 0..<8, reactor)
              recorder.values.append(number)
            }
          }
        }
        let last = try await port.fills(sectors: 0..<8, reactor)
        if last != Array(repeating: Fill(recorder.values[2]), count: 8) { throw Surprise("the write answered last is not what is read") }
        return recorder.values
      }
      orders.insert(order)
    }
    #expect(orders.count > 2)
  }

  // MARK: Power cuts

  /// Writes 16 sectors of 1 durably, 16 of 2 not, and cuts the power; what is there then.
  private func afterCrash(seed: UInt64, atomicUnit: Int) throws -> (durable: [Fill?], volatile: [Fill?]) {
    let machine = machineWithOneDisk(seed: seed) { $0.atomicUnit = atomicUnit }
    try onDisk(machine) { port, reactor in
      _ = await port.write(Fill(1), sectors: 0..<32, reactor)
      _ = await port.synchronize()
      _ = await port.write(Fill(3), sectors: 32..<48, reactor, isDurable: true)
      _ = await port.write(Fill(2), sectors: 0..<16, reactor)
    }
    machine.cutPower()
    let disk = machine.disks[0]
    #expect(disk.hasUnflushed == false)
    #expect(disk.peekFills(sectors: 32..<48) == Array(repeating: Fill(3), count: 16))
    return (disk.peekFills(sectors: 16..<32), disk.peekFills(sectors: 0..<16))
  }

  @Test(arguments: [512, 4096]) func whatWasFlushedSurvivesAndTheRestMayBeTorn(atomicUnit: Int) throws {
    var kept = 0
    var lost = 0
    var torn = 0
    for seed in 0..<60 as Range<UInt64> {
      let after = try afterCrash(seed: seed, atomicUnit: atomicUnit)
      #expect(after.durable == Array(repeating: Fill(1), count: 16))
      for unit in stride(from: 0, to: 16, by: atomicUnit / 512) {
        let content = Set(after.volatile[unit..<unit + atomicUnit / 512])
        #expect(content.count == 1 && content.isSubset(of: [Fill(1), Fill(2)]))
      }
      switch Set(after.volatile) {
      case [Fill(1)]: lost += 1
      case [Fill(2)]: kept += 1
      default: torn += 1
      }
    }
    #expect(kept > 5 && lost > 5 && torn > 1, "kept \(kept), lost \(lost), torn \(torn)")
  }

  @Test func aLaterWriteMaySurviveAnEarlierOneAndTheOtherWayRound() throws {
    var seen = Set<[Fill?]>()
    for seed in 0..<80 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed)
      try onDisk(machine) { port, reactor in
        _ = await port.write(Fill(1), sectors: 0..<1, reactor)
        _ = await port.write(Fill(2), sectors: 8..<9, reactor)
      }
      machine.cutPower()
      seen.insert([machine.disks[0].peekFills(sectors: 0..<1)[0], machine.disks[0].peekFills(sectors: 8..<9)[0]])
    }
    #expect(seen == [[.zeros, .zeros], [Fill(1), .zeros], [.zeros, Fill(2)], [Fill(1), Fill(2)]])
  }

  @Test func aDurableWriteIsNotUndoneByAnOlderOneInTheCache() throws {
    for seed in 0..<40 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed)
      try onDisk(machine) { port, reactor in
        _ = await port.write(Fill(1), sectors: 0..<8, reactor)
        _ = await port.write(Fill(2), sectors: 0..<4, reactor, isDurable: true)
      }
      machine.cutPower()
      let after = machine.disks[0].peekFills(sectors: 0..<8)
      #expect(after[..<4].allSatisfy { $0 == Fill(2) })
      #expect(after[4...].allSatisfy { $0 == Fill(1) || $0 == .zeros })
    }
  }

  @Test func aFlushCoversOnlyWhatHadCompletedWhenItBegan() throws {
    var lost = 0
    for seed in 0..<40 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed) { $0.slowPerMillion = 0 }
      try onDisk(machine) { port, reactor in
        async let flush = port.synchronize()  // takes ten times as long as the write that begins and ends beside it
        _ = await port.write(Fill(1), sectors: 0..<1, reactor)
        if await flush != 0 { throw Surprise("flush failed") }
      }
      machine.cutPower()
      if machine.disks[0].peekFills(sectors: 0..<1) == [.zeros] { lost += 1 }
    }
    #expect(lost > 5)
  }

  @Test func writesInFlightAtTheCutMayLandAndAllLaterOnesFail() throws {
    var landed = Set<[Fill?]>()
    for seed in 0..<40 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed, plan: [FaultRule(.powerCut, .atPoint(2), limit: 1)])
      let results = try onDisk(machine) { port, reactor in
        var results = [await port.write(Fill(1), sectors: 0..<1, reactor)]
        results.append(await port.write(Fill(2), sectors: 8..<9, reactor, isDurable: true))
        results.append(await port.write(Fill(3), sectors: 16..<17, reactor, isDurable: true))
        results.append(await port.synchronize())
        return results
      }
      #expect(results == [0, -EIO, -EIO, -EIO])
      #expect(machine.isPowered == false)
      #expect(machine.disks[0].peekFills(sectors: 16..<17) == [.zeros])
      landed.insert(machine.disks[0].peekFills(sectors: 8..<9))
      machine.powerOn()
      #expect(try onDisk(machine) { port, reactor in await port.write(Fill(4), sectors: 0..<1, reactor) } == 0)
    }
    #expect(landed == [[.zeros], [Fill(2)]])
  }

  @Test func oneDiskMayLoseItsPowerAlone() throws {
    let machine = machineWithOneDisk(seed: 1)
    machine.addDisk(.file("disk1", byteCount: 1 << 20))
    let old = try machine.openDisk(0)
    let other = try machine.openDisk(1)
    machine.disks[0].losePowerAlone()
    let fresh = try machine.openDisk(0)
    let reactor = try machine.present()
    let results = try reactor.runToCompletion { () async -> [Int32] in
      [await old.synchronize(), await fresh.synchronize(), await other.synchronize()]
    }
    #expect(results == [-EIO, 0, 0])
  }

  // MARK: Trim and zeroing

  @Test func punchingAndZeroingAreVolatileUntilFlushed() throws {
    for operation in [DiskOperation.punch, .zero] {
      var seen = Set<Fill?>()
      for seed in 0..<30 as Range<UInt64> {
        for isFlushed in [false, true] {
          let machine = machineWithOneDisk(seed: seed)
          try onDisk(machine) { port, reactor in
            _ = await port.write(Fill(1), sectors: 0..<8, reactor, isDurable: true)
            _ = operation == .punch ? await port.punch(at: 0, byteCount: 4096) : await port.zero(at: 0, byteCount: 4096)
            if try await port.fills(sectors: 0..<8, reactor) != Array(repeating: .zeros, count: 8) { throw Surprise("not zeros") }
            if isFlushed { _ = await port.synchronize() }
          }
          machine.cutPower()
          let after = machine.disks[0].peekFills(sectors: 0..<8)
          if isFlushed { #expect(after == Array(repeating: .zeros, count: 8)) } else { seen.formUnion(after) }
        }
      }
      #expect(seen == [.zeros, Fill(1)], "\(operation)")
    }
  }

  @Test func aBlockDeviceLeavesAnythingWhereItWasPunchedAndDoesNotZero() throws {
    var seen = Set<Fill?>()
    for seed in 0..<30 as Range<UInt64> {
      let machine = machineWithOneDisk(seed: seed) {
        $0.zeroesCheaply = false
        $0.supportsZero = false
      }
      let (zero, fills) = try onDisk(machine) { port, reactor in
        _ = await port.write(Fill(1), sectors: 0..<8, reactor)
        let zero = await port.zero(at: 0, byteCount: 4096)
        _ = await port.punch(at: 0, byteCount: 4096)
        return (zero, try await port.fills(sectors: 0..<8, reactor))
      }
      #expect(zero == -EOPNOTSUPP)
      seen.formUnion(fills)
    }
    #expect(seen == [.zeros, Fill(1), nil])
  }
}

extension [UInt8] {
  var hashOfBytes: UInt32 { withUnsafeBytes { clinux_crc32c(0, $0.baseAddress, $0.count) } }
}
