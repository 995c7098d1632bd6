import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// Disks that fail where the other copy is not whole: what only one disk has is neither forgotten nor taken from an older copy.
@Suite struct LastCopyTests {
  /// A two-way mirror of one row on the disks 0 and 1 of three, full and flushed.
  private static func run(_ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, ShadowedDisk, [Int]) async throws -> Void) throws {
    let machine = DiskLossTests.machine(seed: 3, files: false)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 1 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: 2048))
      try await shadowed.write(0..<2048)
      try await shadowed.flush()
      try await disk.clearDirtyRegions(evenTouched: true)
      let disks = disk.slabTable.slabs(ofRow: 0).map { Int($0.disk.value) - 1 }
      try await body(stack, pool, shadowed, disks)
      _ = try? await disk.close()
      _ = try? await pool.close()
    }
  }

  /// One copy is being brought up to date when the other, which alone has all of it, cannot be written in a place.
  @Test func aWriteFailsOnTheLastWholeCopy() throws {
    try LastCopyTests.run { stack, pool, shadowed, disks in
      stack.machine.disks[disks[1]].vanish()
      try await shadowed.write(0..<256)
      try await shadowed.flush()
      #expect(pool.absentDiskNumbers.count == 1)
      stack.machine.disks[disks[1]].reappear()
      await stack.open[disks[1]]?.close()
      let partition = try await pool.readmit(stack.member(disks[1]).device)
      stack.machine.plan.add(FaultRule(.ioError, .always, disk: disks[0], operations: [.write], range: 3 << 20..<64 << 20))
      do { try await shadowed.write(1536..<1792) } catch is BlockError {}
      stack.machine.plan.rules.removeAll()
      #expect(shadowed.disk.firstLostRow == nil)
      try await shadowed.checkAll()
      try await stack.resynchronise(pool, [shadowed.disk])
      try await pool.finishReturn(of: partition)
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(shadowed.disk)
    }
  }

  /// A copy that missed a write, though its disk stayed, is no fresher because that disk left last.
  @Test func aCopyThatMissedAWriteIsStaleWhenItsDiskReturns() throws {
    try LastCopyTests.run { stack, pool, shadowed, disks in
      // The disk has the only copy of something else, so it stays.
      let other = try await VirtualDisk.create(
        VirtualDiskPlan(name: "other", byteCount: 16 << 20, copies: 1, columns: 3), in: pool, handle: VirtualDiskHandle(number: 2))
      let otherShadowed = ShadowedDisk(disk: other, shadow: ShadowDisk(sectorCount: 32768))
      try await otherShadowed.write(0..<8192)
      try await otherShadowed.flush()
      stack.machine.plan.add(FaultRule(.ioError, .always, disk: disks[0], operations: [.write], range: 3 << 20..<64 << 20))
      try await shadowed.write(0..<256)
      stack.machine.plan.rules.removeAll()
      #expect(pool.absentDiskNumbers.isEmpty)
      try await shadowed.checkAll()
      stack.machine.disks[disks[1]].vanish()
      await pool.lookAtDisks()
      stack.machine.disks[disks[0]].vanish()
      await pool.lookAtDisks()
      #expect(pool.absentDiskNumbers.count == 2)
      stack.machine.disks[disks[0]].reappear()
      await stack.open[disks[0]]?.close()
      _ = try await pool.readmit(stack.member(disks[0]).device)
      for first in stride(from: UInt64(0), to: 2048, by: 128) {
        do { try await shadowed.check(first..<first + 128) } catch is BlockError {}
      }
      _ = try? await other.close()
    }
  }

  /// A disk on its way back is written like any other. When the disk that it is brought up to date from goes, what it then takes alone is
  /// not forgotten when that disk, which left last, is back.
  @Test(arguments: [true, false], [true, false]) func whatADiskOnItsWayBackTookAloneIsKept(isDone: Bool, isRestarted: Bool) throws {
    let machine = DiskLossTests.machine(seed: 3, files: false)
    let shadow = ShadowDisk(sectorCount: 2048)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 1 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await shadowed.write(0..<2048)
      try await shadowed.flush()
      try await disk.clearDirtyRegions(evenTouched: true)
      let disks = disk.slabTable.slabs(ofRow: 0).map { Int($0.disk.value) - 1 }
      machine.disks[disks[1]].vanish()
      try await shadowed.write(0..<256)
      try await shadowed.flush()
      machine.disks[disks[1]].reappear()
      await stack.open[disks[1]]?.close()
      _ = try await pool.readmit(stack.member(disks[1]).device)
      if isDone { try await stack.resynchronise(pool, [disk]) }
      machine.disks[disks[0]].vanish()
      await pool.lookAtDisks()
      for first in [0, 1536] as [UInt64] {
        do { try await shadowed.write(first..<first + 128, durable: true) } catch is BlockError { #expect(!isDone) }
      }
      machine.disks[disks[0]].reappear()
      await stack.open[disks[0]]?.close()
      if isRestarted { return }
      _ = try await pool.readmit(stack.member(disks[0]).device)
      try await shadowed.checkAll()
      try await stack.resynchronise(pool, [disk])
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      _ = try? await disk.close()
      _ = try? await pool.close()
    }
    if !isRestarted { return }
    machine.cutPower()
    shadow.crashed()
    machine.powerOn()
    let again = try DiskLossTests.Stack(machine)
    try again.reactor.runToCompletion {
      let pool = try await again.openPool([0, 1, 2])
      guard let record = try pool.virtualDiskRecords().first else { throw Surprise("the virtual disk is gone") }
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2))
      for device in pool.returnableDevices { _ = try await pool.readmit(device) }
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      #expect(disk.firstLostRow == nil)
      try await shadowed.checkAll()
      try await again.resynchronise(pool, [disk])
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      _ = try? await disk.close()
      _ = try? await pool.close()
    }
  }

  /// A copy is on its way to another disk when a write fails on both of the row's, but not on that one: what it took is not brought
  /// together with the copies, so it must not become one.
  @Test func aWriteThatFailsOnAllCopiesIsNotKeptByTheOneThatIsBeingMade() throws {
    try LastCopyTests.run { stack, pool, shadowed, disks in
      let disk = shadowed.disk
      let target = [0, 1, 2].first { !disks.contains($0) } ?? 0
      let slabs: Range<UInt64> = 3 << 20..<64 << 20
      stack.machine.plan.restartCounting()
      stack.machine.plan.add(FaultRule(.stall(seconds: 5...5), .atMatch(4), disk: target, operations: [.write], range: slabs, limit: 1))
      let move = Task(executorPreference: stack.reactor) {
        try await disk.move(CopyPlace(row: 0, place: 0), to: DiskNumber(UInt32(target + 1)))
      }
      await stack.reactor.sleep(milliseconds: 1000)
      for bad in disks { stack.machine.plan.add(FaultRule(.ioError, .always, disk: bad, operations: [.write], range: slabs)) }
      await #expect(throws: BlockError.self) { try await shadowed.write(0..<64) }
      stack.machine.plan.rules.removeAll()
      try await shadowed.checkAll()
      _ = try? await move.value
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
    }
  }
}
