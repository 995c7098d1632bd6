import Pool
import Reactor
import Simulation
import StorageBus
import VirtualDisk

/// How a seed is run.
public struct ScenarioOptions: Sendable {
  /// Requests of all clients together.
  public var operationCount = SimulatedPoolLimits.operationCount
  /// Gets each line of the trace.
  public var trace: (@Sendable (String) -> Void)?

  public init() {}
}

/// What a seed came to.
public struct SeedReport: Sendable {
  public let seed: UInt64
  /// The same for two runs of the same seed and options.
  public let digest: TraceDigest
  public let powerOnCount: UInt64
  public let coverage: Coverage
  public let faults: FaultCoverage
}

extension SeedReport {
  /// As text, to hand it from one process to another.
  package var encoded: String {
    ([seed, digest.value, powerOnCount] + coverage.numbers + faults.numbers).map { String($0) }.joined(separator: " ")
  }

  package init?(encoded: String) {
    let numbers = encoded.split(separator: " ").compactMap { UInt64($0) }
    var coverage = Coverage()
    var faults = FaultCoverage()
    let split = 3 + coverage.numbers.count
    guard numbers.count == split + faults.numbers.count else { return nil }
    coverage.numbers = Array(numbers[3..<split])
    faults.numbers = Array(numbers[split...])
    self.init(seed: numbers[0], digest: TraceDigest(value: numbers[1]), powerOnCount: numbers[2], coverage: coverage, faults: faults)
  }
}

/// A promise that was broken.
public struct SeedFailure: Error, CustomStringConvertible, Sendable {
  public let seed: UInt64
  public let reason: String
  /// What was in flight, and the last events.
  public let trace: String

  public var description: String { "seed \(seed): \(reason)\n\(trace)" }
}

/// The life of one pool, all of it drawn from a seed: power-ons one after the other, in each of which everything is opened and verified,
/// used, and left in one way or another. After the last a quiet one looks whether everything is there.
public final class Scenario: @unchecked Sendable {  // used by one thread at a time: who runs the reactor
  let machine: SimulatedMachine
  let shape: ScenarioShape
  let options: ScenarioOptions
  let geometry: [DiskGeometry]
  let layout: LayoutChoice
  var budget: DamageBudget
  /// Indices in the machine of the disks that are the pool's, present or not.
  var members: Set<Int>
  /// Disks that are being added to the pool: a crash leaves them its own or not.
  var adding: Set<Int> = []
  /// Which disk of the machine has which number in the pool. Numbers are never given out again.
  var diskNumbers: [DiskNumber: Int] = [:]
  /// Copies of disks, and after which power-on they were made.
  var pasts: [Int: (content: SavedContent, powerOn: UInt64)] = [:]
  /// Copies of disks that were made while the pool was used, which was closed in order since.
  var copiesFromUse: [Int: SavedContent] = [:]
  /// The last power-on in which the pool was opened with that disk.
  var lastUse: [Int: UInt64] = [:]
  /// Disks that were being brought up to date when the last power-on ended.
  var returning: Set<Int> = []
  /// What was bad before anything was drawn for the present power-on.
  var badBefore: Set<Int> = []
  var lackedCopiesBefore = false
  /// A disk that has everything, by what is known.
  func isCurrent(_ disk: Int) -> Bool {
    members.contains(disk) && !evicted.contains(disk) && !returning.contains(disk) && !badBefore.contains(disk)
  }
  /// Disks that the pool has evicted for certain, and not taken back since.
  var evicted: Set<Int> = []
  var faults = FaultCoverage()
  var models: [DiskModel] = []
  /// Numbers the virtual disks that are made on the way.
  var createdCount: UInt64 = 0
  /// Disks that have answered writes of metadata which they never did.
  var liars: Set<Int> = []
  var random: SeededRandom
  var cacheDisks: CacheDiskSet
  /// Where a loss could cost data, all that happens, happens to one disk: virtual disks with copies survive that.
  private let fixedVictim: Int?

