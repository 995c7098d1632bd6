import Reactor

/// How `crashAtEveryWrite` goes about it.
public struct CrashSweepOptions: Sendable {
  /// Crash points to try: all, unless given.
  public var points: ClosedRange<UInt64>?
  /// Every nth of them.
  public var stride: UInt64 = 1
  /// Runs for each point, each with another outcome of the crash (what was kept, lost, torn).
  public var variantsPerPoint: UInt64 = 1
  /// Every nth run `verify` is crashed as well, at a point drawn from the seed, and then run again; nil for never.
  public var secondCrashEvery: UInt64?

  public init(
    points: ClosedRange<UInt64>? = nil, stride: UInt64 = 1, variantsPerPoint: UInt64 = 1, secondCrashEvery: UInt64? = nil
  ) {
    self.points = points
    self.stride = stride
    self.variantsPerPoint = variantsPerPoint
    self.secondCrashEvery = secondCrashEvery
  }
}

public struct CrashSweepReport: Sendable, CustomStringConvertible {
  /// Crash points of the workload.
  public var pointCount: UInt64 = 0
  public var runCount: UInt64 = 0
  public var secondCrashCount: UInt64 = 0
  /// Runs whose workload waited on after the crash and was abandoned.
  public var abandonedCount: UInt64 = 0
  public var coverage = Coverage()
  /// Over the digests of all runs.
  public var digest = TraceDigest()

  public init() {}

  public var description: String {
    "\(pointCount) crash points, \(runCount) runs, \(secondCrashCount) second crashes, \(abandonedCount) workloads abandoned, digest \(digest)"
  }
}

extension CrashSweepReport {
  /// What another part of the same sweep came to.
  public mutating func add(_ other: CrashSweepReport) {
    pointCount = other.pointCount
    runCount += other.runCount
    secondCrashCount += other.secondCrashCount
    abandonedCount += other.abandonedCount
    coverage.add(other.coverage)
    digest.combine(other.digest.value)
  }

  /// As text, to hand it from one process to another.
  package var encoded: String {
    ([pointCount, runCount, secondCrashCount, abandonedCount, digest.value] + coverage.numbers).map { String($0) }.joined(separator: " ")
  }

  package init?(encoded: String) {
    let numbers = encoded.split(separator: " ").compactMap { UInt64($0) }
    self.init()
    guard numbers.count == 5 + coverage.numbers.count else { return nil }
    (pointCount, runCount, secondCrashCount, abandonedCount) = (numbers[0], numbers[1], numbers[2], numbers[3])
    digest = TraceDigest(value: numbers[4])
    coverage.numbers = Array(numbers[5...])
  }
}

/// Names the run that failed: seed, point, variant and second point are all that is needed to do it again.
public struct CrashSweepFailure: Error, CustomStringConvertible, Sendable {
  public let seed: UInt64
  /// nil: the power was not cut before the workload had ended.
  public let point: UInt64?
  public let variant: UInt64
  public let secondPoint: UInt64?
  public let description: String
}

/// Runs `workload` once to its end to count its crash points, then again for each of them with the power cut there, each followed by a new
/// power-on in which `verify` opens everything again and throws if something is not as it must be.
///
/// `prepare` adds the disks to a new machine and makes what workload and verification share (a `ShadowDisk`, and what they remember). The
/// workload opens the disks by `machine.disks[n].open()` and lives on `machine.reactor`. What it throws after the power was cut is passed
/// over, but for a `ShadowError`; before that, it is a failure. To leave set-up out of the count, `prepare` sets
/// `machine.plan.isArmed = false` and the workload sets it to true when it gets going.
@discardableResult
public func crashAtEveryWrite<State: Sendable>(
  seed: UInt64, options: CrashSweepOptions = CrashSweepOptions(),
  prepare: (SimulatedMachine) -> State,
  workload: @escaping @Sendable (SimulatedMachine, State) async throws -> Void,
  verify: @escaping @Sendable (SimulatedMachine, State) async throws -> Void
) throws(CrashSweepFailure) -> CrashSweepReport {
  var report = CrashSweepReport()
  let whole = CrashRun(seed: seed, point: nil, variant: 0, secondPoint: nil)
  report.pointCount = try whole.run(prepare, workload, verify, &report).workloadPoints
  let wanted = options.points ?? 1...max(1, report.pointCount)
  // nil: the power is cut when the workload has ended.
  var points: [UInt64?] = options.points == nil ? [nil] : []
  points += Swift.stride(from: wanted.lowerBound, through: min(report.pointCount, wanted.upperBound), by: Int(max(1, options.stride))).map {
    $0
  }
  for point in points {
    for variant in 0..<max(1, options.variantsPerPoint) {
      let single = CrashRun(seed: seed, point: point, variant: variant, secondPoint: nil)
      let verifyPoints = try single.run(prepare, workload, verify, &report).verifyPoints
      guard let every = options.secondCrashEvery, report.runCount % max(1, every) == 0, verifyPoints > 0 else { continue }
      var random = SeededRandom(seed: seed, stream: (point ?? 0) << 8 | variant)
      let double = CrashRun(seed: seed, point: point, variant: variant, secondPoint: 1 + random.below(verifyPoints))
      _ = try double.run(prepare, workload, verify, &report)
    }
  }
  return report
}

