import BlockDevice
import PhysicalDisk
import Pool
import Reactor
import SimulatedPool
import Simulation
import StorageBus
import Testing

@testable import VirtualDisk

/// Disks that vanish, fail and return under clients at work: no client sees an error, and what comes back is brought up to date by the
/// regions that were written meanwhile.
@Suite struct DiskLossTests {
  /// Three data disks and one that holds the witness, all under one power supply.
  static func machine(seed: UInt64, files: Bool, block: Int = 512) -> SimulatedMachine {
    let machine = FailureTests.machine(seed: seed, files: files, block: block)
    machine.addDisk(.file("witness", byteCount: 1 << 20))
    return machine
  }

  /// The layers over the machine's disks; disks that are away are left out.
  final class Stack: @unchecked Sendable {  // one thread at a time: who runs the reactor
    let machine: SimulatedMachine
    let reactor: SimulatedReactor
    let witness: Witness
    var open: [Int: PhysicalDisk] = [:]
    var directoryMemory = OpenOptions().directoryMemory

    private func options(evictMissing: Bool = false) -> OpenOptions {
      var options = OpenOptions(witness: witness, evictMissing: evictMissing)
      options.directoryMemory = directoryMemory
      return options
    }

    init(_ machine: SimulatedMachine) throws {
      self.machine = machine
      guard let reactor = machine.reactor else { throw Surprise("no power") }
      self.reactor = reactor
      guard let port = machine.disks[3].open() else { throw Surprise("no witness") }
      witness = Witness(device: PhysicalDisk(reactor: reactor, port: port))
    }

    func member(_ index: Int) throws -> PoolMember {
      guard let port = machine.disks[index].open() else { throw Surprise("\(machine.disks[index].options.name) cannot be opened") }
      let disk = PhysicalDisk(reactor: reactor, port: port)
      open[index] = disk
      return PoolMember(device: BusDevice(disk: disk), path: disk.label)
    }

    func createPool() async throws -> StoragePool {
      let members = try (0..<3).map(member)
      var layout = try LayoutChoice(diskByteCounts: members.map(\.device.geometry.byteCount), slabByteCount: 1 << 20)
      layout.metadataByteCount = 2 << 20
      layout.journalByteCount = 64 << 10
      let pool = try await StoragePool.create(
        named: "tank", on: members, layout: layout, createdSeconds: 1, reactor: reactor, options: options())
      return pool
    }

    func openPool(_ indices: [Int], evictMissing: Bool = false) async throws -> StoragePool {
      try await StoragePool.open(indices.map(member), reactor: reactor, options: options(evictMissing: evictMissing))
    }

    func bringBack(_ index: Int, to pool: StoragePool, _ disks: [VirtualDisk]) async throws {
      machine.disks[index].reappear()
      await open[index]?.close()
      let partition = try await pool.readmit(member(index).device)
      try await resynchronise(pool, disks)
      try await pool.finishReturn(of: partition)
      #expect(pool.isWhole)
    }

    func resynchronise(_ pool: StoragePool, _ disks: [VirtualDisk]) async throws {
      for disk in disks {
        for row in disk.rowsToResynchronise { try await disk.resynchronise(row: row) }
        #expect(disk.rowsToResynchronise.isEmpty)
      }
      try await pool.flushDisks(IORequest())
    }
  }

  static let sectorCount: UInt64 = (4 << 20) / 512

  static func clients(_ disk: ShadowedDisk, _ reactor: SimulatedReactor, seed: UInt64, stream: UInt64) -> [Task<Void, any Error>] {
    (0..<3).map { client in
      Task(executorPreference: reactor) {
        try await MirrorCrashTests.work(disk, client: UInt64(client), SeededRandom(seed: seed, stream: stream + UInt64(client)))
      }
    }
  }