  /// On a new machine without disks. `isRoomy`: slabs do not run out.
  init(_ machine: SimulatedMachine, _ options: ScenarioOptions, isRoomy: Bool = false) throws {
    self.options = options
    self.machine = machine
    if let trace = options.trace { machine.printTrace(to: trace) }
    random = SeededRandom(seed: machine.seed, stream: 10)
    // From a stream of its own, so that the cache changes nothing else of what a seed is.
    var cacheRandom = SeededRandom(seed: machine.seed, stream: 11)
    machine.cachePageCount = SimulatedPoolLimits.cachePageCounts[cacheRandom.index(below: SimulatedPoolLimits.cachePageCounts.count)]
    machine.cachePageByteCount = CacheLimits.pageByteCounts[cacheRandom.index(below: CacheLimits.pageByteCounts.count)]
    cacheDisks = CacheDiskSet(machine)
    shape = ScenarioShape(&random, isRoomy: isRoomy)
    budget = DamageBudget(leastCopyCount: shape.leastCopyCount)
    let layout = try SimulatedStack.layout(
      diskByteCounts: shape.disks.prefix(shape.firstDiskCount).map(\.byteCount), slabByteCount: shape.slabByteCount,
      metadataByteCount: SimulatedPoolLimits.metadataByteCount, journalByteCount: shape.journalByteCount)
    self.layout = layout
    members = Set(0..<shape.firstDiskCount)
    geometry = try shape.disks.map { disk in
      let places = try layout.layout(diskByteCount: disk.byteCount)
      let slabs = places.slabsOffset..<places.slabsOffset + UInt64(places.slabCount) * places.slabStride
      let metadataEnd = places.metadataOffset + places.metadataByteCount
      return DiskGeometry(
        metadata: places.metadataOffset..<metadataEnd, journal: places.journalOffset..<places.pagesOffset,
        roots: places.rootOffsets[0]..<places.journalOffset, pages: places.pagesOffset..<metadataEnd, slabs: slabs)
    }
    fixedVictim = shape.leastCopyCount == 1 && shape.disks.count > 1 ? random.index(below: shape.firstDiskCount) : nil
    for disk in shape.disks { machine.addDisk(disk) }
    machine.addDisk(.file("witness", byteCount: 1 << 20))
    cacheDisks.addDisks(to: machine)
  }

  /// Runs a seed to its end. Throws at the first promise that is found broken.
  public static func run(seed: UInt64, _ options: ScenarioOptions = ScenarioOptions()) throws(SeedFailure) -> SeedReport {
    let scenario: Scenario
    do { scenario = try Scenario(SimulatedMachine(seed: seed), options) } catch {
      throw SeedFailure(seed: seed, reason: "the scenario cannot be made: \(error)", trace: "")
    }
    for number in 1...scenario.shape.powerOnCount { try scenario.powerOn(number, isLast: false) }
    try scenario.powerOn(scenario.shape.powerOnCount + 1, isLast: true)
    return SeedReport(
      seed: seed, digest: scenario.machine.digest, powerOnCount: scenario.machine.powerOnCount, coverage: scenario.machine.coverage,
      faults: scenario.faults)
  }

