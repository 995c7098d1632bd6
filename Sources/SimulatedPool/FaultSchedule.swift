import Simulation

/// The faults of one power-on: rules for the machine's plan, each with the kind it counts as.
struct FaultSchedule {
  enum Ending: Sendable, Equatable { case close, powerOff, crashInWork, crashWhileOpening }

  private(set) var ending: Ending
  /// The disks that things happen to.
  private(set) var victims: [Int] = []
  /// Disks that are not there.
  private(set) var missing: Set<Int> = []
  /// Disks that lose their power alone, and about so many milliseconds after the work has begun.
  private(set) var powerLosses: [(disk: Int, milliseconds: UInt64)] = []
  /// Disks that answer writes of metadata which they never do.
  private(set) var liars: Set<Int> = []
  /// Requests hang so long that the disk is given up.
  private(set) var hasHangs = false
  /// Requests of clients may be told that there is no space.
  private(set) var mayBeFull: Bool
  /// Virtual disks without copies may lose requests.
  var mayFail: Bool { !victims.isEmpty }
  /// In force from the beginning; the others once the work begins.
  private var early: [(kind: FaultKind, rule: FaultRule)] = []
  private var late: [(kind: FaultKind, rule: FaultRule)] = []
  /// Kinds of the rules that are in the plan, in its order.
  private var installed: [FaultKind] = []

  /// `members`: the disks that may be the pool's.
  init(
    powerOn number: UInt64, _ shape: ScenarioShape, _ geometry: [DiskGeometry], _ budget: inout DamageBudget, members: [Int],
    victim fixedVictim: Int?, operationCount: Int, _ random: inout SeededRandom
  ) {
    let endings: [Ending] = [.crashInWork, .crashInWork, .crashInWork, .crashInWork, .crashWhileOpening, .powerOff, .close, .close]
    let drawn = endings[random.index(below: endings.count)]
    ending = number == 1 && drawn == .crashWhileOpening ? .crashInWork : drawn
    mayBeFull = shape.isSmall
    addPassing(shape, geometry, members, &random)
    if random.below(10) < 6 {
      let candidate = fixedVictim ?? members[random.index(below: members.count)]
      if fixedVictim != nil || budget.harm(candidate) { addHarm(candidate, number, shape, geometry[candidate], &random) }
      // Two disks only where there are three copies of everything.
      let second = members[random.index(below: members.count)]
      if fixedVictim == nil && !victims.contains(second) && random.coin() && budget.limit > 1 && budget.harm(second) {
        addHarm(second, number, shape, geometry[second], &random)
      }
    }
    // What hangs shall land, too.
    if hasHangs && random.below(3) > 0 { ending = random.coin() ? .close : .powerOff }
    addCrash(shape, geometry, operationCount, &random)
  }

  private mutating func addCrash(
    _ shape: ScenarioShape, _ geometry: [DiskGeometry], _ operationCount: Int, _ random: inout SeededRandom
  ) {
    switch ending {
    case .close, .powerOff: break
    case .crashWhileOpening:
      let point = 1 + random.below(SimulatedPoolLimits.crashPointsOfOpening)
      early.append((.crashWhileOpening, FaultRule(.powerCut, .atPoint(point), limit: 1)))
    case .crashInWork:
      let changes: Set<DiskOperation> = [.write, .durableWrite]
      let isEvictionLikely = shape.leastCopyCount > 1 && !victims.isEmpty
      switch random.below(6) {
      case 0 where isEvictionLikely, 1 where isEvictionLikely:
        // The witness is written when a disk has to leave.
        let trigger = FaultTrigger.pointsAfterMatch(random.below(SimulatedPoolLimits.crashPointsOfEviction))
        late.append((.crashAroundEviction, FaultRule(.powerCut, trigger, disk: shape.witness, operations: changes, limit: 1)))
      case 2:
        let trigger = FaultTrigger.atMatch(1 + random.below(6))
        let range = geometry[0].journal.lowerBound..<geometry[0].journal.lowerBound + 4096
        late.append((.crashWhileJournalWraps, FaultRule(.powerCut, trigger, operations: changes, range: range, limit: 1)))
      case 3:
        let trigger = FaultTrigger.atMatch(1 + random.below(24))
        let range = random.coin() ? geometry[0].roots : geometry[0].pages
        late.append((.crashInCheckpoint, FaultRule(.powerCut, trigger, operations: changes, range: range, limit: 1)))
      default:
        let point = 1 + random.below(UInt64(operationCount + 4) * SimulatedPoolLimits.crashPointsPerOperation)
        late.append((.crashInWork, FaultRule(.powerCut, .atPoint(point), limit: 1)))
      }
    }
  }

