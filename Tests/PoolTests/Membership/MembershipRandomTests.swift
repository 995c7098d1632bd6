import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

/// Histories by chance: disks fail, are evicted and taken back, the power goes, and the next start finds some of the disks. Whoever opens,
/// from whatever disks, finds everything that was committed before; and all disks together always open.
@Suite struct MembershipRandomTests {
  private struct History {
    var acknowledged = 0
    var attempted = 0
    var opened = 0
    var refused = 0
    var crashes = 0
    var changes = 0
  }

  @Test(arguments: [true, false]) func aPoolNeverGoesBackInTime(hasWitness: Bool) throws {
    var total = History()
    for seed in 1...60 as ClosedRange<UInt64> {
      let history = try Self.history(seed, hasWitness)
      total.opened += history.opened
      total.refused += history.refused
      total.crashes += history.crashes
      total.changes += history.changes
    }
    #expect(total.opened > 300 && total.refused > 50 && total.crashes > 200 && total.changes > 200, "\(total)")
  }

  private final class Box: @unchecked Sendable {  // one thread
    var history = History()
  }

  private static func history(_ seed: UInt64, _ hasWitness: Bool) throws -> History {
    let box = Box()
    try MembershipRig.simulate(seed: seed) { reactor in
      var random = SeededRandom(seed)
      let count = Int.random(in: 2...6, using: &random)
      var rig = try await MembershipRig.make(reactor, disks: count, hasWitness: hasWitness)
      for round in 0..<10 {
        let place = Comment(rawValue: "seed \(seed), round \(round), witness \(hasWitness)")
        let power = Power(offAtWrite: Int.random(in: 0..<120, using: &random), seed: random.next())
        let hardware = rig.hardware(power)
        var subset = Array(0..<count).shuffled(using: &random)
        if Bool.random(using: &random) { subset.removeLast(Int.random(in: 0..<count, using: &random)) }
        try await start(hardware, subset, random.next(), box, place)
        rig = power.isOff ? hardware.crashed(rig) : hardware.now(rig)
        box.history.crashes += power.isOff ? 1 : 0
        // All of them, on copies: nothing of this is kept.
        let whole = try await rig.hardware().open(evictMissing: true)
        let found = counter(whole)
        try #require(found >= box.history.acknowledged && found <= box.history.attempted, place)
        await whole.close()
      }
    }
    return box.history
  }

  private static func start(
    _ hardware: MembershipRig.Hardware, _ subset: [Int], _ seed: UInt64, _ box: Box, _ place: Comment
  ) async throws {
    let store: MetadataStore
    do throws(MetadataError) { store = try await hardware.open(subset, evictMissing: true) } catch {
      box.history.refused += 1
      return
    }
    box.history.opened += 1
    let found = counter(store)
    try #require(found >= box.history.acknowledged && found <= box.history.attempted, place)
    // It was opened for writing: from here on this is what there is.
    box.history.acknowledged = found
    let error = await hardware.run(store) {
      var random = SeededRandom(seed)
      for _ in 0..<12 { try await step(hardware, store, &random, box) }
    }
    if let error = error as? MetadataError {
      let isDead = store.voterDisks.allSatisfy(\.hasFailed)
      #expect(hardware.power.isOff || isDead, "\(place.rawValue): \(error)")
    }
    box.history.changes += Int(store.statistics.membershipChanges)
  }

  private static func step(
    _ hardware: MembershipRig.Hardware, _ store: MetadataStore, _ random: inout SeededRandom, _ box: Box
  ) async throws(MetadataError) {
    switch Int.random(in: 0..<10, using: &random) {
    case 0 where store.voterDisks.count > 2 || hardware.witnessDisk != nil && store.voterDisks.count > 1:
      let disk = store.disks.randomElement(using: &random)
      try await store.evict(disk.map { [$0.number] } ?? [])
    case 1:
      guard let record = store.absentDisks.randomElement(using: &random) else { return }
      let device = hardware.disks[Int(record.number.value) - 1]
      if device.failsWrites { return }
      // What was never whole, or went its own way, may be refused; what is taken back must be right.
      do throws(MetadataError) { _ = try await store.readmit(device, state: .returning) } catch {
        if error.cause != .stale && error.cause != .split { throw error }
      }
    case 2 where hardware.witnessDisk != nil && store.voterDisks.count > 1:
      guard let voter = store.voterDisks.randomElement(using: &random) else { return }
      hardware.disks[Int(voter.number.value) - 1].failsWrites = true
      fallthrough
    default:
      box.history.attempted += 1
      let number = box.history.attempted
      try await store.commit(counted(number))
      box.history.acknowledged = number
    }
  }
}
