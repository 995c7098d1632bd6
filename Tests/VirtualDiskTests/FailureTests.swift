import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// What is left after something has failed half-way: nothing may be lost, believed or stranded.
@Suite struct FailureTests {
  static func machine(seed: UInt64, files: Bool = true, block: Int = 512) -> SimulatedMachine {
    let machine = SimulatedMachine(seed: seed)
    for index in 0..<3 {
      let name = "disk\(index)"
      var options: SimulatedDiskOptions = files ? .file(name, byteCount: 64 << 20) : .blockDevice(name, byteCount: 64 << 20)
      options.ioAlignment = block
      options.physicalSector = block
      options.atomicUnit = block
      machine.addDisk(options)
    }
    machine.powerOn()
    return machine
  }

  static func run(_ machine: SimulatedMachine, _ body: @escaping @Sendable (SimulatedStack, SimulatedReactor) async throws -> Void) throws {
    let stack = try SimulatedStack(machine)
    try stack.reactor.runToCompletion { try await body(stack, stack.reactor) }
  }

  // MARK: Flushes

  /// Who shared a flush that failed is told so, even if the next one has begun by the time they run.
  @Test(arguments: UInt64(1)...3) func everyoneWhoSharedAFailedFlushHearsOfIt(seed: UInt64) throws {
    let machine = FailureTests.machine(seed: seed)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (4 << 20) / 512))
      try await shadowed.write(0..<8)
      machine.plan.add(FaultRule(.ioError, .always, operations: [.flush]))
      let tasks = (0..<6).map { _ in
        Task(executorPreference: reactor) {
          var successes = 0
          for _ in 0..<4 { if (try? await disk.flush(IORequest())) != nil { successes += 1 } }
          return successes
        }
      }
      for task in tasks { #expect(await task.value == 0) }
    }
  }

  /// A commit that was refused for want of room leaves rows that are wholly committed the next time.
  @Test func refusedCommitIsRepeatedWhole() throws {
    let machine = FailureTests.machine(seed: 1)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, columns: 2), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (4 << 20) / 512))
      try await shadowed.write(0..<8)
      var fillers: [RecordKey] = []
      for byteCount in [4096, 512, 64, 8] {
        while true {
          let index = UInt64(fillers.count)
          let filler = MapRecord(
            virtualDisk: VirtualDiskNumber(999), index: index, row: RowID(1 << 40), presence: [UInt8](repeating: 0, count: byteCount))
          do { try await pool.commit([.put(filler)], priority: .essential) } catch { break }
          fillers.append(MapRecord.key(VirtualDiskNumber(999), index))
        }
      }
      await #expect(throws: BlockError(.noSpace)) { try await shadowed.flush() }
      for filler in fillers { try await pool.commit([.delete(filler)], priority: .essential) }
      try await shadowed.flush()
      try await stack.close(pool, [disk])
    }
    machine.powerOn()
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.openPool()
      let disks = try await stack.openVirtualDisks(pool)
      #expect(disks["disk"]?.mappedRowCount == 1)
      try await stack.close(pool, Array(disks.values))
    }
  }

  // MARK: Space

  /// Space whose freeing is being committed right now is waited for, not missed.
  @Test(arguments: UInt64(1)...2) func writeWaitsForSpaceThatIsBeingFreed(seed: UInt64) throws {
    let machine = FailureTests.machine(seed: seed)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool(slabByteCount: 8 << 20)
      let plan = VirtualDiskPlan(name: "disk", byteCount: 240 << 20, columns: 3, logicalSector: 4096)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (240 << 20) / 4096, sectorByteCount: 4096))
      let rowSectors = disk.rowByteCount / 4096
      var rowCount: UInt64 = 0
      while (try? await shadowed.write(rowCount * rowSectors..<rowCount * rowSectors + 1)) != nil { rowCount += 1 }
      #expect(rowCount > 2 && rowCount < 9)
      try await shadowed.flush()
      for row in 0..<rowCount { try await shadowed.trim(row * rowSectors..<(row + 1) * rowSectors) }
      let flush = Task(executorPreference: reactor) { try await shadowed.flush() }
      while !disk.flushState.isRunning { await reactor.sleep(milliseconds: 0) }
      try await shadowed.write(9 * rowSectors..<9 * rowSectors + 1)
      try await flush.value
      try await stack.close(pool, [disk])
    }
  }

  /// What was trimmed a moment ago is room for a fixed disk.
  @Test func fixedDiskTakesSpaceThatWasJustTrimmed() throws {
    let machine = FailureTests.machine(seed: 1)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool(slabByteCount: 8 << 20)
      let thin = try await VirtualDisk.create(
        VirtualDiskPlan(name: "thin", byteCount: 240 << 20, columns: 3, logicalSector: 4096), in: pool,
        handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: thin, shadow: ShadowDisk(sectorCount: (240 << 20) / 4096, sectorByteCount: 4096))
      let rowSectors = thin.rowByteCount / 4096
      var rowCount: UInt64 = 0
      while (try? await shadowed.write(rowCount * rowSectors..<rowCount * rowSectors + 1)) != nil { rowCount += 1 }
      try await shadowed.trim(0..<2 * rowSectors)
      let plan = VirtualDiskPlan(name: "fixed", byteCount: thin.rowByteCount, provisioning: .fixed, columns: 3)
      let fixed = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 2))
      try await shadowed.trim(2 * rowSectors..<3 * rowSectors)
      try await fixed.grow(to: 3 * thin.rowByteCount)
      #expect(fixed.mappedRowCount == 3)
      try await stack.close(pool, [thin, fixed])
    }
  }

  // MARK: Growing

  /// Growing a fixed disk by more than there is room for changes nothing, and a smaller size can be had afterwards.
  @Test(arguments: [false, true]) func failedGrowLeavesEverythingAsItWas(hostIsFull: Bool) throws {
    let machine = FailureTests.machine(seed: 3)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, provisioning: .fixed, columns: 2)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let free = pool.freeByteCount
      // A row goes to other disks when one is full; some rows come to be before two are full at the same time.
      if hostIsFull { machine.plan.add(FaultRule(.noSpace, .perMillion(500_000), operations: [.zero])) }
      await #expect(throws: PoolError.self) { try await disk.grow(to: hostIsFull ? 40 << 20 : 2 << 30) }
      machine.plan.rules.removeAll()
      #expect(pool.freeByteCount == free)
      #expect(disk.record.byteCount == 4 << 20)
      #expect(disk.mappedRowCount == 2)
      try await disk.grow(to: 8 << 20)
      #expect(disk.geometry.byteCount == 8 << 20)
      #expect(disk.mappedRowCount == 4)
      try await stack.close(pool, [disk])
    }
    machine.powerOn()
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.openPool()
      let disks = try await stack.openVirtualDisks(pool)
      #expect(disks["disk"]?.mappedRowCount == 4)
      try await stack.close(pool, Array(disks.values))
    }
  }

  /// A pool opens after a crash at any moment of growing a fixed disk, and what the crash cut short is not stranded.
  @Test func growIsWholeOrUndoneAfterACrash() throws {
    let report = try crashAtEveryWrite(
      seed: 5, options: CrashSweepOptions(stride: 3, secondCrashEvery: 5),
      prepare: { machine -> ShadowDisk in
        for index in 0..<3 {
          var options = SimulatedDiskOptions.file("disk\(index)", byteCount: 64 << 20)
          options.atomicUnit = 4096
          machine.addDisk(options)
        }
        machine.plan.isArmed = false
        return ShadowDisk(sectorCount: (4 << 20) / 4096, sectorByteCount: 4096)
      },
      workload: { machine, shadow in
        let stack = try SimulatedStack(machine)
        let pool = try await stack.createPool()
        let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, provisioning: .fixed, columns: 2, logicalSector: 4096)
        let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
        machine.plan.isArmed = true
        let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
        let writer = Task(executorPreference: stack.reactor) {
          for start in UInt64(0)..<6 {
            try await shadowed.write(start * 8..<start * 8 + 8)
            try await shadowed.flush()
          }
        }
        try await disk.grow(to: 10 << 20)
        try await writer.value
        try await stack.close(pool, [disk])
      },
      verify: { machine, shadow in
        shadow.crashed()
        let stack = try SimulatedStack(machine)
        let pool = try await stack.openPool()
        let disks = try await stack.openVirtualDisks(pool)
        guard let disk = disks["disk"] else { throw Surprise("the virtual disk is gone") }
        try await ShadowedDisk(disk: disk, shadow: shadow).checkAll()
        try await disk.flush(IORequest())
        if pool.capacityByteCount - pool.freeByteCount != disk.record.byteCount { throw Surprise("slabs belong to nobody") }
        try await stack.close(pool, [disk])
      })
    #expect(report.pointCount > 20, "\(report)")
    #expect(report.abandonedCount == 0, "\(report)")
  }

  /// A zeroing up to the disk's end that waits while the disk grows spares what is written behind the old end meanwhile.
  @Test(arguments: UInt64(1)...8) func zeroingToTheEndSparesWhatGrowthAdded(seed: UInt64) throws {
    let machine = FailureTests.machine(seed: seed)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: (1 << 20) + (64 << 10), columns: 1)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (2 << 20) / 512))
      // All three wait for the second row's slabs.
      machine.plan.add(FaultRule(.stall(seconds: 1...1), .atMatch(1), operations: [.zero]))
      let first = Task(executorPreference: reactor) { try await shadowed.write(2048..<2056) }
      while disk.statistics[.write].inFlight == 0 { await reactor.sleep(milliseconds: 0) }
      let zeroing = Task(executorPreference: reactor) { try await shadowed.trim(2060..<2176, zeroes: true, flags: .keepAllocated) }
      while disk.statistics[.writeZeroes].inFlight == 0 { await reactor.sleep(milliseconds: 0) }
      try await disk.grow(to: 2 << 20)
      let late = Task(executorPreference: reactor) { try await shadowed.write(2176..<2304) }
      for task in [first, zeroing, late] { try await task.value }
      try await shadowed.check(2048..<2304)
      try await stack.close(pool, [disk])
    }
  }

  // MARK: Deleting

  /// A deletion whose first commit is refused leaves a virtual disk that goes on.
  @Test func refusedDeletionLeavesTheDiskInUse() throws {
    let machine = FailureTests.machine(seed: 1)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, columns: 2)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (4 << 20) / 512))
      try await shadowed.write(0..<8)
      try await shadowed.flush()
      machine.plan.add(FaultRule(.ioError, .always, operations: [.durableWrite]))
      await #expect(throws: PoolError.self) { try await disk.delete() }
      #expect(disk.record.state == .active)
      try await shadowed.write(0..<8)
      try await shadowed.checkAll()
    }
  }

  // MARK: Opening

  /// What another program made and this one does not know, or what cannot be, is refused before anything is done to it.
  @Test func recordsThatAreNotUnderstoodAreRefused() throws {
    let machine = FailureTests.machine(seed: 1)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, columns: 2)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let unknown: [(inout VirtualDiskRecord) -> Void] = [
        { $0.features.incompatible = 1 }, { $0.features.readOnlyCompatible = 1 << 63 }, { $0.resiliency = .mirror }, { $0.copies = 2 },
        { $0.parityCount = 1 }, { $0.state = VirtualDiskRecord.State(rawValue: 77) },
        { $0.provisioning = VirtualDiskRecord.Provisioning(rawValue: 9) }, { $0.keyID = 3 }, { $0.transformID = 1 },
        { $0.parent = VirtualDiskNumber(2) },
      ]
      let impossible: [(inout VirtualDiskRecord) -> Void] = [
        { $0.byteCount = .max - 511 }, { $0.byteCount = 0 }, { $0.columns = 200 }, { $0.interleave = 1 << 31 },
        { $0.presenceChunkByteCount = 1 << 31 }, { $0.byteCount = VirtualDiskLimits.largestByteCount },
      ]
      for (cause, changes) in [(PoolError.Cause.wrongState, unknown), (.damaged, impossible)] {
        for (index, change) in changes.enumerated() {
          var record = disk.record
          change(&record)
          var refusal: PoolError?
          do throws(PoolError) { _ = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2)) } catch {
            refusal = error
          }
          #expect(refusal?.cause == cause, "change \(index)")
        }
      }
      try await stack.close(pool, [disk])
    }
  }

  /// Metadata that contradicts itself is refused in words.
  @Test func twoOwnersOfOneSlabAreRefused() throws {
    let machine = FailureTests.machine(seed: 1)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let slab = RowRecord.Slab(disk: DiskNumber(1), number: SlabNumber(3), generation: SlabGeneration(7))
      let rows = [UInt64(70), 71].map {
        RowRecord(
          id: RowID($0), resiliency: .simple, columns: 1, copies: 1, interleave: 1 << 18, virtualDisk: VirtualDiskNumber(5), slabs: [slab])
      }
      try await pool.commit(rows.map { .put($0) })
      try await stack.close(pool, [])
    }
    machine.powerOn()
    try FailureTests.run(machine) { stack, reactor in
      var refusal: PoolError?
      do { _ = try await stack.openPool() } catch { refusal = error as? PoolError }
      #expect(refusal?.cause == .damaged)
      // What was begun for the pool ends in peace.
      for _ in 0..<10 { await reactor.sleep(milliseconds: 10) }
    }
  }

  /// A map that would not fit in memory is refused before anything of it is stored.
  @Test func tooLargeAMapIsRefused() throws {
    try FailureTests.run(FailureTests.machine(seed: 1)) { stack, reactor in
      let pool = try await stack.createPool()
      let rowByteCount = UInt64(3) << 20
      let plan = VirtualDiskPlan(
        name: "disk", byteCount: rowByteCount * UInt64(VirtualDiskLimits.largestSlabCount / 2), columns: 3)
      await #expect(throws: PoolError.self) { _ = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1)) }
      #expect(try pool.virtualDiskRecords().isEmpty)
      try await stack.close(pool, [])
    }
  }
}

/// Requests that are not aligned to the disks' blocks and reach over the ends of chunks and rows: their parts lie at odd addresses in memory.
@Suite struct UnalignedTests {
  @Test(arguments: [false, true]) func oddRequestsOverChunksAndRows(files: Bool) throws {
    let machine = FailureTests.machine(seed: 2, files: files, block: 4096)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 6 << 20, columns: 2, interleave: 64 << 10)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (6 << 20) / 512))
      let row = disk.rowByteCount / 512
      try await shadowed.write(127..<144)
      try await shadowed.check(120..<300)
      try await shadowed.check(127..<136)
      try await shadowed.write(255..<272)
      try await shadowed.write(row - 1..<row + 8)
      try await shadowed.check(row - 1..<row + 8)
      try await shadowed.write(row - 9..<row + 300)
      try await shadowed.trim(row + 3..<row + 140)
      try await shadowed.check(row - 3..<row + 293)
      try await shadowed.checkAll()
      try await shadowed.flush()
      try await stack.close(pool, [disk])
    }
  }
}
