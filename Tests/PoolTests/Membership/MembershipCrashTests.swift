import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

/// The power goes at every write of a membership change. Then the pool is opened from every choice of its disks, with the witness as it
/// is, without it, and with one from before: it opens with everything that was committed, or refuses; and once one choice of disks has gone
/// on, no other ever opens without what was committed then.
@Suite struct MembershipCrashTests {
  struct Scenario: Sendable {
    var disks: Int
    var blanks = 0
    var hasWitness: Bool
    var seed: UInt64 = 1
    /// Brings the pool to where the power may go, and leaves it closed.
    var prepare: @Sendable (MembershipRig.Hardware) async throws -> Void = { _ in }
    var workload: @Sendable (MembershipRig.Hardware, MetadataStore, Progress) async throws -> Void
    /// Which of the disks are given to open it for the workload.
    var given: [Int]?
    /// Choices of disks that must be able to go on, whatever the crash left.
    var mustOpen: @Sendable ([Int], MembershipRig.WitnessState) -> Bool
    var mustRefuse: @Sendable ([Int], MembershipRig.WitnessState) -> Bool = { _, _ in false }
  }

  private final class Tally: @unchecked Sendable {  // one thread
    var points = 0
    var opened = 0
    var refused = 0
    var beyondProof = 0
  }

