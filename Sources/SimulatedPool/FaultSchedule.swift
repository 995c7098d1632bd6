import Simulation

/// The faults of one power-on: rules for the machine's plan, each with the kind it counts as.
struct FaultSchedule {
  enum Ending: Sendable, Equatable { case close, powerOff, crashInWork, crashWhileOpening }

  let ending: Ending
  /// The disk that things happen to; nil for none.
  private(set) var victim: Int?
  /// The disk that is not there.
  private(set) var missing: Int?
  /// The disk loses its power alone, about so many milliseconds after the work has begun.
  private(set) var powerLossMilliseconds: UInt64?
  private(set) var hasLies = false
  /// Requests of clients may be told that there is no space.
  private(set) var mayBeFull: Bool
  /// Virtual disks without copies may lose requests.
  var mayFail: Bool { victim != nil }
  /// In force from the beginning; the others once the work begins.
  private var early: [(kind: FaultKind, rule: FaultRule)] = []
  private var late: [(kind: FaultKind, rule: FaultRule)] = []
  /// Kinds of the rules that are in the plan, in its order.
  private var installed: [FaultKind] = []

  init(
    powerOn number: UInt64, _ shape: ScenarioShape, _ geometry: [DiskGeometry], _ budget: inout DamageBudget, victim fixedVictim: Int?,
    operationCount: Int, _ random: inout SeededRandom
  ) {
    let endings: [Ending] = [.crashInWork, .crashInWork, .crashInWork, .crashInWork, .crashWhileOpening, .powerOff, .close, .close]
    let drawn = endings[random.index(below: endings.count)]
    ending = number == 1 && drawn == .crashWhileOpening ? .crashInWork : drawn
    mayBeFull = shape.isSmall
    switch ending {
    case .crashInWork:
      let point = 1 + random.below(UInt64(operationCount + 4) * SimulatedPoolLimits.crashPointsPerOperation)
      late.append((.crashInWork, FaultRule(.powerCut, .atPoint(point), limit: 1)))
    case .crashWhileOpening:
      let point = 1 + random.below(SimulatedPoolLimits.crashPointsOfOpening)
      early.append((.crashWhileOpening, FaultRule(.powerCut, .atPoint(point), limit: 1)))
    case .close, .powerOff: break
    }
    addPassing(shape, geometry, &random)
    guard random.below(10) < 6 else { return }
    let candidate = fixedVictim ?? random.index(below: shape.disks.count)
    if fixedVictim != nil || budget.harm(candidate) { addHarm(candidate, number, shape, geometry[candidate], &random) }
  }

  /// What costs no disk its place.
  private mutating func addPassing(_ shape: ScenarioShape, _ geometry: [DiskGeometry], _ random: inout SeededRandom) {
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
    let disk = random.index(below: shape.disks.count)
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
    victim = disk
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
    switch random.below(9) {
    case 0, 1: late.append((.vanishes, FaultRule(.diskVanishes, .atMatch(moment), disk: disk, limit: 1)))
    case 2: powerLossMilliseconds = random.below(60)
    case 3: late.append((.flushError, FaultRule(.ioError, .atMatch(1 + moment / 10), disk: disk, operations: [.flush], limit: 1)))
    case 4:
      let start = geometry.metadata.lowerBound + random.below(UInt64(geometry.metadata.count) / 4096) * 4096
      let range = start..<min(start + (64 << 10), geometry.metadata.upperBound)
      late.append((.badSectorInMetadata, FaultRule(.ioError, .always, disk: disk, operations: FaultSchedule.writes, range: range)))
    case 5: if number > 1 { missing = disk }
    case 6: addLies(disk, .phantomWrite, .phantomWriteInMetadata, geometry, &random)
    case 7: addLies(disk, .misdirectedWrite(within: geometry.metadata), .misdirectedWriteInMetadata, geometry, &random)
    default: break
    }
  }

  private mutating func addLies(_ disk: Int, _ fault: Fault, _ kind: FaultKind, _ geometry: DiskGeometry, _ random: inout SeededRandom) {
    hasLies = true
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
  var slabs: Range<UInt64>
}
