import BlockDevice
import Reactor
import Testing

@testable import Pool

@Suite struct MetadataStoreTests {
  @Test func whatWasCommittedIsThereAfterClosing() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 3)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      #expect(store.poolName == "tank")
      #expect(store.notes.isEmpty)
      var model: Model = [:]
      var random = SeededRandom(1)
      for _ in 0..<300 {
        let commit = randomCommit(model, keys: 60, largest: 300, &random)
        try await store.commit(commit)
        apply(commit, to: &model)
        #expect(contents(store) == model)
      }
      // The journal holds 64 KiB: it went round many times.
      #expect(store.statistics.journalBytesWritten > 10 * store.statistics.journalByteCount)
      #expect(store.statistics.checkpoints > 20)
      #expect(await store.close() == nil)
      await #expect(throws: MetadataError.self) { try await store.commit([put(1, [])]) }

      let again = try await pool.open(disks)
      #expect(contents(again) == model)
      #expect(again.notes.isEmpty)
      #expect(again.ownerTerm != store.ownerTerm)
      let record: PoolRecord? = try again.value(for: PoolRecord.key)
      #expect(record?.ownerTerm == again.ownerTerm.value)
      #expect(record?.name == "tank")
      await again.close()
    }
  }

  @Test func manyCommitsAtATimeShareEntries() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      await withTaskGroup(of: Void.self) { group in
        for task in 0..<40 {
          group.addTask {
            for round in 0..<10 {
              await #expect(throws: Never.self) {
                try await store.commit([put(task, [UInt8](repeating: UInt8(round), count: 100 + round)), put(1000 + task, [UInt8(round)])])
              }
              // Durable when it returns: on every disk, without a flush.
              #expect(store.record(for: RecordKey(testKind, UInt64(task)))?.value.count == 100 + round)
            }
          }
        }
      }
      #expect(store.statistics.commits == 401)  // the opening's own is one
      #expect(store.statistics.journalEntries < 100)
      let model = contents(store)
      #expect(model.count == 80)
      await store.close()
      let again = try await pool.open(disks)
      #expect(contents(again) == model)
      await again.close()
    }
  }

  @Test func aCommitThatCannotBeIsRefusedWhole() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 1)
      let store = try await pool.open(pool.disks())
      try await store.commit([put(1, [1, 2, 3])])
      let before = contents(store)
      let key = RecordKey(testKind, 1)
      let refused: [([MetadataChange], MetadataError.Cause)] = [
        ([put(2, [1]), .patch(key, byteOffset: 2, bytes: [1, 2])], .invalidChange),
        ([put(2, [1]), .patch(key, byteOffset: -1, bytes: [1])], .invalidChange),
        ([put(2, [1]), .patch(RecordKey(testKind, 9), byteOffset: 0, bytes: [1])], .invalidChange),
        ([.delete(key), .setBits(key, byteOffset: 0, bytes: [1])], .invalidChange),
        ([put(2, [UInt8](repeating: 0, count: FormatLimits.recordValueByteCount + 1))], .tooLarge),
        ((0..<3).map { put(10 + $0, [UInt8](repeating: 0, count: 8000)) }, .tooLarge),
        ([.delete(RecordKey(RecordKind(rawValue: 0)))], .invalidChange),
      ]
      for (changes, cause) in refused {
        do {
          try await store.commit(changes)
          Issue.record("\(changes.count) changes should be refused as \(cause)")
        } catch { #expect((error as? MetadataError)?.cause == cause) }
        #expect(contents(store) == before)
      }
      try await store.commit([
        .delete(key), put(1, [9]), .patch(key, byteOffset: 0, bytes: [8]), put(1, [7, 7]), .delete(RecordKey(testKind, 77)),
      ])
      #expect(contents(store) == [key: [7, 7]])
      #expect(await store.close() == nil)
    }
  }

  @Test func whenFullDeletingAndClosingStillWork() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      var count = 0
      var cause: MetadataError.Cause?
      while cause == nil, count < 10_000 {
        do { try await store.commit([put(count, [UInt8](repeating: UInt8(count % 251), count: 1000))]) } catch {
          cause = (error as? MetadataError)?.cause
          break
        }
        count += 1
      }
      #expect(cause == .metadataFull)
      #expect(count > 100)
      #expect(store.statistics.freePageCount >= StoreLimits.reservedPageCountSmallest)
      // In place, patches, and what must always be possible.
      try await store.commit([put(0, [UInt8](repeating: 1, count: 1000)), .patch(RecordKey(testKind, 1), byteOffset: 5, bytes: [5])])
      try await store.commit((0..<10).map { put(20_000 + $0, [UInt8](repeating: 2, count: 1000)) }, priority: .essential)
      let model = contents(store)
      await store.close()

      let again = try await pool.open(disks)
      #expect(contents(again) == model)
      for number in 0..<count { try await again.commit([.delete(RecordKey(testKind, UInt64(number)))]) }
      try await again.commit([put(0, [UInt8](repeating: 3, count: 8000))])
      #expect(contents(again).count == 11)
      await again.close()
      let last = try await pool.open(disks)
      #expect(contents(last).count == 11)
      await last.close()
    }
  }

  @Test func withoutAVoterLeftNothingIsAcknowledged() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 3)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      try await store.commit([put(1, [1])])
      for disk in disks { disk.failsWrites = true }
      for number in 2...3 {
        do {
          try await store.commit([put(number, [1])])
          Issue.record("durable nowhere")
        } catch {
          #expect((error as? MetadataError)?.cause == .diskFailed)
          #expect("\(error)".contains("disk1"))
        }
      }
      #expect(contents(store).count == 1)
      #expect(await store.close()?.cause == .diskFailed)
      for disk in disks { disk.failsWrites = false }
      let again = try await pool.open(disks)
      #expect(contents(again)[RecordKey(testKind, 1)] == [1])
      await again.close()
    }
  }

  @Test func readingWritesNothing() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      for number in 0..<20 { try await store.commit([put(number, [UInt8(number)])]) }
      // Not closed: the journal has to be replayed in memory.
      let power = Power(offAtWrite: 0)
      let copies = disks.map { CrashDisk(reactor: reactor, byteCount: pool.diskByteCount, image: $0.image, power: power, label: $0.label) }
      let reader = try await MetadataStore.readOnlyLoad(devices: copies, reactor: reactor)
      #expect(contents(reader) == contents(store))
      #expect(power.writes == 0)
      do {
        try await reader.commit([put(1, [])])
        Issue.record("read-only")
      } catch { #expect((error as? MetadataError)?.cause == .readOnly) }
      // One disk of two is enough to look, and what is missing is said.
      let half = try await MetadataStore.readOnlyLoad(devices: [copies[1]], reactor: reactor)
      #expect(contents(half) == contents(store))
      #expect(half.notes.contains { $0.contains("/disks/disk0") })
      await store.close()
    }
  }
}
