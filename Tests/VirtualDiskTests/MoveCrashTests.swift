import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// What moves or comes back while the map is not committed: after a crash the metadata speaks of the old state of the row, and whatever it
/// calls present must be there.
@Suite struct MoveCrashTests {
  private static let sectorCount = DiskLossTests.sectorCount

  /// A chunk that is trimmed while its row moves is not copied. The move's commit names the new slab; until the trim is committed, too, the
  /// map calls the chunk present.
  @Test(arguments: UInt64(1)...4) func aTrimWhileTheRowMoves(seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: false)
    let shadow = ShadowDisk(sectorCount: MoveCrashTests.sectorCount)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await shadowed.write(0..<2048)
      try await shadowed.flush()
      let move = Task(executorPreference: stack.reactor) { try await disk.move(CopyPlace(row: 0, place: 0)) }
      await stack.reactor.sleep(milliseconds: 1)
      try await shadowed.trim(1792..<2048)
      let outcome = try await move.value
      #expect(outcome == .moved)
    }
    try verifyAfterCrash(machine, shadow)
  }

  /// A copy that was away lacks a chunk. Trimmed meanwhile, that is not copied to it; and the map, until the trim is committed, calls it
  /// present on a disk that counts again.
  @Test(arguments: UInt64(1)...4) func aTrimWhileADiskIsBroughtUpToDate(seed: UInt64) throws {
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let shadow = ShadowDisk(sectorCount: MoveCrashTests.sectorCount)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 3, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
      try await shadowed.write(0..<MoveCrashTests.sectorCount)
      try await shadowed.flush()
      machine.disks[1].vanish()
      try await shadowed.write(0..<MoveCrashTests.sectorCount)
      try await shadowed.flush()
      for row in 0..<UInt64(4) { try await shadowed.trim(row * 2048 + 1024..<row * 2048 + 1536) }
      try await stack.bringBack(1, to: pool, [disk])
    }
    try verifyAfterCrash(machine, shadow)
  }

  private func verifyAfterCrash(_ machine: SimulatedMachine, _ shadow: ShadowDisk) throws {
    machine.cutPower()
    shadow.crashed()
    machine.powerOn()
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.openPool([2, 0, 1])
      guard let record = try pool.virtualDiskRecords().first else { throw Surprise("the virtual disk is gone") }
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: 2))
      let reopened = ShadowedDisk(disk: disk, shadow: shadow)
      try await reopened.checkAll()
      for row in disk.rowsToResynchronise { try await disk.resynchronise(row: row) }
      try await Examination.checkCopiesAgree(disk)
      try Examination.checkSlabs(of: pool, [disk])
      try await disk.close()
      try await pool.close()
    }
  }

  /// A row moves while the flush that first brings it into the metadata is under way: a crash leaves all of the row there, or nothing.
  @Test(arguments: UInt64(1)...2) func aNewRowMoves(seed: UInt64) throws {
    try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(stride: 2),
      prepare: { machine -> ShadowDisk in
        for index in 0..<4 { machine.addDisk(.blockDevice("disk\(index)", byteCount: 64 << 20)) }
        machine.plan.isArmed = false
        return ShadowDisk(sectorCount: MoveCrashTests.sectorCount)
      },
      workload: { machine, shadow in
        let stack = try SimulatedStack(machine)
        let pool = try await stack.createPool()
        let disk = try await VirtualDisk.create(
          VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
        let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
        machine.plan.isArmed = true
        for row in 0..<UInt64(2) {
          try await shadowed.write(row * 2048..<row * 2048 + 100)
          // It begins while the move flushes the disks, and flushes them again.
          let flush = Task(executorPreference: stack.reactor) {
            await stack.reactor.sleep(milliseconds: 1 + row)
            try await shadowed.flush()
          }
          _ = try await disk.move(CopyPlace(row: Int(row), place: Int(row) % 2))
          try await flush.value
        }
        try await stack.close(pool, [disk])
      },
      verify: { machine, shadow in
        shadow.crashed()
        let stack = try SimulatedStack(machine)
        let pool = try await stack.openPool()
        let open = try await stack.openVirtualDisks(pool)
        guard let disk = open["disk"] else { throw Surprise("the virtual disk is gone") }
        try await ShadowedDisk(disk: disk, shadow: shadow).checkAll()
        try Examination.checkSlabs(of: pool, [disk])
        try await stack.close(pool, [disk])
      })
  }
}
