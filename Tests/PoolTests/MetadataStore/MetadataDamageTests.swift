import BlockDevice
import Reactor
import Testing

@testable import Pool

/// One voter is damaged, in one structure after the other, or comes from the past: another is used, or the pool refuses and says why.
@Suite struct MetadataDamageTests {
  /// A pool that was in use when the power went: entries behind the checkpoint. All its writes were kept.
  private static func crashedPool(_ reactor: RingReactor, disks count: Int = 2) async throws -> (TestPool, Model) {
    var pool = try await TestPool.make(reactor, disks: count)
    let disks = pool.disks()
    let store = try await pool.open(disks)
    for number in 0..<40 { try await store.commit([put(number % 20, [UInt8](repeating: UInt8(number), count: 500))]) }
    while store.isCheckpointing { await Task.yield() }
    #expect(store.statistics.journalBytesUsed > 3 * 4096)
    pool.images = disks.map(\.image)
    return (pool, contents(store))
  }

  private static func superblock(_ pool: TestPool, _ disk: Int) async throws -> Superblock {
    try #require(await MetadataStore.probe(pool.disks()[disk]).newest)
  }

  @Test func damageOfAnyBlockOnOneVoterIsSurvivedAndHealed() async throws {
    try await TestPool.run { reactor in
      let (pool, model) = try await Self.crashedPool(reactor)
      for disk in 0..<2 {
        for block in pool.images[disk].blocks.keys.sorted() {
          for unreadable in [false, true] {
            var damaged = pool
            let comment = Comment(rawValue: "disk \(disk), block \(block), unreadable \(unreadable)")
            if !unreadable { damaged.images[disk].flip(at: UInt64(block * 4096 + 16), byteCount: 200) }
            let disks = damaged.disks()
            if unreadable { disks[disk].unreadable = [UInt64(block * 4096)] }
            do {
              let store = try await damaged.open(disks)
              #expect(contents(store) == model, comment)
              #expect(await store.close() == nil, comment)
              // Healed: now the other disk may fail, and this one alone knows everything.
              disks[disk].unreadable = []
              let half = try await MetadataStore.readOnlyLoad(devices: [disks[disk]], reactor: reactor)
              #expect(contents(half) == model, comment)
            } catch { Issue.record(error, comment) }
          }
        }
      }
    }
  }

  @Test func aVoterWhoseMetadataIsGoneIsWrittenAnew() async throws {
    try await TestPool.run { reactor in
      var (pool, model) = try await Self.crashedPool(reactor)
      let layout = try await Self.superblock(pool, 0).layout
      for offset in stride(from: layout.rootOffsets[0], to: layout.dataOffset, by: 4096) {
        pool.images[0].blocks[Int(offset / 4096)] = [UInt8](repeating: 0xff, count: 4096)
      }
      let disks = pool.disks()
      let store = try await pool.open(disks)
      #expect(contents(store) == model)
      #expect(store.notes.contains { $0.contains("disk0") && $0.contains("root") })
      await store.close()
      let half = try await MetadataStore.readOnlyLoad(devices: [disks[0]], reactor: reactor)
      #expect(contents(half) == model)
    }
  }