  /// What costs no disk its place.
  private mutating func addPassing(
    _ shape: ScenarioShape, _ geometry: [DiskGeometry], _ members: [Int], _ random: inout SeededRandom
  ) {
    if random.below(4) == 0 {
      early.append((.passingReadError, FaultRule(.ioError, .perMillion(5_000), operations: [.read], limit: 4)))
    }
    if random.below(4) == 0 {
      let writes: Set<DiskOperation> = [.write, .durableWrite, .zero, .punch]
      early.append((.passingWriteError, FaultRule(.ioError, .perMillion(5_000), operations: writes, limit: 4)))
    }
    if random.below(4) == 0 {
      early.append((.stall, FaultRule(.stall(seconds: 1...4), .perMillion(2_000), limit: 3)))
    }
    if random.below(5) == 0 {
      let rule = FaultRule(
        .stall(seconds: 1...4), .perMillion(200_000), operations: [.write, .durableWrite, .flush], range: geometry[0].roots, limit: 2)
      late.append((.slowCheckpoint, rule))
    }
    let disk = members[random.index(below: members.count)]
    if shape.disks[disk].supportsZero && random.below(5) == 0 {
      mayBeFull = true
      let slabs = geometry[disk].slabs
      late.append((.fileSystemFull, FaultRule(.noSpace, .perMillion(200_000), disk: disk, operations: [.zero], range: slabs, limit: 5)))
    }
  }

  /// What the layers answer by evicting the disk or doing without it.
  private mutating func addHarm(
    _ disk: Int, _ number: UInt64, _ shape: ScenarioShape, _ geometry: DiskGeometry, _ random: inout SeededRandom
  ) {
    victims.append(disk)
    if random.below(3) == 0 {
      let range = FaultSchedule.sectors(in: geometry, &random)
      let rule = FaultRule(.ioError, .always, disk: disk, operations: [.read], range: range, limit: 3 * (1 + random.below(8)))
      if random.below(3) == 0 { early.append((.latentReadError, rule)) } else { late.append((.latentReadError, rule)) }
    }
    if random.below(3) == 0 {
      let range = FaultSchedule.sectors(in: geometry, &random)
      late.append((.badSectorWrite, FaultRule(.ioError, .always, disk: disk, operations: FaultSchedule.writes, range: range)))
    }
    if number > 1 && shape.disks.count > 1 && random.below(4) == 0 {
      let rule = FaultRule(.bitFlip, .perMillion(100_000), disk: disk, operations: [.read], range: geometry.metadata, limit: 2)
      early.append((.bitFlipInMetadata, rule))
    }
    // Where there are no copies, the loss of a disk is one of data.
    if shape.leastCopyCount > 1 { addLoss(of: disk, number, shape, geometry, &random) }
  }

