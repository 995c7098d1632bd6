import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// Several virtual disks in a pool too small for them, on disks whose file systems are now and then full: writes fail with ENOSPC and
/// nothing else goes wrong.
@Suite struct FullPoolTests {
  @Test(arguments: [(true, UInt64(31)), (false, 33)])
  func fullPoolLosesNothingAndStrandsNothing(files: Bool, seed: UInt64) throws {
    let machine = FailureTests.machine(seed: seed, files: files)
    let models = (0..<3).map { _ in ShadowDisk(sectorCount: (64 << 20) / 4096, sectorByteCount: 4096) }
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool(slabByteCount: 4 << 20)
      var disks: [ShadowedDisk] = []
      for (index, shadow) in models.enumerated() {
        let plan = VirtualDiskPlan(name: "disk\(index)", byteCount: 64 << 20, columns: 1 + index, logicalSector: 4096)
        let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: UInt32(index)))
        disks.append(ShadowedDisk(disk: disk, shadow: shadow))
      }
      // Beyond the metadata: what is full there is the disk's failure.
      machine.plan.add(FaultRule(.noSpace, .perMillion(60_000), operations: [.zero, .write], range: 4 << 20..<62 << 20))
      let tasks = disks.enumerated().map { client, disk in
        Task(executorPreference: reactor) {
          try await FullPoolTests.work(disk, SeededRandom(seed: seed, stream: UInt64(client)))
        }
      }
      var refusals = 0
      for task in tasks { refusals += try await task.value }
      #expect(refusals > 0)
      machine.plan = FaultPlan()
      for disk in disks {
        try await disk.checkAll()
        try await disk.flush()
      }
      let mapped = disks.reduce(0) { $0 + $1.disk.allocatedByteCount }
      #expect(pool.capacityByteCount - pool.freeByteCount == mapped)
      try await stack.close(pool, disks.map(\.disk))
    }
    machine.powerOn()
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.openPool()
      let open = try await stack.openVirtualDisks(pool)
      for (index, shadow) in models.enumerated() {
        guard let disk = open["disk\(index)"] else { throw Surprise("a virtual disk is gone") }
        try await ShadowedDisk(disk: disk, shadow: shadow).checkAll()
      }
      for disk in open.values { try await disk.delete() }
      #expect(pool.freeByteCount == pool.capacityByteCount)
      try await stack.close(pool, [])
    }
  }

  /// What `base:allocation` means: where the disks themselves have room, ENOSPC is for holes alone.
  @Test(arguments: [UInt64(35), 36]) func aWriteWhereThereIsNoHoleFindsRoom(seed: UInt64) throws {
    let machine = FailureTests.machine(seed: seed, files: true)
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool(slabByteCount: 4 << 20)
      var disks: [ShadowedDisk] = []
      for index in 0..<3 {
        let plan = VirtualDiskPlan(name: "disk\(index)", byteCount: 64 << 20, columns: 1 + index, logicalSector: 4096)
        let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: UInt32(index)))
        disks.append(ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (64 << 20) / 4096, sectorByteCount: 4096)))
      }
      let tasks = disks.enumerated().map { client, disk in
        Task(executorPreference: reactor) {
          try await FullPoolTests.work(disk, SeededRandom(seed: seed, stream: UInt64(client)), keepsPromise: true)
        }
      }
      var refusals = 0
      for task in tasks { refusals += try await task.value }
      #expect(refusals > 0, "the pool has to be full for this to say anything")
      try await stack.close(pool, disks.map(\.disk))
    }
  }

  private static func isMapped(_ disk: VirtualDisk, _ sectors: Range<UInt64>) async throws -> Bool {
    var extents: [BlockExtent] = []
    let byteCount = UInt64(sectors.count) * 4096
    try await disk.blockStatus(at: sectors.lowerBound * 4096, byteCount: byteCount, limit: 100, into: &extents, IORequest())
    #expect(extents.reduce(0) { $0 + $1.byteCount } == byteCount)
    #expect(extents.allSatisfy { $0.byteCount > 0 && $0.byteCount % 4096 == 0 })
    return extents.allSatisfy(\.isAllocated)
  }

  /// Disks of unequal size are filled to what was promised, with any number of copies and columns; and a hot spare is no column.
  @Test(arguments: [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1)])
  func fillingReachesWhatWasPromised(copies: Int, columns: Int) throws {
    let machine = SimulatedMachine(seed: 5)
    for (index, size) in [64, 72, 96, 140, 64].enumerated() {
      machine.addDisk(.file("disk\(index)", byteCount: UInt64(size) << 20))
    }
    machine.powerOn()
    try FailureTests.run(machine) { stack, reactor in
      let pool = try await stack.createPool(slabByteCount: 8 << 20)
      try await pool.setUsage(of: DiskNumber(5), .hotspare)
      #expect(VirtualDiskPlan.defaultColumns(copies: copies, in: pool) == 4 / copies)
      let promised = pool.remainingByteCount(copies: copies, columns: columns)
      #expect(promised > 0 && promised <= pool.remainingByteCount(copies: copies))
      let plan = VirtualDiskPlan(name: "disk", byteCount: 1 << 30, copies: copies, columns: columns, logicalSector: 4096)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (1 << 30) / 4096, sectorByteCount: 4096))
      var filled: UInt64 = 0
      do {
        while true {
          try await shadowed.write(filled / 4096..<filled / 4096 + 1)
          filled += disk.rowByteCount
        }
      } catch let error as BlockError { #expect(error.cause == .noSpace) }
      #expect(filled == promised)
      #expect(pool.remainingByteCount(copies: copies, columns: columns) == 0)
      #expect(disk.emptyPlaces.isEmpty)
      try await stack.close(pool, [disk])
    }
  }

  /// How many requests were refused for want of space.
  /// - Parameter keepsPromise: none of them where block status has told of no hole.
  private static func work(_ disk: ShadowedDisk, _ random: SeededRandom, keepsPromise: Bool = false) async throws -> Int {
    var random = random
    var refusals = 0
    let rowSectors = disk.disk.rowByteCount / 4096
    for _ in 0..<150 {
      let start = random.below(disk.shadow.sectorCount - 16)
      let sectors = start..<start + 1 + random.below(16)
      let row = random.below(disk.shadow.sectorCount / rowSectors) * rowSectors
      let isMapped = keepsPromise ? try await isMapped(disk.disk, sectors) : false
      let choice = random.below(12)
      do {
        switch choice {
        case 0...6: try await disk.write(sectors, durable: random.below(8) == 0)
        case 7: try await disk.trim(row..<row + rowSectors)
        case 8: try await disk.trim(row..<row + rowSectors, zeroes: true, flags: random.coin() ? .keepAllocated : [])
        case 9: try await disk.trim(sectors)
        case 10: try await disk.flush()
        default: try await disk.check(sectors)
        }
      } catch let error as BlockError where error.cause == .noSpace {
        refusals += 1
        if keepsPromise { #expect(!(choice <= 6 && isMapped), "no space where there is no hole: \(sectors)") }
      }
    }
    return refusals
  }
}
