import BlockDevice
import Pool
import Reactor
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
        Task(executorPreference: reactor) { try await RandomTests.work(shadowed, task: UInt64(task), SeededRandom(seed: seed, stream: UInt64(task))) }
      }
      for task in tasks { try await task.value }
      try await shadowed.checkAll()
      try await stack.close(pool, [disk])
      return disk.statistics[.write].requests
    }
    #expect(done > 100)
  }

  private static func work(_ disk: ShadowedDisk, task: UInt64, _ random: SeededRandom) async throws {
    var random = random
    for _ in 0..<120 {
      let stripe = random.below(disk.shadow.sectorCount / 64 / 4) * 4 + task
      let start = stripe * 64 + random.below(32)
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