  /// Errors while clients write: the disk that fails a write or a flush is evicted, one that fails a read is not, and is repaired.
  @Test(arguments: [DiskOperation.write, .flush, .read], UInt64(1)...6) func oneDiskFailsNowAndThen(operation: DiskOperation, seed: UInt64)
    throws
  {
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let bad = Int(seed % 3)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount / 2)
      try await shadowed.flush()
      // A disk is asked three times before an error counts.
      machine.plan.add(FaultRule(.ioError, .perMillion(operation == .flush ? 1_000_000 : 700_000), disk: bad, operations: [operation]))
      for stream in 0..<4 {
        for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: UInt64(stream) * 10) { try await task.value }
        try await shadowed.flush()
        try await shadowed.checkAll()
      }
      // One that cannot read what was just written again goes too.
      if operation != .read { #expect(!pool.isWhole) }
      machine.plan.rules.removeAll()
      if operation == .read && pool.isWhole {
        while disk.isRepairing { await stack.reactor.sleep(milliseconds: 10) }
        try await Examination.checkCopiesAgree(disk)
      } else {
        try await stack.bringBack(bad, to: pool, [disk])
        try await shadowed.checkAll()
        try await Examination.checkCopiesAgree(disk)
      }
      try await disk.close()
      try await pool.close()
    }
  }

  /// A disk hangs in the middle of writes and reads: it is given up after a while, what hung lands later, and no client sees an error or
  /// wrong data. It comes back when it has drained.
  @Test(arguments: [DiskOperation.write, .read, .flush], UInt64(1)...6) func aDiskHangs(operation: DiskOperation, seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let bad = Int(seed % 3)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      pool.startHousekeeping()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      machine.plan.add(FaultRule(.hang, .perMillion(200_000), disk: bad, operations: [operation]))
      for stream in 0..<4 {
        for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: UInt64(stream) * 10) { try await task.value }
        try await shadowed.flush()
        try await shadowed.checkAll()
      }
      machine.plan.rules.removeAll()
      // The reads of some seeds all go to the other disks.
      #expect(!pool.isWhole || operation == .read)
      machine.disks[bad].releaseHung()
      try await shadowed.checkAll()
      if !pool.isWhole { try await stack.bringBack(bad, to: pool, [disk]) }
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  /// Two disks go one after the other, with writes between. The first to come back has the past of the rows that both had: nobody sees
  /// that; when the last to leave is back, everything is.
  @Test(arguments: [true, false], UInt64(1)...4) func theLastToLeaveIsTheFreshest(isFirstBackTheLastToLeave: Bool, seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      machine.disks[0].vanish()
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      #expect(pool.absentDiskNumbers.map(\.value) == [1])
      machine.disks[1].vanish()
      await pool.lookAtDisks()
      #expect(pool.absentDiskNumbers.map(\.value) == [1, 2])
      #expect(disk.firstLostRow != nil)
      var unreadable = 0
      func readAll() async throws {
        for first in stride(from: UInt64(0), to: DiskLossTests.sectorCount, by: 128) {
          do { try await shadowed.check(first..<first + 128) } catch is BlockError { unreadable += 1 }
        }
      }
      try await readAll()
      #expect(unreadable > 0)
      let order = isFirstBackTheLastToLeave ? [1, 0] : [0, 1]
      machine.disks[order[0]].reappear()
      let first = try await pool.readmit(stack.member(order[0]).device)
      unreadable = 0
      try await readAll()
      #expect((unreadable == 0) == isFirstBackTheLastToLeave)
      machine.disks[order[1]].reappear()
      let second = try await pool.readmit(stack.member(order[1]).device)
      #expect(disk.firstLostRow == nil)
      try await stack.resynchronise(pool, [disk])
      for partition in [first, second] { try await pool.finishReturn(of: partition) }
      #expect(pool.isWhole)
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      // What was not flushed when the last copy went is not known: no FLUSH may say so before the virtual disk is opened again.
      await #expect(throws: BlockError(.ioFailed)) { try await disk.flush(IORequest()) }
      _ = try? await disk.close()
      try await pool.close()
    }
  }

  /// One of three disks is pulled while clients write a two-way mirror; it comes back, is brought up to date, and then another goes.
  @Test(arguments: [true, false], UInt64(1)...12) func aDiskIsPulledAndReturns(files: Bool, seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: files)
    var random = SeededRandom(seed: seed, stream: 99)
    let first = Int(random.below(3))
    let second = (first + 1 + Int(random.below(2))) % 3
    let moment = 1 + random.below(60)
    let shadow = ShadowDisk(sectorCount: DiskLossTests.sectorCount)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await shadowed.write(0..<DiskLossTests.sectorCount / 2)
      try await shadowed.flush()
      machine.plan.restartCounting()
      machine.plan.add(FaultRule(.diskVanishes, .atMatch(moment), disk: first, limit: 1))
      for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 0) { try await task.value }
      try await shadowed.flush()
      try await shadowed.checkAll()
      machine.plan.rules.removeAll()
      if pool.isWhole { machine.disks[first].vanish() }
      // Some of it lies on that disk.
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      #expect(pool.absentDiskNumbers.count == 1)
      for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 10) { try await task.value }
      try await shadowed.checkAll()

      let tasks = DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 20)
      try await stack.bringBack(first, to: pool, [disk])
      for task in tasks { try await task.value }
      try await Examination.checkCopiesAgree(disk)

      machine.disks[second].vanish()
      for task in DiskLossTests.clients(shadowed, stack.reactor, seed: seed, stream: 30) { try await task.value }
      try await shadowed.flush()
      try await shadowed.checkAll()
      #expect(!pool.isWhole)
      // Closed while one disk is away, and opened without it.
      try await disk.close()
      try await pool.close()
    }
    machine.cutPower()
    shadow.crashed()
    machine.powerOn()
    let again = try Stack(machine)
    try again.reactor.runToCompletion {
      let pool = try await again.openPool([0, 1, 2].filter { $0 != second })
      guard let record = try pool.virtualDiskRecords().first else { throw Surprise("the virtual disk is gone") }
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2))
      let reopened = ShadowedDisk(disk: disk, shadow: shadow)
      try await reopened.checkAll()
      try await reopened.write(100..<200)
      try await again.bringBack(second, to: pool, [disk])
      try await reopened.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  /// The slabs of a new row are zeroed once, and that is flushed with the row's first data. A disk that loses its power before has perhaps
  /// old bytes in all of its slab, and not only where the row was written.
  @Test(arguments: UInt64(1)...12) func aNewRowIsZeroOnADiskThatLostItsPower(seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: true)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      // The rows go, and come again on the same slabs.
      try await shadowed.trim(0..<DiskLossTests.sectorCount, flags: .forceUnitAccess)
      for row in 0..<UInt64(4) { try await shadowed.write(row * 2048..<row * 2048 + 1) }
      machine.disks[Int(seed % 3)].losePowerAlone()
      try await shadowed.flush()
      #expect(pool.absentDiskNumbers.map(\.value) == [UInt32(1 + seed % 3)])
      try await stack.bringBack(Int(seed % 3), to: pool, [disk])
      try await Examination.checkCopiesAgree(disk)
      try await shadowed.checkAll()
      try await disk.close()
      try await pool.close()
    }
  }

  /// A disk fails a flush and shows from then on what was there before, while other disks take their time over theirs: nobody may read it,
  /// though its eviction is still to come.
  @Test(arguments: UInt64(1)...8) func nobodyReadsADiskThatHasFailedAFlush(seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let bad = Int(seed % 3)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      machine.plan.add(FaultRule(.ioError, .always, disk: bad, operations: [.flush], limit: 1))
      machine.plan.add(FaultRule(.stall(seconds: 2...2), .always, disk: (bad + 1) % 3, operations: [.flush], limit: 1))
      let flush = Task(executorPreference: stack.reactor) { try await shadowed.flush() }
      await stack.reactor.sleep(milliseconds: 1000)
      #expect(pool.isWhole)
      try await shadowed.checkAll()
      // Partial blocks are merged with what is read; and what is copied comes from a disk that can be believed.
      for row in 0..<UInt64(4) { try await shadowed.write(row * 2048 + 9..<row * 2048 + 11) }
      try await flush.value
      #expect(pool.absentDiskNumbers.map(\.value) == [UInt32(1 + bad)])
      try await shadowed.checkAll()
      try await stack.bringBack(bad, to: pool, [disk])
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  /// A write hangs on one disk and goes on without it: the next piece of the same request, or of the same copying, is not put into the
  /// buffer that the disk still sends. (A simulated disk looks whether the bytes change under it.)
  @Test(arguments: [true, false], UInt64(1)...4) func theBufferOfAHungWriteIsLeftAlone(isCopying: Bool, seed: UInt64)
    throws
  {
    let machine = DiskLossTests.machine(seed: seed, files: false, block: 4096)
    let bad = Int(seed % 3)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      pool.startHousekeeping()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: DiskLossTests.sectorCount))
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      if isCopying {
        machine.disks[bad].vanish()
        try await shadowed.write(0..<DiskLossTests.sectorCount)
        machine.disks[bad].reappear()
        await stack.open[bad]?.close()
        _ = try await pool.readmit(stack.member(bad).device)
      }
      machine.plan.add(FaultRule(.hang, .atMatch(2), disk: bad, operations: [.write], range: 3 << 20..<64 << 20, limit: 1))
      if isCopying {
        for row in disk.rowsToResynchronise { try await disk.resynchronise(row: row) }
      } else {
        for first in stride(from: UInt64(1), to: 4000, by: 500) { try await shadowed.write(first..<first + 400) }
      }
      #expect(pool.absentDiskNumbers.map(\.value) == [UInt32(1 + bad)])
      machine.disks[bad].releaseHung()
      await stack.open[bad]?.drained()
      try await stack.bringBack(bad, to: pool, [disk])
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  /// A pool that was opened while only disks with 512-byte blocks are there gets one with 4096-byte blocks back: that takes part like any.
  @Test func aDiskWithLargerBlocksReturns() throws {
    let machine = SimulatedMachine(seed: 1)
    for index in 0..<3 {
      var options = SimulatedDiskOptions.blockDevice("disk\(index)", byteCount: 64 << 20)
      options.ioAlignment = index == 1 ? 4096 : 512
      machine.addDisk(options)
    }
    machine.addDisk(.file("witness", byteCount: 1 << 20))
    machine.powerOn()
    let shadow = ShadowDisk(sectorCount: DiskLossTests.sectorCount)
    let stack = try Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      try await ShadowedDisk(disk: disk, shadow: shadow).write(0..<DiskLossTests.sectorCount)
      machine.disks[1].vanish()
      try await disk.close()
      try await pool.close()
    }
    machine.powerOn()
    let again = try Stack(machine)
    try again.reactor.runToCompletion {
      let pool = try await again.openPool([0, 2], evictMissing: true)
      guard let record = try pool.virtualDiskRecords().first else { throw Surprise("the virtual disk is gone") }
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await again.bringBack(1, to: pool, [disk])
      for first in stride(from: UInt64(1), to: 4000, by: 77) { try await shadowed.write(first..<first + 5) }
      try await shadowed.flush()
      #expect(pool.isWhole)
      try await shadowed.checkAll()
      try await disk.close()
      try await pool.close()
    }
  }
}
