import Simulation

/// A short workload, crashed at every single write, flush, punch and zeroing of every disk, each followed by a new power-on in which
/// everything is opened and verified; every fifth time that power-on is crashed as well.
public enum ExhaustiveSweep {
  public static func run(
    seed: UInt64, operationCount: Int = SimulatedPoolLimits.exhaustiveOperationCount, points: ClosedRange<UInt64>? = nil
  ) throws(CrashSweepFailure) -> CrashSweepReport {
    try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(points: points, secondCrashEvery: 5),
      prepare: { machine in
        machine.plan.isArmed = false
        return ScenarioBox(machine)
      },
      workload: { machine, box in try await box.live(operationCount) },
      verify: { machine, box in try await box.live(0) })
  }

  /// One slice of a sweep, for another process.
  package static func runEncoded(seed: UInt64, _ operationCount: Int?, _ points: ClosedRange<UInt64>) -> String {
    let count = operationCount ?? SimulatedPoolLimits.exhaustiveOperationCount
    do throws(CrashSweepFailure) {
      return try run(seed: seed, operationCount: count, points: points).encoded
    } catch { return error.description }
  }

  /// The scenario of one run: the same for each, because it comes from the seed alone.
  private final class ScenarioBox: @unchecked Sendable {  // used by one thread at a time: who runs the reactor
    private let machine: SimulatedMachine
    private var scenario: Result<Scenario, any Error>

    init(_ machine: SimulatedMachine) {
      self.machine = machine
      scenario = Result { try Scenario(machine, ScenarioOptions(), isRoomy: true) }
    }

    func live(_ operationCount: Int) async throws {
      let scenario = try scenario.get()
      if machine.powerOnCount > 1 { for model in scenario.models { model.shadow.crashed() } }
      let powerOn = PowerOn(
        scenario, number: machine.powerOnCount, operationCount: operationCount, nil,
        SeededRandom(seed: machine.seed, stream: 20 + machine.powerOnCount))
      try await powerOn.live()
      if let finding = powerOn.finding { throw Surprise("\(powerOn.phase): \(finding)") }
    }
  }
}
