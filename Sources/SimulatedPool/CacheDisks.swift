import Pool
import Simulation
import StorageBus

// The cache disks of a scenario, and all that can be wrong with one: nothing of it may ever be seen by a client. What is drawn for them comes
// from a stream of its own, so that a scenario without cache disks is what it would be.

/// The cache disks that a seed makes, and what they went through.
struct CacheDiskSet {
  /// Their places in the machine.
  private(set) var indices: [Int] = []
  var random: SeededRandom
  /// What they held at the end of an earlier power-on.
  var pasts: [Int: SavedContent] = [:]

  init(_ machine: SimulatedMachine) { random = SeededRandom(seed: machine.seed, stream: 12) }

  /// Adds none, one or two to the machine, small ones: their pages come and go.
  mutating func addDisks(to machine: SimulatedMachine) {
    for number in 0..<[0, 0, 1, 2][random.index(below: 4)] {
      let byteCount = SimulatedPoolLimits.cacheDiskByteCounts[random.index(below: SimulatedPoolLimits.cacheDiskByteCounts.count)]
      var options: SimulatedDiskOptions =
        random.coin() ? .file("cache\(number)", byteCount: byteCount) : .blockDevice("cache\(number)", byteCount: byteCount)
      options.ioAlignment = random.coin() ? 512 : 4096
      indices.append(machine.addDisk(options).index)
    }
  }
}

extension Scenario {
  func isCacheDisk(_ name: String) -> Bool { cacheDisks.indices.contains { machine.disks[$0].options.name == name } }

  /// Before a power-on: a cache disk is away, from the past, or damaged.
  func befallCacheDisks(beforePowerOn number: UInt64) {
    for index in cacheDisks.indices {
      let disk = machine.disks[index]
      disk.reappear()
      if number == 1 { continue }
      switch cacheDisks.random.below(10) {
      case 0:
        fire(.cacheDiskMissing)
        disk.vanish()
      case 1:
        guard let past = cacheDisks.pasts[index] else { continue }
        fire(.cacheDiskFromThePast)
        disk.restore(past)
      case 2, 3, 4:
        guard let past = cacheDisks.pasts[index] else { continue }
        fire(.cacheContentFromThePast)
        restoreContent(of: disk, past)
      case 5:
        fire(.cacheDiskDamaged)
        damage(disk)
      default: break
      }
    }
  }

  private func fire(_ kind: FaultKind) {
    faults.offer(kind)
    faults.fire(kind)
  }

  /// As if its data partition alone had been copied back: the superblocks are those that the pool knows.
  private func restoreContent(of disk: SimulatedDisk, _ past: SavedContent) {
    let places = cacheLayout(of: disk).superblockOffsets.joined().map { ($0, disk.peek(at: $0, byteCount: Superblock.byteCount)) }
    disk.restore(past)
    for (offset, bytes) in places { disk.poke(at: offset, bytes) }
  }

  private func damage(_ disk: SimulatedDisk) {
    let layout = cacheLayout(of: disk)
    // The cache's own structures, its pages, and now and then what makes it the pool's.
    let area = cacheDisks.random.below(4) == 0 ? 0..<layout.dataEnd : layout.slabsOffset..<layout.dataEnd
    for _ in 0...cacheDisks.random.below(24) {
      let byteCount = [512, 4096, 65_536][cacheDisks.random.index(below: 3)]
      let offset = area.lowerBound + cacheDisks.random.below((UInt64(area.count) - UInt64(byteCount)) / 512) * 512
      disk.poke(at: offset, (0..<byteCount).map { _ in UInt8(truncatingIfNeeded: cacheDisks.random.next()) })
    }
  }

  func cacheLayout(of disk: SimulatedDisk) -> DiskLayout {
    do { return try layout.layout(diskByteCount: disk.options.byteCount) } catch { preconditionFailure("\(error)") }
  }

  /// After a power-on. What was closed in order is what looks as if it could be believed.
  func keepPastOfCacheDisks(isClosed: Bool) {
    for index in cacheDisks.indices where isClosed || cacheDisks.random.below(4) == 0 {
      cacheDisks.pasts[index] = machine.disks[index].save()
    }
  }

  /// Rules for the opening.
  func earlyCacheFaults() -> [(FaultKind, FaultRule)] {
    cacheDisks.indices.compactMap { index in
      guard cacheDisks.random.below(4) == 0 else { return nil }
      let start = cacheLayout(of: machine.disks[index]).slabsOffset
      return (
        .cacheMarkNotErased,
        FaultRule(.phantomWrite, .always, disk: index, operations: [.write, .durableWrite], range: start..<start + 256 << 10)
      )
    }
  }

  /// Rules for the work.
  func lateCacheFaults() -> [(FaultKind, FaultRule)] {
    var rules: [(FaultKind, FaultRule)] = []
    for index in cacheDisks.indices {
      let layout = cacheLayout(of: machine.disks[index])
      let content = layout.slabsOffset..<layout.dataEnd - FormatLimits.dataMarginByteCount
      let writes: Set<DiskOperation> = [.write, .durableWrite]
      func add(_ kind: FaultKind, _ rule: FaultRule) { rules.append((kind, rule)) }
      let rate = UInt32(cacheDisks.random.below(200_000))
      switch cacheDisks.random.below(12) {
      case 0: add(.cacheDiskLies, FaultRule(.bitFlip, .perMillion(rate), disk: index))
      case 1: add(.cacheDiskLies, FaultRule(.phantomWrite, .perMillion(rate), disk: index, operations: writes))
      case 2:
        add(
          .cacheDiskLies, FaultRule(.misdirectedWrite(within: content), .perMillion(rate), disk: index, operations: writes, range: content))
      case 3: add(.cacheDiskLies, FaultRule(.misdirectedWrite(), .perMillion(rate), disk: index, operations: writes))
      case 4: add(.cacheDiskFails, FaultRule(.ioError, .perMillion(rate), disk: index))
      case 5: add(.cacheDiskFails, FaultRule(.ioError, .always, disk: index, operations: writes))
      case 6: add(.cacheDiskVanishes, FaultRule(.diskVanishes, .atMatch(1 + cacheDisks.random.below(100)), disk: index, limit: 1))
      case 7:
        let moment = FaultTrigger.atMatch(1 + cacheDisks.random.below(40))
        add(.cacheDiskHangs, FaultRule(.stall(seconds: SimulatedPoolLimits.hangSeconds), moment, disk: index, range: content, limit: 1))
      default: break
      }
    }
    return rules
  }

  func countCacheDisks(_ pool: StoragePool) {
    for disk in pool.cache.disks {
      guard let counters = disk.store?.counters else { continue }
      machine.count(.cacheDiskHit, counters.hits)
      machine.count(.cacheDiskMiss, counters.misses)
      machine.count(.cacheDiskFill, counters.fills)
      machine.count(.cacheDiskEviction, counters.evictions)
      machine.count(.cacheDiskPageDropped, counters.dropped)
      machine.count(.cacheDiskLieFound, counters.checksumErrors)
      machine.count(.cacheDiskTimeout, counters.timeouts)
      machine.count(.cacheDiskWarmPage, counters.warm)
    }
  }
}
