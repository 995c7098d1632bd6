import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// Several tasks at once do random things to one virtual disk; what is read must always be what the model allows.
@Suite struct RandomTests {
  @Test(arguments: [(UInt64(1), 512, 512), (2, 512, 4096), (3, 4096, 4096), (4, 512, 4096)])
  func overlappingRequestsAgreeWithTheModel(seed: UInt64, sector: Int, block: Int) throws {
    let machine = SimulatedMachine(seed: seed)
    for index in 0..<3 {
      var options = SimulatedDiskOptions.blockDevice("disk\(index)", byteCount: 64 << 20)
      options.startsWithGarbage = true
      options.ioAlignment = block
      options.physicalSector = block
      options.atomicUnit = block
      machine.addDisk(options)
    }
    let reactor = machine.powerOn()
    let done = try reactor.runToCompletion { () async throws -> UInt64 in
      let stack = try SimulatedStack(machine)
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, columns: 3, interleave: 16 << 10, logicalSector: sector)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (4 << 20) / UInt64(sector), sectorByteCount: sector))
      // Each task has sectors of its own, in turn with the others', so that they meet in blocks, chunks and rows but never in a sector.
      let tasks = (0..<4).map { task in
        Task(executorPreference: reactor) {
          try await RandomTests.work(shadowed, task: UInt64(task), SeededRandom(seed: seed, stream: UInt64(task)))
        }
      }
      for task in tasks { try await task.value }
      try await shadowed.checkAll()
      try await stack.close(pool, [disk])
      return disk.statistics[.write].requests
    }
    #expect(done > 100)
  }

  /// Of a request that is cut at the end of a chunk or a row, the second part lies at an odd address in memory.
  @Test func requestsCutAtChunksAndRowsReachDisksOfLargerBlocks() throws {
    let machine = SimulatedMachine(seed: 7)
    for index in 0..<2 {
      var options = SimulatedDiskOptions.blockDevice("disk\(index)", byteCount: 64 << 20)
      options.ioAlignment = 4096
      options.atomicUnit = 4096
      machine.addDisk(options)
    }
    try machine.powerOn().runToCompletion { () async throws in
      let stack = try SimulatedStack(machine)
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 6 << 20, columns: 2, interleave: 16 << 10)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: (6 << 20) / 512))
      for end in [128, 256, 4096, 8192] as [UInt64] {
        try await shadowed.write(end - 1..<end + 8)
        try await shadowed.check(end - 3..<end + 16)
        try await shadowed.trim(end - min(end, 200)..<end)
        try await shadowed.check(end - min(end, 129)..<end + 8)
      }
      try await shadowed.checkAll()
      try await stack.close(pool, [disk])
    }
  }

  private static func work(_ disk: ShadowedDisk, task: UInt64, _ random: SeededRandom) async throws {
    var random = random
    for _ in 0..<120 {
      let stripe = random.below(disk.shadow.sectorCount / 63 / 4) * 4 + task
      // Not a power of two: requests are to cross the ends of blocks, chunks and rows.
      let start = stripe * 63 + random.below(31)
      let sectors = start..<start + 1 + random.below(32)
      switch random.below(10) {
      case 0...4: try await disk.write(sectors, durable: random.below(8) == 0)
      case 5: try await disk.trim(sectors)
      case 6: try await disk.trim(sectors, zeroes: true, flags: random.coin() ? .keepAllocated : [])
      case 7: try await disk.flush()
      default: try await disk.check(sectors)
      }
    }
  }
}
