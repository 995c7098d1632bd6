import BlockDevice
import PhysicalDisk
import Reactor
import SimulatedPool
import Simulation
import StorageBus
import Testing

@testable import Pool
@testable import VirtualDisk

/// The pool's jobs, beside clients at work: afterwards all copies are where they belong, and agree.
@Suite struct JobTests {
  /// Runs `body` over four data disks, of which the pool gets the first three, and a witness.
  private static func run(
    seed: UInt64, files: Bool, _ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, ShadowedDisk) async throws -> Void
  ) throws {
    let machine = DiskLossTests.machine(seed: seed, files: files)
    machine.addDisk(files ? .file("disk4", byteCount: 64 << 20) : .blockDevice("disk4", byteCount: 64 << 20))
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      pool.jobs.start()
      try await body(stack, pool, shadowed)
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  private static func end(_ pool: StoragePool, _ kind: JobRecord.Kind, seconds: UInt64 = 600) async throws {
    let deadline = pool.reactor.now.advanced(milliseconds: seconds * 1000)
    while !pool.jobs.jobs.contains(where: { $0.kind == kind && $0.state == .completed }) {
      if pool.reactor.now > deadline {
        let jobs = pool.jobs.jobs.map { "\($0.kind) \($0.state) \($0.record.doneByteCount)/\($0.record.totalByteCount) \($0.message)" }
        throw Surprise("\(kind) did not end: \(jobs)")
      }
      await pool.reactor.sleep(milliseconds: 100)
    }
  }

  private static func disksInUse(_ disk: VirtualDisk) -> Set<UInt32> {
    Set(disk.rows.compactMap { $0 }.flatMap { row in disk.slabTable.slabs(ofRow: row.index).map(\.disk.value) })
  }

  @Test(arguments: [true, false], UInt64(1)...3) func aReturningDiskIsResynchronisedByItself(files: Bool, seed: UInt64) throws {
    try JobTests.run(seed: seed, files: files) { stack, pool, shadowed in
      stack.machine.disks[1].vanish()
      for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 1) { try await task.value }
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      stack.machine.disks[1].reappear()
      _ = try await pool.readmit(stack.member(1).device)
      let tasks = DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 20)
      try await JobTests.end(pool, .resync)
      for task in tasks { try await task.value }
      #expect(pool.isWhole)
    }
  }

  /// A disk that stays away: its copies are made anew on the others.
  @Test(arguments: [true, false], UInt64(1)...3) func copiesOfALostDiskAreMadeAnew(files: Bool, seed: UInt64) throws {
    try JobTests.run(seed: seed, files: files) { stack, pool, shadowed in
      pool.jobs.repairDelayMilliseconds = 10_000
      stack.machine.disks[2].vanish()
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      let tasks = DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 20)
      try await JobTests.end(pool, .repair)
      for task in tasks { try await task.value }
      #expect(JobTests.disksInUse(shadowed.disk) == [1, 2])
      #expect(shadowed.disk.firstLostRow == nil)
      #expect(pool.events.events.contains { $0.name == "diskEvicted" } && pool.events.events.contains { $0.name == "jobCompleted" })
    }
  }

  /// An added disk takes over from one that is retired; that one is released and empty.
  @Test(arguments: [true, false], UInt64(1)...3) func aRetiredDiskIsEmptiedAndReleased(files: Bool, seed: UInt64) throws {
    try JobTests.run(seed: seed, files: files) { stack, pool, shadowed in
      let added = try await pool.add(stack.member(4))
      try await pool.retire(DiskNumber(1), replacement: added.number)
      let tasks = DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 20)
      try await JobTests.end(pool, .retire)
      for task in tasks { try await task.value }
      #expect(!JobTests.disksInUse(shadowed.disk).contains(1))
      #expect(pool.disks.map(\.number.value) == [2, 3, 4])
      #expect(pool.isWhole)
    }
  }

  /// What stands still for want of a disk says so, goes on when one is added, and then no longer says so.
  /// Also where others are emptier.
  @Test func aReplacedDiskIsEmptiedOntoTheOneThatTakesItsPlace() throws {
    try JobTests.run(seed: 1, files: true) { stack, pool, shadowed in
      let larger = stack.machine.addDisk(.file("disk5", byteCount: 128 << 20))
      _ = try await pool.add(stack.member(larger.index))
      let replacement = try await pool.add(stack.member(4))
      try await pool.retire(DiskNumber(1), replacement: replacement.number)
      try await JobTests.end(pool, .retire)
      #expect(JobTests.disksInUse(shadowed.disk) == [2, 3, replacement.number.value])
    }
  }

  @Test(arguments: UInt64(1)...3) func aRetirementWithoutRoomGoesOnWhenADiskIsAdded(seed: UInt64) throws {
    try JobTests.run(seed: seed, files: true) { stack, pool, shadowed in
      pool.jobs.repairDelayMilliseconds = 1000
      stack.machine.disks[2].vanish()
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      try await pool.retire(DiskNumber(1))
      let deadline = pool.reactor.now.advanced(milliseconds: 600_000)
      func retirement() throws -> Job { try #require(pool.jobs.jobs.first { $0.kind == .retire }) }
      while try retirement().state != .suspended && pool.reactor.now < deadline { await pool.reactor.sleep(milliseconds: 100) }
      #expect(try retirement().state == .suspended && retirement().message.contains("find no room"))
      _ = try await pool.add(stack.member(4))
      try await JobTests.end(pool, .retire)
      try await JobTests.end(pool, .repair)
      #expect(try retirement().message == "")
      #expect(JobTests.disksInUse(shadowed.disk) == [2, 4])
    }
  }

  /// What stands still for want of room goes on when there is some: its message says so.
  @Test func aRetirementWithoutRoomGoesOnWhenSpaceIsFreed() throws {
    try JobTests.run(seed: 1, files: true) { stack, pool, shadowed in
      let free = pool.rowsAvailable(slabsPerRow: 3)
      let filler = try await VirtualDisk.create(
        VirtualDiskPlan(
          name: "filler", byteCount: UInt64(free * 3) << 20, provisioning: .fixed, copies: 1, columns: 3), in: pool,
        handle: VirtualDiskHandle(number: 2))
      try await pool.retire(DiskNumber(1))
      let deadline = pool.reactor.now.advanced(milliseconds: 600_000)
      func retirement() throws -> Job { try #require(pool.jobs.jobs.first { $0.kind == .retire }) }
      while try retirement().state != .suspended && pool.reactor.now < deadline { await pool.reactor.sleep(milliseconds: 100) }
      #expect(try retirement().message.contains("free space"))
      try await filler.delete()
      try await JobTests.end(pool, .retire)
      #expect(JobTests.disksInUse(shadowed.disk) == [2, 3])
    }
  }

  @Test(arguments: UInt64(1)...3) func anAddedDiskGetsItsShare(seed: UInt64) throws {
    try JobTests.run(seed: seed, files: true) { stack, pool, shadowed in
      _ = try await pool.add(stack.member(4))
      await pool.jobs.add(.optimize)
      try await JobTests.end(pool, .optimize)
      let used = pool.disks.map { $0.slabCount - Int(pool.freeByteCount(of: $0) / pool.slabByteCount) }
      #expect(used.reduce(0, +) == 8 && used.allSatisfy { $0 == 2 }, "\(used)")
    }
  }

  /// A sector that one copy cannot read is written again; where two copies differ the scrub says so and changes nothing.
  @Test(arguments: UInt64(1)...3) func scrubRepairsAndReports(seed: UInt64) throws {
    try JobTests.run(seed: seed, files: seed % 2 == 0) { stack, pool, shadowed in
      let disk = shadowed.disk
      let slab = disk.slabTable[1, 0]
      guard let (device, address) = pool.locate(slab, 128 << 10) else { throw Surprise("no slab") }
      let offset = try #require(pool.diskRecord(slab.disk)).dataOffset + address
      let bad = Int(slab.disk.value) - 1
      _ = device
      // Four tries for each of the scrub's reads; a write cures it.
      stack.machine.plan.add(FaultRule(.ioError, .always, disk: bad, operations: [.read], range: offset..<offset + 512, limit: 3))
      await pool.jobs.add(.scrub)
      try await JobTests.end(pool, .scrub)
      let first = try #require(pool.jobs.jobs.last { $0.kind == .scrub })
      #expect(first.message.hasPrefix("1 place repaired"), "\(first.message)")
      let before = stack.machine.disks[bad].peek(at: offset, byteCount: 512)
      stack.machine.disks[bad].poke(at: offset, before.map { ~$0 })
      let again = await pool.jobs.add(.scrub)
      while !again.isEnded { await pool.reactor.sleep(milliseconds: 100) }
      #expect(again.message.contains("1 place where copies differ"), "\(again.message)")
      stack.machine.disks[bad].poke(at: offset, before)
    }
  }

  /// Of three copies two differ and one cannot be read: nobody knows which is right, and a third from either would make a majority of it.
  @Test func scrubMakesNoMajorityOfAGuess() throws {
    let machine = DiskLossTests.machine(seed: 1, files: true)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "three", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (4 << 20) / 512))
      try await shadowed.write(0..<256)
      try await shadowed.flush()
      let places = try (0..<3).map { place in
        let slab = disk.slabTable[0, place]
        let (_, address) = try #require(pool.locate(slab, 0))
        return (disk: Int(slab.disk.value) - 1, offset: try #require(pool.diskRecord(slab.disk)).dataOffset + address)
      }
      let right = machine.disks[places[1].disk].peek(at: places[1].offset, byteCount: 512)
      machine.disks[places[0].disk].poke(at: places[0].offset, right.map { ~$0 })
      let range = places[1].offset..<places[1].offset + 512
      machine.plan.add(FaultRule(.ioError, .always, disk: places[1].disk, operations: [.read], range: range, limit: 3))
      let finding = try await disk.scrub(row: 0)
      #expect(finding.differenceCount == 1 && finding.repairedCount == 0, "\(finding)")
      #expect(machine.disks[places[1].disk].peek(at: places[1].offset, byteCount: 512) == right)
      // Once it can be read again there is a majority.
      #expect(try await disk.scrub(row: 0).repairedCount == 1)
      #expect(machine.disks[places[0].disk].peek(at: places[0].offset, byteCount: 512) == right)
      try await disk.close()
      try await pool.close()
    }
  }

  /// A copy that a job wants to move is being moved by somebody else, who waits for a slow disk: the job waits too, and does not ask again and
  /// again without a pause (the simulated reactor would call that a livelock).
  @Test func aJobWaitsForAMoveThatIsUnderWay() throws {
    try JobTests.run(seed: 1, files: false) { stack, pool, shadowed in
      let disk = shadowed.disk
      let added = try await pool.add(stack.member(4))
      stack.machine.plan.add(FaultRule(.stall(seconds: 2...2), .always, disk: 4, operations: [.write], range: 3 << 20..<64 << 20, limit: 1))
      func placeOnDisk1(_ row: Int) -> Int? { (0..<disk.slabsPerRow).first { disk.slab(row: row, place: $0).disk.value == 1 } }
      let row = try #require(disk.mappedRows.first { placeOnDisk1($0) != nil })
      let place = try #require(placeOnDisk1(row))
      let move = Task(executorPreference: stack.reactor) { try await disk.move(CopyPlace(row: row, place: place), to: added.number) }
      await stack.reactor.sleep(milliseconds: 100)
      try await pool.retire(DiskNumber(1))
      _ = try await move.value
      try await JobTests.end(pool, .retire)
      #expect(!JobTests.disksInUse(disk).contains(1))
    }
  }

  /// All that is on a disk was trimmed, and not flushed: the disk is empty, but the metadata does not say so yet. It must before the disk is
  /// released, or the pool cannot be opened after a crash.
  @Test(arguments: [true, false]) func aDiskIsReleasedWhenItsFreesAreDurable(files: Bool) throws {
    let machine = DiskLossTests.machine(seed: 1, files: files)
    let shadow = ShadowDisk(sectorCount: DiskLossTests.sectorCount)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      try await shadowed.trim(0..<DiskLossTests.sectorCount)
      try await pool.retire(DiskNumber(1))
      pool.jobs.start()
      try await JobTests.end(pool, .retire)
    }
    machine.cutPower()
    shadow.crashed()
    machine.powerOn()
    let again = try DiskLossTests.Stack(machine)
    try again.reactor.runToCompletion {
      let pool = try await again.openPool([1, 2])
      guard let record = try pool.virtualDiskRecords().first else { throw Surprise("the virtual disk is gone") }
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2))
      try await ShadowedDisk(disk: disk, shadow: shadow).checkAll()
      try await disk.close()
      try await pool.close()
    }
  }

  /// A disk is given up while its release is being committed: it is none of the pool's then, and nothing stays under way for ever.
  @Test(arguments: UInt64(1)...3) func aDiskFailsWhileItIsReleased(seed: UInt64) throws {
    try JobTests.run(seed: seed, files: false) { stack, pool, shadowed in
      let added = try await pool.add(stack.member(4))
      let release = Task(executorPreference: stack.reactor) { try await pool.release(added.number) }
      await stack.reactor.sleep(milliseconds: 0)
      #expect(try await pool.evict(added, because: "a test says so"))
      try await release.value
      try await shadowed.flush()
      #expect(!pool.isChangingMembership && pool.diskRecord(added.number)?.state != .evicted)
    }
  }

  /// A disk that is retired while it is away is retired when it comes back: it gets nothing new, is emptied, and released.
  @Test(arguments: UInt64(1)...3) func aRetiredDiskThatReturnsIsEmptied(seed: UInt64) throws {
    try JobTests.run(seed: seed, files: seed % 2 == 0) { stack, pool, shadowed in
      _ = try await pool.add(stack.member(4))
      stack.machine.disks[0].vanish()
      await pool.lookAtDisks()
      #expect(pool.absentDiskNumbers == [DiskNumber(1)])
      try await pool.retire(DiskNumber(1))
      stack.machine.disks[0].reappear()
      await stack.open[0]?.close()
      let partition = try await pool.readmit(stack.member(0).device)
      #expect(partition.usage == .retired)
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await JobTests.end(pool, .retire)
      #expect(!JobTests.disksInUse(shadowed.disk).contains(1))
      #expect(pool.disks.map(\.number.value) == [2, 3, 4])
    }
  }
}