/// One workload, its crash, and its verification.
private struct CrashRun {
  let seed: UInt64
  let point: UInt64?
  let variant: UInt64
  let secondPoint: UInt64?

  func run<State: Sendable>(
    _ prepare: (SimulatedMachine) -> State,
    _ workload: @escaping @Sendable (SimulatedMachine, State) async throws -> Void,
    _ verify: @escaping @Sendable (SimulatedMachine, State) async throws -> Void,
    _ report: inout CrashSweepReport
  ) throws(CrashSweepFailure) -> (workloadPoints: UInt64, verifyPoints: UInt64) {
    let machine = SimulatedMachine(seed: seed)
    defer { machine.scrap() }
    machine.crashVariant = variant
    let state = prepare(machine)
    if try !phase("the workload", machine, crashAt: point, { try await workload(machine, state) }) { report.abandonedCount += 1 }
    let workloadPoints = machine.plan.pointCount
    machine.cutPower()
    machine.plan.isArmed = true
    if let secondPoint {
      machine.plan.restartCounting()
      if try !phase("the verification", machine, crashAt: secondPoint, { try await verify(machine, state) }) { report.abandonedCount += 1 }
      machine.cutPower()
      report.secondCrashCount += 1
    }
    machine.plan.restartCounting()
    _ = try phase("the verification", machine, crashAt: nil) { try await verify(machine, state) }
    let verifyPoints = machine.plan.pointCount
    machine.cutPower()
    report.runCount += 1
    report.coverage.add(machine.coverage)
    report.digest.combine(machine.digest.value)
    return (workloadPoints, verifyPoints)
  }

  /// One power-on. False when it was crashed and its main task did not end.
  private func phase(
    _ name: String, _ machine: SimulatedMachine, crashAt point: UInt64?, _ body: @escaping @Sendable () async throws -> Void
  ) throws(CrashSweepFailure) -> Bool {
    if let point { machine.plan.add(FaultRule(.powerCut, .atPoint(point), limit: 1)) }
    let reactor = machine.powerOn()
    let outcome: Result<Void, any Error>?
    do throws(SimulationError) {
      outcome = try reactor.runAsFarAsPossible(
        seconds: SimulationLimits.unwindSeconds, isDead: { !machine.isPowered }, body)
      if !machine.isPowered { try reactor.unwind(seconds: SimulationLimits.graceSeconds) }
    } catch { throw failure(name, "\(error)", machine) }
    if point != nil && machine.isPowered {
      if case .failure(let error) = outcome { throw failure(name, "\(error)", machine) }
      throw failure(name, "never came to the point at which it was to crash: it is not reproducible", machine)
    }
    if case .failure(let error) = outcome, machine.isPowered || error is ShadowError { throw failure(name, "\(error)", machine) }
    return outcome != nil
  }

  private func failure(_ phase: String, _ reason: String, _ machine: SimulatedMachine) -> CrashSweepFailure {
    var place = "seed \(seed)"
    if let point { place += ", crash at point \(point), variant \(variant)" } else { place += ", crash after the end, variant \(variant)" }
    if let secondPoint { place += ", second crash at point \(secondPoint) of the verification" }
    return CrashSweepFailure(
      seed: seed, point: point, variant: variant, secondPoint: secondPoint,
      description: "\(place): \(phase) failed: \(reason)\n\(machine.report())")
  }
}