  private static func sweep(_ scenario: Scenario) throws -> Tally {
    let tally = Tally()
    try MembershipRig.simulate(seed: scenario.seed) { reactor in
      var rig = try await MembershipRig.make(
        reactor, disks: scenario.disks, blanks: scenario.blanks, hasWitness: scenario.hasWitness)
      let first = rig.hardware()
      await #expect(throws: Never.self) {
        let store = try await first.open(Array(0..<scenario.disks))
        try await store.commit([put(1, [1])])
        #expect(await store.close() == nil)
        try await scenario.prepare(first)
      }
      rig = first.now(rig)
      rig.oldWitness = rig.witness
      let dry = Power()
      let (_, opening) = try await run(scenario, rig, dry)
      #expect(dry.writes - opening > 8)
      for write in opening..<dry.writes {
        let power = Power(offAtWrite: write, seed: UInt64(write) &+ scenario.seed)
        let hardware = rig.hardware(power)
        let (progress, _) = try await run(scenario, rig, power, hardware)
        try #require(power.isOff)
        tally.points += 1
        try await check(hardware.crashed(rig), scenario, progress, "power off at write \(write)", tally)
      }
    }
    return tally
  }

  /// Returns what was acknowledged, and how many writes the opening took.
  private static func run(
    _ scenario: Scenario, _ rig: MembershipRig, _ power: Power, _ given: MembershipRig.Hardware? = nil
  ) async throws -> (Progress, Int) {
    let hardware = given ?? rig.hardware(power)
    let progress = Progress()
    let store = try await hardware.open(scenario.given ?? Array(0..<scenario.disks), evictMissing: true)
    let opening = power.writes
    let error = await hardware.run(store) { try await scenario.workload(hardware, store, progress) }
    if let error { #expect(power.isOff, "only the power makes it fail: \(error)") }
    return (progress, opening)
  }

  private static func check(
    _ rig: MembershipRig, _ scenario: Scenario, _ progress: Progress, _ place: String, _ tally: Tally
  ) async throws {
    let count = rig.images.count
    var newest: UInt64 = 0
    for disk in 0..<count { newest = max(newest, await rig.epochNumber(disk)) }
    for witness in scenario.hasWitness ? MembershipRig.WitnessState.allCases : [.absent] {
      for subset in MembershipRig.subsets(count) {
        let comment = Comment(rawValue: "\(place), disks \(subset), witness \(witness)")
        var knowsNewest = false
        for disk in subset where await rig.epochNumber(disk) == newest { knowsNewest = true }
        // A witness from before the change agrees with the disk that the change left behind: nothing can tell. (It must not be restored.)
        if witness == .old && !knowsNewest {
          tally.beyondProof += 1
          continue
        }
        let hardware = rig.hardware(witness: witness)
        let store: MetadataStore
        do throws(MetadataError) { store = try await hardware.open(subset, evictMissing: true) } catch {
          try #require(!scenario.mustOpen(subset, witness), "\(comment): \(error)")
          #expect(!error.remedy.isEmpty)
          tally.refused += 1
          continue
        }
        try #require(!scenario.mustRefuse(subset, witness), comment)
        tally.opened += 1
        let found = counter(store)
        try #require(found == progress.acknowledged || found == progress.attempted, "\(comment): \(found) of \(progress.acknowledged)")
        try await goOn(store, hardware, rig, subset, comment)
      }
    }
  }

  /// Commits more, closes, and looks whether any others believe otherwise.
  private static func goOn(
    _ store: MetadataStore, _ hardware: MembershipRig.Hardware, _ rig: MembershipRig, _ subset: [Int], _ comment: Comment
  ) async throws {
    try await store.commit(counted(5000))
    try #require(await store.close() == nil, comment)
    var after = hardware.now(rig)
    if hardware.witnessDisk == nil { after.witness = nil }
    let others = rig.images.indices.filter { !subset.contains($0) }
    var choices = [Array(rig.images.indices)]
    if !others.isEmpty { choices.append(others) }
    for choice in choices {
      do throws(MetadataError) {
        let later = try await after.hardware().open(choice, evictMissing: true)
        try checkCounter(counter(later), comment, choice)
        await later.close()
      } catch {
        guard choice == others else {
          Issue.record("\(comment), then all disks: \(error)")
          continue
        }
      }
    }
  }

  private static func checkCounter(_ found: Int, _ comment: Comment, _ choice: [Int]) throws(MetadataError) {
    if found == 5000 { return }
    Issue.record("\(comment), then \(choice): it went back in time, to \(found)")
  }

  // MARK: Scenarios

  private static func commits(_ count: Int, _ store: MetadataStore, _ progress: Progress) async throws {
    for _ in 0..<count { try await progress.commit(store) }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func evictingOneOfTwoWithAWitness(seed: UInt64) throws {
    let tally = try Self.sweep(
      Scenario(
        disks: 2, hasWitness: true, seed: seed,
        workload: { _, store, progress in
          try await Self.commits(2, store, progress)
          try await store.evict([DiskNumber(2)], changes: progress.attempt())
          progress.acknowledge()
          try await Self.commits(2, store, progress)
        },
        mustOpen: { subset, witness in subset.contains(0) && (witness == .present || subset.count == 2) }))
    #expect(tally.points > 10 && tally.opened > 60 && tally.refused > 10)
  }

  @Test func aVoterOfTwoThatFailsWithAWitness() throws {
    let tally = try Self.sweep(
      Scenario(
        disks: 2, hasWitness: true,
        workload: { hardware, store, progress in
          try await Self.commits(2, store, progress)
          hardware.disks[1].failsWrites = true
          try await Self.commits(3, store, progress)
          #expect(store.voterDisks.map(\.number) == [DiskNumber(1)])
        },
        mustOpen: { subset, witness in subset.contains(0) && (witness == .present || subset.count == 2) }))
    #expect(tally.points > 10 && tally.opened > 60 && tally.refused > 10)
  }

  @Test(arguments: [1, 2] as [UInt64]) func evictingOneOfThreeWithoutAWitness(seed: UInt64) throws {
    let tally = try Self.sweep(
      Scenario(
        disks: 3, hasWitness: false, seed: seed,
        workload: { _, store, progress in
          try await Self.commits(2, store, progress)
          try await store.evict([DiskNumber(3)], changes: progress.attempt())
          progress.acknowledge()
          try await Self.commits(2, store, progress)
        },
        mustOpen: { subset, _ in subset.contains(0) && subset.contains(1) },
        mustRefuse: { subset, _ in subset.count == 1 }))
    #expect(tally.points > 10 && tally.opened > 40 && tally.refused > 30)
  }

  @Test(arguments: [true, false]) func addingAVoter(hasWitness: Bool) throws {
    let tally = try Self.sweep(
      Scenario(
        disks: 1, blanks: 1, hasWitness: hasWitness,
        workload: { hardware, store, progress in
          try await Self.commits(2, store, progress)
          _ = try await store.add(NewDisk(device: hardware.disks[1]), changes: progress.attempt())
          progress.acknowledge()
          #expect(store.voterDisks.count == 2 || hardware.power.isOff)
          try await Self.commits(2, store, progress)
        },
        mustOpen: { subset, witness in subset.contains(0) && (witness == .present || subset.count == 2) }))
    #expect(tally.points > 20 && tally.opened > 40 && tally.refused > 10)
  }

  @Test(arguments: [1, 2] as [UInt64]) func readmittingADisk(seed: UInt64) throws {
    let tally = try Self.sweep(
      Scenario(
        disks: 2, hasWitness: true, seed: seed,
        prepare: { hardware in
          let store = try await hardware.open()
          try await store.evict([DiskNumber(2)])
          for number in 0..<30 { try await store.commit([put(100 + number, [UInt8](repeating: 1, count: 600))]) }
          await store.close()
        },
        workload: { hardware, store, progress in
          try await Self.commits(2, store, progress)
          _ = try await store.readmit(hardware.disks[1], state: .returning, changes: progress.attempt())
          progress.acknowledge()
          #expect(store.voterDisks.count == 2 || hardware.power.isOff)
          try await Self.commits(2, store, progress)
        },
        given: [0],
        mustOpen: { subset, witness in subset.contains(0) && (witness == .present || subset.count == 2) }))
    #expect(tally.points > 20 && tally.opened > 60 && tally.refused > 10)
  }
}
