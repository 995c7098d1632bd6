import BlockDevice
import Reactor
import Testing

@testable import Pool

/// The power goes at every single write of a workload, and again at every write of the opening after it.
@Suite struct MetadataCrashTests {
  /// One commit after the other; after a crash the pool is as it was after the last acknowledged one, or after the one in flight.
  private struct Workload {
    var commits: [[MetadataChange]] = []
    /// states[n]: after n commits.
    var states: [Model] = [[:]]

    init(count: Int, keys: Int, largest: Int, seed: UInt64) {
      var random = SeededRandom(seed)
      for _ in 0..<count {
        var model = states[states.count - 1]
        let commit = randomCommit(model, keys: keys, largest: largest, &random)
        apply(commit, to: &model)
        commits.append(commit)
        states.append(model)
      }
    }

    /// Opens, commits all and closes; returns how many commits were acknowledged.
    func run(_ pool: TestPool, _ disks: [CrashDisk]) async -> Int {
      var acknowledged = 0
      do {
        let store = try await pool.open(disks)
        do {
          for commit in commits {
            try await store.commit(commit)
            acknowledged += 1
          }
        } catch { #expect(disks[0].power.isOff, "only the power makes it fail: \(error)") }
        await store.close()
      } catch { #expect(disks[0].power.isOff, "only the power makes it fail: \(error)") }
      return acknowledged
    }
  }

  /// Opens the pool after a crash; the state must be one of `allowed`.
  /// Throws when it is not: one failure says it all, thousands would only take long.
  private func check(_ pool: TestPool, _ allowed: [Model], _ comment: Comment) async throws {
    let store = try await pool.open(pool.disks())
    let found = contents(store)
    let failure = await store.close()
    try #require(allowed.contains(found), comment)
    try #require(failure == nil, comment)
  }

  @Test func aCrashAtEveryWriteAndAtEveryWriteOfTheRecovery() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 2)
      let workload = Workload(count: 45, keys: 24, largest: 900, seed: 7)
      let dry = Power()
      #expect(await workload.run(pool, pool.disks(dry)) == workload.commits.count)
      #expect(dry.writes > 130)
      let start = pool.images
      var recoveryCrashes = 0
      for write in 0..<dry.writes {
        pool.images = start
        let power = Power(offAtWrite: write, seed: UInt64(write))
        let disks = pool.disks(power)
        let acknowledged = await workload.run(pool, disks)
        #expect(power.isOff)
        let allowed = Array(workload.states[acknowledged...min(acknowledged + 1, workload.commits.count)])
        let crashed = disks.map { $0.imageAfterPowerLoss() }
        pool.images = crashed
        try await check(pool, allowed, "power off at write \(write)")
        for recoveryWrite in 0..<1000 {
          pool.images = crashed
          let again = Power(offAtWrite: recoveryWrite, seed: UInt64(write * 1000 + recoveryWrite))
          let disks = pool.disks(again)
          if let store = try? await pool.open(disks) {
            await store.close()
            break  // that was one write more than an opening needs
          }
          recoveryCrashes += 1
          pool.images = disks.map { $0.imageAfterPowerLoss() }
          try await check(pool, allowed, "power off at write \(write), then at write \(recoveryWrite) of the opening")
        }
      }
      #expect(recoveryCrashes > 500)
    }
  }

  @Test func concurrentCommitsAreWholeOrAbsentAfterACrash() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 3)
      let start = pool.images
      for seed in 0..<60 as Range<UInt64> {
        pool.images = start
        let power = Power(offAtWrite: 30 + Int(seed) * 7, seed: seed)
        let disks = pool.disks(power)
        let progress = Progress()
        for disk in disks { disk.turnsPerWrite = seed % 2 == 0 ? 1 : 100 }
        if let store = try? await pool.open(disks) {
          await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 { group.addTask { await Self.commitPairs(store, task, progress) } }
          }
          await store.close()
        }
        pool.images = disks.map { $0.imageAfterPowerLoss() }
        let store = try await pool.open(pool.disks())
        let found = contents(store)
        for task in 0..<8 {
          // Two records that every commit of the task sets to the same number.
          let first = found[RecordKey(testKind, UInt64(task))].map { Int($0[0]) } ?? 0
          let second = found[RecordKey(testKind, UInt64(100 + task))].map { Int($0[0]) } ?? 0
          try #require(first == second, "half a commit")
          let acknowledged = progress.acknowledged[task] ?? 0
          try #require(first == acknowledged || first == acknowledged + 1, "seed \(seed)")
        }
        await store.close()
      }
    }
  }

  private final class Progress: @unchecked Sendable {  // reactor-confined
    var acknowledged: [Int: Int] = [:]
  }

  private static func commitPairs(_ store: MetadataStore, _ task: Int, _ progress: Progress) async {
    for round in 1...20 {
      let value = [UInt8](repeating: UInt8(round), count: 20 + round * 9)
      do { try await store.commit([put(task, value), put(100 + task, value)]) } catch { return }
      progress.acknowledged[task] = round
    }
  }

  /// A hundred laps of the journal with a crash now and then: entries of past laps and past owners never come back.
  @Test func pastLapsAndPastOwnersNeverReplay() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 2)
      var model: Model = [:]
      var random = SeededRandom(3)
      var laps: UInt64 = 0
      for round in 0..<80 {
        let power = Power(offAtWrite: Int.random(in: 20...160, using: &random), seed: UInt64(round))
        let disks = pool.disks(power)
        // Every second time checkpoints are slow: commits go on behind them, change their pages, and fill the journal.
        for disk in disks { disk.turnsPerWrite = round % 2 == 0 ? 1 : 60 }
        var allowed = [model]
        if let store = try? await pool.open(disks) {
          try #require(contents(store) == model, "round \(round)")
          while true {
            let commit = randomCommit(model, keys: 20, largest: 400, &random)
            var after = model
            apply(commit, to: &after)
            allowed = [model, after]
            do { try await store.commit(commit) } catch { break }
            model = after
          }
          laps += store.statistics.journalBytesWritten / store.statistics.journalByteCount
          await store.close()
        }
        pool.images = disks.map { $0.imageAfterPowerLoss() }
        let reader = try await MetadataStore.readOnlyLoad(devices: pool.disks(), reactor: reactor)
        let found = contents(reader)
        try #require(allowed.contains(found), "round \(round)")
        model = found
      }
      #expect(laps > 15)
    }
  }
}
