import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// Power cuts while several clients write, trim and flush two virtual disks at once and a third comes and goes.
@Suite struct ConcurrentCrashTests {
  /// The models of the two disks that stay.
  struct Models: Sendable {
    var disks = (0..<2).map { _ in ShadowDisk(sectorCount: (4 << 20) / 512) }
  }

  @Test(arguments: [(true, UInt64(21)), (false, 22)]) func nothingIsLostOrMixed(files: Bool, seed: UInt64) throws {
    let report = try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(stride: 11, secondCrashEvery: 7),
      prepare: { machine -> Models in
        for index in 0..<3 {
          var options: SimulatedDiskOptions =
            files ? .file("disk\(index)", byteCount: 64 << 20) : .blockDevice("disk\(index)", byteCount: 64 << 20)
          options.ioAlignment = 512
          options.atomicUnit = 512
          machine.addDisk(options)
        }
        machine.plan.isArmed = false
        return Models()
      },
      workload: { machine, models in
        let stack = try SimulatedStack(machine)
        let pool = try await stack.createPool()
        var disks: [ShadowedDisk] = []
        for (index, shadow) in models.disks.enumerated() {
          let plan = VirtualDiskPlan(name: "disk\(index)", byteCount: 4 << 20, columns: 1 + index, interleave: 16 << 10)
          let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: UInt32(index + 1)))
          disks.append(ShadowedDisk(disk: disk, shadow: shadow))
        }
        machine.plan.isArmed = true
        let tasks = (0..<6).map { client in
          let disk = disks[client % 2]
          return Task(executorPreference: stack.reactor) {
            try await ConcurrentCrashTests.work(disk, client: UInt64(client / 2), SeededRandom(seed: seed, stream: UInt64(client)))
          }
        }
        for _ in 0..<2 {
          let plan = VirtualDiskPlan(name: "guest", byteCount: 2 << 20, provisioning: .fixed, columns: 2)
          let guest = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 9))
          let shadowed = ShadowedDisk(disk: guest, shadow: ShadowDisk(sectorCount: (2 << 20) / 512))
          try await shadowed.write(0..<64)
          try await shadowed.flush()
          try await guest.delete()
        }
        for task in tasks { try await task.value }
        for disk in disks { try await disk.checkAll() }
        try await stack.close(pool, disks.map(\.disk))
      },
      verify: { machine, models in
        for shadow in models.disks { shadow.crashed() }
        let stack = try SimulatedStack(machine, reversed: true)
        let pool = try await stack.openPool()
        let open = try await stack.openVirtualDisks(pool)
        var mapped: UInt64 = 0
        for (index, shadow) in models.disks.enumerated() {
          guard let disk = open["disk\(index)"] else { throw Surprise("a virtual disk is gone") }
          try await ShadowedDisk(disk: disk, shadow: shadow).checkAll()
        }
        for disk in open.values { mapped += disk.allocatedByteCount }
        if pool.capacityByteCount - pool.freeByteCount != mapped { throw Surprise("slabs belong to nobody") }
        try await stack.close(pool, Array(open.values))
      })
    #expect(report.pointCount > 100, "\(report)")
    #expect(report.abandonedCount == 0, "\(report)")
  }

  /// Each client has sectors of its own, in turn with the others', so that they meet in chunks and rows but never in a sector.
  private static func work(_ disk: ShadowedDisk, client: UInt64, _ random: SeededRandom) async throws {
    var random = random
    for _ in 0..<14 {
      let start = (random.below(disk.shadow.sectorCount / 96) * 3 + client) * 32
      let sectors = start..<start + 1 + random.below(32)
      switch random.below(12) {
      case 0...5: try await disk.write(sectors, durable: random.below(4) == 0)
      case 6: try await disk.trim(sectors)
      case 7: try await disk.trim(sectors, zeroes: true, flags: random.coin() ? .keepAllocated : .forceUnitAccess)
      case 8, 9: try await disk.flush()
      default: try await disk.check(sectors)
      }
    }
  }
}
