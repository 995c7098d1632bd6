import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// What may happen to a disk while it is being released, which takes as long as the slowest disk's metadata.
@Suite struct ReleaseTests {
  /// A pool of three disks, slow in keeping metadata, and a fourth without data, number 4, that is being retired since `milliseconds`.
  private static func run(
    after milliseconds: UInt64, _ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, ShadowedDisk) async throws -> Void
  ) throws {
    let machine = DiskLossTests.machine(seed: 5, files: false)
    machine.addDisk(.blockDevice("disk4", byteCount: 64 << 20))
    machine.powerOn()
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 16 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: 32768))
      try await shadowed.write(0..<2048)
      try await shadowed.flush()
      _ = try await pool.add(stack.member(4))
      try await pool.retire(DiskNumber(4))
      machine.plan.add(FaultRule(.stall(seconds: 1...1), .always, disk: 0, operations: [.flush]))
      pool.jobs.start()
      await stack.reactor.sleep(milliseconds: milliseconds)
      try await body(stack, pool, shadowed)
      machine.plan.rules.removeAll()
      try await shadowed.write(4096..<16384)
      try await shadowed.flush()
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  @Test(arguments: [500, 1500, 2500, 3500, 4500, 5500, 6500] as [UInt64]) func aDiskVanishesWhileItIsReleased(after milliseconds: UInt64)
    throws
  {
    try ReleaseTests.run(after: milliseconds) { stack, pool, _ in
      stack.machine.disks[4].vanish()
      await pool.lookAtDisks()
    }
  }

  /// An operator who changes his mind too late is told so; else the disk stays, and may be dealt from.
  @Test(arguments: [500, 1500, 2500, 3500, 4500, 5500, 6500] as [UInt64]) func aDiskIsWantedAgainWhileItIsReleased(
    after milliseconds: UInt64
  )
    throws
  {
    try ReleaseTests.run(after: milliseconds) { stack, pool, shadowed in
      var isWanted = false
      do throws(PoolError) {
        try await pool.setUsage(of: DiskNumber(4), .auto)
        isWanted = true
      } catch {}
      try await shadowed.write(16384..<32768)
      await stack.reactor.sleep(milliseconds: 30_000)
      #expect(pool.disks.contains { $0.number == DiskNumber(4) } == isWanted)
    }
  }
}