  private func powerOn(_ number: UInt64, isLast: Bool) throws(SeedFailure) {
    let share = max(1, options.operationCount / Int(shape.powerOnCount))
    let operationCount = isLast ? 0 : shape.isLong ? share * SimulatedPoolLimits.longFactor : share
    badBefore = budget.bad
    lackedCopiesBefore = budget.lacksCopies
    var schedule: FaultSchedule?
    if !isLast {
      schedule = FaultSchedule(
        powerOn: number, shape, geometry, &budget, members: members.sorted(), victim: fixedVictim, operationCount: operationCount, &random)
    }
    let missing = schedule?.missing ?? []
    for index in shape.disks.indices where !missing.contains(index) { machine.disks[index].reappear() }
    liars.formUnion(schedule?.liars ?? [])
    if schedule?.victims.count == 2 {
      faults.offer(.twoVictims)
      faults.fire(.twoVictims)
    }
    for absent in missing.sorted() {
      faults.offer(.missingWhenOpened)
      faults.fire(.missingWhenOpened)
      machine.disks[absent].vanish()
    }
    befallCacheDisks(beforePowerOn: number)
    let landed = machine.coverage[.abandonedWriteLanded]
    machine.plan.restartCounting()
    machine.plan.isArmed = number > 1
    let reactor = machine.powerOn()
    let powerOn = PowerOn(self, number: number, operationCount: operationCount, schedule, SeededRandom(seed: random.next()))
    powerOn.schedule?.installEarly(machine, &faults)
    for (kind, rule) in schedule == nil ? [] : earlyCacheFaults() { powerOn.schedule?.add(kind, rule, to: machine, &faults) }
    try run(powerOn, on: reactor)
    if machine.isPowered && !powerOn.isClosed { faults.fire(.powerOffAfterWork) }
    machine.cutPower()
    powerOn.schedule?.remove(from: machine, &faults)
    if schedule?.hasHangs == true { faults.offer(.landsAfterEviction) }
    faults.fire(.landsAfterEviction, machine.coverage[.abandonedWriteLanded] - landed)
    if let statistics = powerOn.pool?.metadataStatistics {
      faults.offer(.journalWraps)
      faults.fire(.journalWraps, statistics.journalBytesWritten / max(1, statistics.journalByteCount))
      faults.offer(.journalFull)
      faults.fire(.journalFull, statistics.journalWaits)
    }
    countCache()
    if let pool = powerOn.pool { countCacheDisks(pool) }
    keepPastOfCacheDisks(isClosed: powerOn.isClosed)
    powerOn.noteEvictions()
    copiesFromUse = powerOn.isClosed ? powerOn.copies : [:]
    if random.coin() {
      let disk = random.index(below: shape.disks.count)
      pasts[disk] = (machine.disks[disk].save(), number)
    }
    if !powerOn.isClosed { for model in models { model.shadow.crashed() } }
  }

  private func run(_ powerOn: PowerOn, on reactor: SimulatedReactor) throws(SeedFailure) {
    let outcome: Result<Void, any Error>?
    do throws(SimulationError) {
      outcome = try reactor.runAsFarAsPossible(
        seconds: SimulationLimits.graceSeconds, isDead: { [machine] in !machine.isPowered }, { try await powerOn.live() })
      if !machine.isPowered {
        // A process that is killed needs no end; here its tasks have to, or each seed would leave some behind.
        _ = try reactor.runAsFarAsPossible(seconds: SimulationLimits.graceSeconds, isDead: { true }, { await powerOn.letGo() })
        try reactor.unwind(seconds: SimulationLimits.graceSeconds)
      }
    } catch { throw failure("\(error)", powerOn) }
    if let finding = powerOn.finding { throw failure(finding, powerOn) }
    // A pool that has lost all its voters waits for one to come back: for ever, without power.
    guard let outcome else { return }
    if case .failure(let error) = outcome, machine.isPowered || error is ShadowError { throw failure("\(error)", powerOn) }
  }

  private func countCache() {
    guard let cache = machine.pageKeeper as? MemoryCache else { return }
    let counters = cache.counters
    machine.count(.cacheHit, counters.hits)
    machine.count(.cacheMiss, counters.misses)
    machine.count(.cacheEviction, cache.counters.evictions)
    machine.count(.cacheFillOvertaken, counters.overtaken)
    machine.count(.cacheRefreshedBytes, counters.refreshedBytes)
    machine.count(.cachePageDropped, counters.dropped)
  }

  private func failure(_ reason: String, _ powerOn: PowerOn) -> SeedFailure {
    SeedFailure(seed: machine.seed, reason: "power-on \(powerOn.number), \(powerOn.phase): \(reason)", trace: machine.report())
  }
}
