import Simulation
import VirtualDisk

/// What a seed makes: the disks of a machine, a pool on them, its first virtual disks, and who uses them.
struct ScenarioShape: Sendable {
  /// Those of the pool, and spares that the operator may add to it.
  var disks: [SimulatedDiskOptions] = []
  /// Of `disks`, the pool is made from the first.
  var firstDiskCount = 0
  var slabByteCount: UInt64 = 1 << 20
  var journalByteCount: UInt64 = 64 << 10
  var virtualDisks: [VirtualDiskPlan] = []
  /// Clients of each virtual disk.
  var clientCount = 1
  var powerOnCount: UInt64 = 2
  /// The fewest copies that any virtual disk may have; 1 where a loss of a disk may cost data.
  var leastCopyCount = 1
  /// Power-ons have so many operations that the journal comes round in each.
  var isLong = false
  /// Slabs are so few that they run out.
  var isSmall = false

  init(_ random: inout SeededRandom, isRoomy: Bool) {
    leastCopyCount = [1, 2, 2, 2, 2, 2, 3, 3][random.index(below: 8)]
    let diskCount = UInt64(leastCopyCount) + random.below(5 - UInt64(leastCopyCount) / 2)
    isSmall = !isRoomy && random.below(6) == 0
    journalByteCount = random.below(4) == 0 ? 128 << 10 : 64 << 10
    let kind = random.below(4)
    for index in 0..<diskCount { disks.append(ScenarioShape.disk(index, kind, isSmall, &random)) }
    firstDiskCount = disks.count
    if !isRoomy && leastCopyCount > 1 {
      for index in 0..<random.below(SimulatedPoolLimits.spareCount + 1) {
        disks.append(ScenarioShape.disk(diskCount + index, kind, isSmall, &random))
      }
    }
    clientCount = 1 + random.index(below: 4)
    isLong = random.below(6) == 0
    if isLong { journalByteCount = 64 << 10 }
    powerOnCount = random.value(in: SimulatedPoolLimits.powerOnCount)
    for index in 0..<1 + random.index(below: 2) {
      virtualDisks.append(plan(named: "disk\(index)", diskCount: firstDiskCount, &random))
    }
  }

  /// The disk of the machine that is none of the pool's and holds its witness.
  var witness: Int { disks.count }

  /// `kind`: 0 and 1 are files, 2 block devices, 3 some of each.
  private static func disk(_ index: UInt64, _ kind: UInt64, _ isSmall: Bool, _ random: inout SeededRandom) -> SimulatedDiskOptions {
    let step: UInt64 = 1 << 20
    let byteCount = (isSmall ? SimulatedPoolLimits.smallDiskByteCount : SimulatedPoolLimits.largeDiskByteCount) + random.below(5) * step
    let isFile = kind < 2 || (kind == 3 && random.coin())
    var options: SimulatedDiskOptions =
      isFile ? .file("sim\(index)", byteCount: byteCount) : .blockDevice("sim\(index)", byteCount: byteCount)
    if random.below(4) > 0 { options.ioAlignment = 512 } else { options.ioAlignment = 4096 }
    options.atomicUnit = options.ioAlignment == 4096 && random.coin() ? 4096 : 512
    options.startsWithGarbage = !isFile && random.below(4) > 0
    if random.below(4) == 0 { options.discardGranularity = 0 }
    return options
  }

  /// A virtual disk that this pool can have with so many disks, no fewer than `leastCopyCount`.
  func plan(named name: String, diskCount: Int, _ random: inout SeededRandom) -> VirtualDiskPlan {
    let most = min(ScenarioShape.mostCopies, diskCount)
    let copies = min(most, leastCopyCount + (random.below(3) == 0 ? 1 : 0))
    let columns = 1 + random.index(below: min(3, diskCount / copies))
    let range = SimulatedPoolLimits.virtualDiskByteCount
    let byteCount = random.value(in: range.lowerBound / 4096...range.upperBound / 4096) * 4096
    return VirtualDiskPlan(
      name: name, byteCount: byteCount, provisioning: random.below(4) == 0 ? .fixed : .thin, copies: copies, columns: columns,
      interleave: [4 << 10, 16 << 10, 64 << 10, 256 << 10][random.index(below: 4)], logicalSector: random.below(4) == 0 ? 4096 : 512)
  }

  private static let mostCopies = 3
}
