import BlockDevice
import Glibc
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
    if !run(from: seeds.lowerBound, while: { seed, _ in seeds.contains(seed) }) { return false }
    return summarise()
  }

  /// Until the time is over; 0 for no end.
  mutating func soak(seconds limit: UInt64, first: UInt64) -> Bool {
    Output.say("from seed \(first) on")
    if !run(from: first, while: { _, seconds in limit == 0 || seconds < Double(limit) }) { return false }
    return summarise()
  }

  /// Seeds are run in processes of their own, some at a time, and taken in their order.
  private mutating func run(from first: UInt64, while goesOn: (UInt64, Double) -> Bool) -> Bool {
    var running: [(seed: UInt64, child: ChildProcess)] = []
    var next: UInt64? = first
    var nextReport = Runner.reportSeconds
    while true {
      while let seed = next, running.count < arguments.jobCount, goesOn(seed, seconds) {
        guard let child = ChildProcess({ [arguments] in Runner.runOne(seed, arguments) }) else {
          if running.isEmpty { return fail(seed, "no process can be started: \(String(cString: strerror(errno)))") }
          break
        }
        running.append((seed, child))
        next = seed == .max ? nil : seed + 1
      }
      if running.isEmpty { return true }
      let (seed, child) = running.removeFirst()
      if !take(child.outcome(), of: seed) {
        for other in running { other.child.stop() }
        return false
      }
      if seconds > nextReport {
        Output.say("\(seedCount) seeds, \(rate) a second, no failure")
        nextReport = seconds + Runner.reportSeconds
      }
    }
  }

  private static let reportSeconds = 60.0
  private static let failureMark = "FAILED "

  /// In a process of its own: the report, or what was wrong.
  private static func runOne(_ seed: UInt64, _ arguments: Arguments) -> String {
    var options = ScenarioOptions()
    if let count = arguments.operationCount { options.operationCount = count }
    if arguments.isTracing { options.trace = { Output.say($0) } }
    do throws(SeedFailure) { return try Scenario.run(seed: seed, options).encoded } catch {
      return "\(failureMark)\(error.reason)\n\nThe last events, the oldest first:\n\(error.trace)"
    }
  }

  private mutating func take(_ outcome: ChildProcess.Outcome, of seed: UInt64) -> Bool {
    seedCount += 1
    guard case .ended(let text) = outcome else {
      guard case .crashed(let signal) = outcome else { return false }
      return fail(seed, "the process was ended by signal \(signal) (\(String(cString: strsignal(signal)))), which nothing may make it do")
    }
    guard let report = SeedReport(encoded: text) else {
      return fail(seed, text.hasPrefix(Runner.failureMark) ? String(text.dropFirst(Runner.failureMark.count)) : "no report came of it")
    }
    powerOnCount += report.powerOnCount
    coverage.add(report.coverage)
    faults.add(report.faults)
    digest.combine(report.digest.value)
    if case .seeds(let range) = arguments.mode, range.count == 1 {
      Output.say("seed \(seed): \(report.powerOnCount) power-ons, digest \(report.digest)")
    }
    return true
  }

  private func fail(_ seed: UInt64, _ reason: String) -> Bool {
    Output.say("FAILED: seed \(seed), the \(seedCount). seed of this run: \(reason)\n\nRepeat it with:\n  \(command("--seed \(seed)"))")
    return false
  }

  /// Some crash points at a time, each slice in a process of its own.
  func exhaustive(seed: UInt64) -> Bool {
    var report = CrashSweepReport()
    var first: UInt64 = 1
    repeat {
      let points = first...first + Runner.pointsPerProcess - 1
      guard let child = ChildProcess({ [arguments] in ExhaustiveSweep.runEncoded(seed: seed, arguments.operationCount, points) }) else {
        return failSweep(seed, "no process can be started: \(String(cString: strerror(errno)))")
      }
      switch child.outcome() {
      case .crashed(let signal): return failSweep(seed, "the process was ended by signal \(signal), which nothing may make it do")
      case .ended(let text):
        guard let part = CrashSweepReport(encoded: text) else { return failSweep(seed, text) }
        report.add(part)
      }
      first += Runner.pointsPerProcess
    } while first <= report.pointCount
    Output.say("seed \(seed): \(report), in \(Int(seconds)) seconds\n\nWhat the disks went through:\n\(report.coverage)")
    return true
  }

  private static let pointsPerProcess: UInt64 = 32

  private func failSweep(_ seed: UInt64, _ reason: String) -> Bool {
    Output.say("FAILED: \(reason)\n\nRepeat it with:\n  \(command("--exhaustive --seed \(seed)"))")
    return false
  }

  private var rate: String {
    let tenths = Int(Double(seedCount) / max(seconds, 0.001) * 10)
    return "\(tenths / 10).\(tenths % 10)"
  }

  private func command(_ mode: String) -> String {
    let count = arguments.operationCount.map { " --ops \($0)" } ?? ""
    let bug = arguments.bug.map { " --plant \($0.rawValue)" } ?? ""
    return "spaceport-sim \(mode)\(count)\(bug)"
  }

  /// False when a run that is long enough for all faults has not seen one of them: then something of the simulator is out of order.
  private func summarise() -> Bool {
    Output.say("\(seedCount) seeds, \(powerOnCount) power-ons, no failure; \(rate) seeds a second; digest of all \(digest)")
    Output.say("\nFaults:\n\(faults)\n\nWhat the disks went through:\n\(coverage)")
    let missing = faults.missing.map(\.rawValue)
    if missing.isEmpty { return true }
    let isEnough = seedCount >= Runner.seedsForAllFaults && arguments.operationCount == nil
    Output.say("\n\(isEnough ? "FAILED: n" : "N")ever fired in \(seedCount) seeds: \(missing.joined(separator: ", "))")
    return !isEnough
  }

  /// In so many seeds every kind of fault has fired.
  private static let seedsForAllFaults: UInt64 = 1000
}