  private mutating func addLoss(
    of disk: Int, _ number: UInt64, _ shape: ScenarioShape, _ geometry: DiskGeometry, _ random: inout SeededRandom
  ) {
    let moment = 1 + random.below(200)
    switch random.below(13) {
    case 0, 1: late.append((.vanishes, FaultRule(.diskVanishes, .atMatch(moment), disk: disk, limit: 1)))
    case 2: powerLosses.append((disk, random.below(60)))
    case 3: late.append((.flushError, FaultRule(.ioError, .atMatch(1 + moment / 10), disk: disk, operations: [.flush], limit: 1)))
    case 4:
      let start = geometry.metadata.lowerBound + random.below(UInt64(geometry.metadata.count) / 4096) * 4096
      let range = start..<min(start + (64 << 10), geometry.metadata.upperBound)
      late.append((.badSectorInMetadata, FaultRule(.ioError, .always, disk: disk, operations: FaultSchedule.writes, range: range)))
    case 5: if number > 1 { missing.insert(disk) }
    case 6: addLies(disk, .phantomWrite, .phantomWriteInMetadata, geometry, &random)
    case 7: addLies(disk, .misdirectedWrite(within: geometry.metadata), .misdirectedWriteInMetadata, geometry, &random)
    case 8, 9, 10, 11:
      hasHangs = true
      let operations: [Set<DiskOperation>] = [[.write, .durableWrite], [.write, .durableWrite], FaultSchedule.writes, [.flush], [.read]]
      let rule = FaultRule(
        .stall(seconds: SimulatedPoolLimits.hangSeconds), .atMatch(1 + moment / 4), disk: disk,
        operations: operations[random.index(below: operations.count)], limit: 1)
      late.append((.hang, rule))
    default: break
    }
  }

  private mutating func addLies(_ disk: Int, _ fault: Fault, _ kind: FaultKind, _ geometry: DiskGeometry, _ random: inout SeededRandom) {
    liars.insert(disk)
    let writes: Set<DiskOperation> = [.write, .durableWrite]
    let rule = FaultRule(
      fault, .perMillion(50_000), disk: disk, operations: writes, range: geometry.metadata, limit: 1 + random.below(3))
    late.append((kind, rule))
  }

  private static let writes: Set<DiskOperation> = [.write, .durableWrite, .zero]

  /// Some sectors where data probably lies: slabs are dealt from the first.
  private static func sectors(in geometry: DiskGeometry, _ random: inout SeededRandom) -> Range<UInt64> {
    let start = geometry.slabs.lowerBound + random.below(6 << 4) * (64 << 10)
    return start..<min(start + [4 << 10, 64 << 10, 512 << 10][random.index(below: 3)], geometry.slabs.upperBound)
  }

  // MARK: The machine's plan

  mutating func installEarly(_ machine: SimulatedMachine, _ coverage: inout FaultCoverage) { install(early, machine, &coverage) }
  mutating func installLate(_ machine: SimulatedMachine, _ coverage: inout FaultCoverage) { install(late, machine, &coverage) }

  private mutating func install(
    _ rules: [(kind: FaultKind, rule: FaultRule)], _ machine: SimulatedMachine, _ coverage: inout FaultCoverage
  ) {
    for (kind, rule) in rules { add(kind, rule, to: machine, &coverage) }
  }

  /// At once, and until the end of the power-on.
  mutating func add(_ kind: FaultKind, _ rule: FaultRule, to machine: SimulatedMachine, _ coverage: inout FaultCoverage) {
    machine.plan.add(rule)
    installed.append(kind)
    coverage.offer(kind)
  }

  /// Counts what fired and takes the rules out of the plan.
  mutating func remove(from machine: SimulatedMachine, _ coverage: inout FaultCoverage) {
    for (kind, rule) in zip(installed, machine.plan.rules) { coverage.fire(kind, rule.firedCount) }
    machine.plan.rules.removeAll()
    installed.removeAll()
  }
}

/// Where things lie on a simulated disk of the pool.
struct DiskGeometry: Sendable {
  var metadata: Range<UInt64>
  var journal: Range<UInt64>
  /// With the tables: what a checkpoint writes last.
  var roots: Range<UInt64>
  var pages: Range<UInt64>
  var slabs: Range<UInt64>
}
