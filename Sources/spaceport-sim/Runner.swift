import BlockDevice
import SimulatedPool
import Simulation

/// Runs seeds and prints what came of them.
struct Runner {
  let arguments: Arguments
  private let start = ContinuousClock.now
  private var seedCount: UInt64 = 0
  private var powerOnCount: UInt64 = 0
  private var coverage = Coverage()
  private var faults = FaultCoverage()
  private var digest = TraceDigest()

  init(_ arguments: Arguments) { self.arguments = arguments }

  private var seconds: Double {
    let elapsed = ContinuousClock.now - start
    return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
  }

  /// False when a seed failed.
  mutating func run(seeds: ClosedRange<UInt64>) -> Bool {
    for seed in seeds { if !runOne(seed) { return false } }
    summarise()
    return true
  }

  /// Until the time is over; 0 for no end.
  mutating func soak(seconds limit: UInt64, first: UInt64) -> Bool {
    Output.say("from seed \(first) on")
    var seed = first
    var nextReport = 60.0
    while limit == 0 || seconds < Double(limit) {
      if !runOne(seed) { return false }
      seed &+= 1
      if seconds > nextReport {
        Output.say("\(seedCount) seeds, \(rate) a second, no failure; next is \(seed)")
        nextReport = seconds + 60
      }
    }
    summarise()
    return true
  }

  private var rate: String {
    let tenths = Int(Double(seedCount) / max(seconds, 0.001) * 10)
    return "\(tenths / 10).\(tenths % 10)"
  }

  private mutating func runOne(_ seed: UInt64) -> Bool {
    var options = ScenarioOptions()
    if let count = arguments.operationCount { options.operationCount = count }
    if arguments.isTracing { options.trace = { Output.say($0) } }
    CrashReport.prepare(command("--seed \(seed)"))
    seedCount += 1
    do throws(SeedFailure) {
      let report = try Scenario.run(seed: seed, options)
      powerOnCount += report.powerOnCount
      coverage.add(report.coverage)
      faults.add(report.faults)
      digest.combine(report.digest.value)
      if case .seeds(let range) = arguments.mode, range.count == 1 { Output.say("seed \(seed): \(report.powerOnCount) power-ons, digest \(report.digest)") }
      return true
    } catch {
      fail("seed \(error.seed): \(error.reason)", "--seed \(seed)", trace: error.trace)
      return false
    }
  }

  func exhaustive(seed: UInt64) -> Bool {
    CrashReport.prepare(command("--exhaustive --seed \(seed)"))
    do throws(CrashSweepFailure) {
      let report = try ExhaustiveSweep.run(
        seed: seed, operationCount: arguments.operationCount ?? SimulatedPoolLimits.exhaustiveOperationCount)
      Output.say("seed \(seed): \(report)")
      Output.say("\nWhat the disks went through:\n\(report.coverage)")
      return true
    } catch {
      fail(error.description, "--exhaustive --seed \(seed)", trace: "")
      return false
    }
  }

  private func command(_ mode: String) -> String {
    let count = arguments.operationCount.map { " --ops \($0)" } ?? ""
    let bug = arguments.bug.map { " --plant \($0.rawValue)" } ?? ""
    return "spaceport-sim \(mode)\(count)\(bug)"
  }

  private func fail(_ reason: String, _ mode: String, trace: String) {
    if !trace.isEmpty { Output.say("The last events, the oldest first:\n\(trace)\n") }
    Output.say("FAILED after \(max(1, seedCount)) seeds: \(reason)\n\nRepeat it with:\n  \(command(mode))")
  }

  private func summarise() {
    Output.say("\(seedCount) seeds, \(powerOnCount) power-ons, no failure; \(rate) seeds a second; digest of all \(digest)")
    Output.say("\nFaults:\n\(faults)\n\nWhat the disks went through:\n\(coverage)")
    let missing = faults.missing.map(\.rawValue)
    if !missing.isEmpty { Output.say("\nNever fired: \(missing.joined(separator: ", "))") }
  }
}
