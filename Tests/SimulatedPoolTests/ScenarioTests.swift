import SimulatedPool
import Testing

@Suite struct ScenarioTests {
  @Test func aSeedIsTheSameTwiceInOneProcess() throws {
    for seed in UInt64(1)...3 {
      let first = try Scenario.run(seed: seed)
      let second = try Scenario.run(seed: seed)
      #expect(first.digest == second.digest)
    }
  }
}
