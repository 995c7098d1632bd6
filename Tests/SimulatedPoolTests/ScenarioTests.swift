import SimulatedPool
import Simulation
import Testing

@Suite struct ScenarioTests {
  /// Nothing in the layers may depend on the order of a set or dictionary, which differs even within one process.
  @Test(arguments: UInt64(1)...12) func aSeedIsTheSameTwiceInOneProcess(seed: UInt64) throws {
    let first = try Scenario.run(seed: seed)
    let second = try Scenario.run(seed: seed)
    #expect(first.digest == second.digest)
    #expect(first.powerOnCount == second.powerOnCount)
  }

  @Test func seedsAndLengthsDiffer() throws {
    var options = ScenarioOptions()
    options.operationCount = 60
    let digests = try [Scenario.run(seed: 1).digest, Scenario.run(seed: 2).digest, Scenario.run(seed: 1, options).digest]
    #expect(Set(digests).count == 3)
  }

  @Test func traceIsHandedOut() throws {
    let lines = LineCount()
    var options = ScenarioOptions()
    options.operationCount = 20
    options.trace = { _ in lines.count += 1 }
    _ = try Scenario.run(seed: 3, options)
    #expect(lines.count > 100)
  }

  final class LineCount: @unchecked Sendable {  // one thread: who runs the scenario
    var count = 0
  }

  @Test func theBudgetBoundsWhatIsBadAtOnce() {
    var budget = DamageBudget(leastCopyCount: 3)
    let results = [budget.harm(4), budget.harm(2), budget.harm(4), budget.harm(1)]
    #expect(results == [true, true, true, false])
    budget.found(bad: [2])
    let isAllowedAgain = budget.harm(1)
    #expect(isAllowedAgain)
    budget.found(bad: [], lacksCopies: true)
    #expect(!budget.allowsHarm(to: 0))
    #expect(!DamageBudget(leastCopyCount: 1).allowsHarm(to: 0))
  }
}
