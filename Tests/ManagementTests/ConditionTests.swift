import Management
import Testing

@testable import Service

/// What a pool is said to be, from what its disks are.
@Suite struct ConditionTests {
  private func condition(ofSecondDisk state: DiskInfo.State, _ health: Health, number: UInt32 = 2) -> PoolCondition {
    var disks = [Samples.disk("/dev/sda", pool: "tank"), Samples.disk("/dev/sdb", pool: "tank")]
    disks[0].number = 1
    (disks[1].number, disks[1].state, disks[1].health, disks[1].nextStep) = (number, state, health, "Do this")
    return PoolCondition(disks: disks, virtualDisks: [])
  }

  /// Until it counts as whole the pool does not start with it alone, though none of its copies lacks anything.
  @Test func aPoolIsNotOkWhileADiskIsBroughtUpToDate() {
    let pool = condition(ofSecondDisk: .inService, .warning)
    #expect(pool.state == .degraded && pool.health == .warning)
    #expect(pool.reason == "disks are brought up to date: /dev/sdb")
    #expect(pool.nextStep == "Do this")
  }

  @Test func aPoolIsOkWhileADiskIsEmptied() {
    #expect(condition(ofSecondDisk: .removingFromPool, .warning).state == .ok)
    #expect(condition(ofSecondDisk: .ok, .healthy).state == .ok)
  }

  /// A disk that is left alone, and has no number, is none of the pool's.
  @Test func whatIsLeftAloneMakesNoPoolDegraded() {
    #expect(condition(ofSecondDisk: .staleMetadata, .unhealthy, number: 0).state == .ok)
    #expect(condition(ofSecondDisk: .staleMetadata, .unhealthy).reason == "it goes on without /dev/sdb")
  }
}