  /// Pages that nothing has changed since: the journal does not bring them back, the comparison of the voters must.
  @Test func pagesThatAVoterLacksAreWrittenThoughNothingChangedThem() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      for number in 0..<60 { try await store.commit([put(number, [UInt8](repeating: UInt8(number), count: 1000))]) }
      let model = contents(store)
      await store.close()
      let layout = store.disks[0].layout
      for page in 1..<4 {
        var damaged = pool
        damaged.images = disks.map(\.image)
        for slot in 0..<2 { damaged.images[0].flip(at: layout.pageOffset(page, slot: slot) + 500) }
        let again = damaged.disks()
        let healed = try await damaged.open(again)
        #expect(healed.notes.contains { $0.contains("page \(page)") })
        #expect(contents(healed) == model)
        await healed.close()
        let half = try await MetadataStore.readOnlyLoad(devices: [again[0]], reactor: reactor)
        #expect(contents(half) == model)
      }
    }
  }

  @Test func withoutAGoodVoterThePoolRefuses() async throws {
    try await TestPool.run { reactor in
      var (pool, _) = try await Self.crashedPool(reactor)
      for disk in 0..<2 {
        let layout = try await Self.superblock(pool, disk).layout
        for offset in layout.rootOffsets { pool.images[disk].flip(at: offset + 100) }
      }
      await Self.expect(.damaged, ["disk0", "disk1", "root"], pool, pool.disks())
    }
  }

  @Test func aCommittedEntryThatIsBadEverywhereIsNotTakenForATornTail() async throws {
    try await TestPool.run { reactor in
      var (pool, _) = try await Self.crashedPool(reactor)
      for disk in 0..<2 {
        let superblock = try await Self.superblock(pool, disk)
        let load = VoterLoad(PoolDisk(device: pool.disks()[disk], superblock: superblock))
        await load.read()
        let entries = try #require(load.journal?.entries)
        let entry = entries[entries.count - 2]
        pool.images[disk].flip(at: superblock.layout.journalOffset + entry.header.position + 200)
      }
      await Self.expect(.damaged, ["ends at entry"], pool, pool.disks())
    }
  }

  /// The error's cause, and words that its text must hold; and that nothing was written.
  private static func expect(
    _ cause: MetadataError.Cause, _ words: [String], _ pool: TestPool, _ disks: [CrashDisk], _ comment: Comment? = nil
  ) async {
    do {
      _ = try await pool.open(disks)
      Issue.record("should refuse", sourceLocation: #_sourceLocation)
    } catch {
      #expect(error.cause == cause, comment)
      for word in words { #expect("\(error)".contains(word), "\(error)") }
      #expect(!error.remedy.isEmpty)
    }
    for disk in disks { #expect(disk.writeCount == 0, comment) }
  }

  @Test func aDiskFromThePastIsRecognised() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 3)
      let fresh = pool.images
      let disks = pool.disks()
      let first = try await pool.open(disks)
      for number in 0..<5 { try await first.commit([put(number, [1])]) }
      let inUse = disks.map(\.image)
      for number in 0..<5 { try await first.commit([put(number, [2])]) }
      await first.close()
      let closed = disks.map(\.image)
      let second = try await pool.open(disks)
      await second.close()
      let now = disks.map(\.image)
      // From before its first use, from the middle of the first use, and from before an opening in which nothing was changed.
      for (index, past) in [fresh, inUse, closed].enumerated() {
        for disk in 0..<3 {
          pool.images = now
          pool.images[disk] = past[disk]
          await Self.expect(.disksMissing, ["disk\(disk) is", "past"], pool, pool.disks(), "past \(index), disk \(disk)")
          // The real one is nowhere: the others go on, and do not touch it.
          let disks = pool.disks()
          let store = try await MetadataStore.open(devices: disks, reactor: reactor, options: OpenOptions(evictMissing: true))
          #expect(store.setAside.map(\.reason.cause) == [.stale])
          #expect(store.setAside.first?.device === disks[disk])
          #expect(store.disks.count == 2)
          #expect(contents(store).values.allSatisfy { $0 == [2] })
          await store.close()
          #expect(disks[disk].writeCount == 0)
        }
      }
      // All of them together are a whole pool again: only a witness outside could know.
      pool.images = inUse
      let old = try await pool.open(pool.disks())
      #expect(contents(old).count == 5)
      await old.close()
    }
  }

  @Test func historiesThatPartedAreNotMerged() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      try await store.commit([put(1, [1])])
      let start = disks.map(\.image)
      var ends: [[DiskImage]] = []
      for value in [2, 3] as [UInt8] {
        pool.images = start
        let disks = pool.disks()
        let store = try await pool.open(disks)
        for _ in 0..<3 { try await store.commit([put(2, [value])]) }
        ends.append(disks.map(\.image))
      }
      pool.images = [ends[0][0], ends[1][1]]
      await Self.expect(.split, ["disk0", "disk1"], pool, pool.disks())
    }
  }

  @Test func whatIsMissingIsNamed() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 7)
      let disks = pool.disks()
      #expect(disks.count == 7)
      let store = try await pool.open(disks.reversed())
      #expect(store.disks.filter(\.isVoter).count == 5)
      await store.close()
      var closed = pool
      closed.images = disks.map(\.image)
      for absent in [0, 6] {
        var rest = closed.disks()
        rest.remove(at: absent)
        await Self.expect(.disksMissing, ["/disks/disk\(absent)"], closed, rest)
      }
      let copy = closed.disks()
      await Self.expect(.cloned, ["disk2"], closed, copy + [copy[2]])
      let other = try await TestPool.make(reactor, disks: 1)
      await Self.expect(.mixedPools, ["tank"], closed, closed.disks() + other.disks())
      let blank = CrashDisk(reactor: reactor, byteCount: 6 << 20, power: Power(), label: "blank")
      let besides = try await closed.open(copy + [blank])
      #expect(besides.setAside.map(\.reason.cause) == [.notPooled])
      await besides.close()
      await Self.expect(.notPooled, ["blank"], closed, [blank])
      let tiny = CrashDisk(reactor: reactor, byteCount: 4096, power: Power(), label: "tiny")
      await Self.expect(.notPooled, ["tiny"], closed, [tiny])
      let short = CrashDisk(reactor: reactor, byteCount: 9 << 19, image: closed.images[0], power: Power(), label: "short")
      await Self.expect(.damaged, ["short", "cut"], closed, [short])
      await Self.expect(.invalidArgument, [], closed, [])
    }
  }

  @Test func aDiskThatGrewIsTheSameDisk() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 1)
      let grown = CrashDisk(reactor: reactor, byteCount: 9 << 20, image: pool.images[0], power: Power(), label: "grown")
      let report = await MetadataStore.probe(grown)
      #expect(report.newest != nil)
      #expect(report.places.filter { if case .good = $0.outcome { true } else { false } }.count == 4)
      let store = try await pool.open([grown])
      #expect(await store.close() == nil)
    }
  }

  @Test func aWipedDiskIsNoPoolsAnyMore() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 1)
      let disks = pool.disks()
      try await MetadataStore.wipe(disks[0])
      var wiped = pool
      wiped.images = [disks[0].imageAfterPowerLoss()]
      #expect(await MetadataStore.probe(wiped.disks()[0]).newest == nil)
      await Self.expect(.notPooled, ["disk0"], wiped, wiped.disks())
    }
  }

  @Test func featuresThatAreNotKnownAreRespected() async throws {
    try await TestPool.run { reactor in
      for (features, readable) in [(FeatureFlags(incompatible: 4), false), (FeatureFlags(readOnlyCompatible: 1), true)] {
        let pool = try await TestPool.make(reactor, disks: 1)
        let disks = pool.disks()
        var superblock = try await Self.superblock(pool, 0)
        superblock.sequence += 1
        superblock.features = features
        try await SuperblockIO.write(superblock, to: disks[0])
        var changed = pool
        changed.images = [disks[0].image]
        await Self.expect(.unsupportedFeature, ["features"], changed, changed.disks())
        let reader = try? await MetadataStore.readOnlyLoad(devices: changed.disks(), reactor: reactor)
        #expect((reader != nil) == readable)
      }
      // One that anyone may ignore.
      let pool = try await TestPool.make(reactor, disks: 1)
      let disks = pool.disks()
      var superblock = try await Self.superblock(pool, 0)
      superblock.sequence += 1
      superblock.features.compatible = 8
      try await SuperblockIO.write(superblock, to: disks[0])
      let store = try await pool.open(disks)
      #expect(store.disks[0].superblock.features.compatible == 8)
      await store.close()
    }
  }
}
