import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

/// The witness notes how far the journal had come: copies of disks from the past are recognised even where nothing else is there.
@Suite struct WitnessedEntryTests {
  private static func used(_ reactor: any Reactor, disks: Int) async throws -> MembershipRig {
    let rig = try await MembershipRig.make(reactor, disks: disks, hasWitness: true)
    return try await usedAgain(rig, 1)
  }

  /// Opened, a commit, closed.
  private static func usedAgain(_ rig: MembershipRig, _ count: Int) async throws -> MembershipRig {
    let hardware = rig.hardware()
    let store = try await hardware.open()
    try await store.commit(counted(count))
    #expect(await store.close() == nil)
    return hardware.now(rig)
  }

  /// Why the pool does not open from these disks; nil when it does (and is closed again).
  private static func refusal(
    _ hardware: MembershipRig.Hardware, _ subset: [Int]? = nil, lost: Set<DiskID> = []
  ) async -> MetadataError? {
    do throws(MetadataError) {
      let store = try await hardware.open(subset, evictMissing: true, lost: lost)
      await store.close()
      return nil
    } catch { return error }
  }

  private static func witnessed(_ rig: MembershipRig) async throws -> WitnessedState {
    let hardware = rig.hardware()
    let pool = try #require(await MetadataStore.probe(hardware.disks[0]).newest?.pool)
    let disk = try #require(hardware.witnessDisk)
    return try #require(try await Witness(device: disk).read(pool: pool).state)
  }

  @Test func aCopyFromBeforeTheLastOpeningNeverSpeaksAlone() throws {
    try MembershipRig.simulate { reactor in
      for count in [1, 2, 3] {
        let before = try await Self.used(reactor, disks: count)
        var rig = try await Self.usedAgain(before, 2)
        let originals = rig.images
        rig.images[0] = before.images[0]
        let hardware = rig.hardware()
        let error = try #require(await Self.refusal(hardware, [0]), "\(count) disks")
        #expect(error.cause == .stale && !error.canOpenDegraded)
        for word in ["disk0 is from the past", "tank", "witness", "Attach the disks"] { #expect("\(error)".contains(word), "\(error)") }
        // Not if the others are given up either.
        var others: Set<DiskID> = []
        for disk in hardware.disks.dropFirst() { others.insert(try #require(await MetadataStore.probe(disk).newest?.disk)) }
        #expect(await Self.refusal(hardware, [0], lost: others)?.cause == .stale)
        #expect(hardware.disks.allSatisfy { $0.writeCount == 0 } && hardware.witnessDisk?.writeCount == 0)
        // All of them are no better.
        rig.images = before.images
        #expect(await Self.refusal(rig.hardware())?.cause == .stale)
        // The right ones speak, each alone; the copy beside them does not.
        for disk in 0..<count {
          rig.images = originals
          #expect(await Self.refusal(rig.hardware(), [disk]) == nil)
          rig.images[0] = before.images[0]
          if disk == 0 { continue }
          let both = rig.hardware()
          let store = try await both.open([0, disk], evictMissing: true)
          #expect(counter(store) == 2 && store.setAside.map(\.reason.cause) == [.stale])
          await store.close()
          #expect(both.disks[0].writeCount == 0)
        }
      }
    }
  }

  @Test func aCopyFromUseNeverSpeaksAloneOnceThePoolIsClosed() throws {
    try MembershipRig.simulate { reactor in
      var rig = try await Self.used(reactor, disks: 2)
      let hardware = rig.hardware()
      let store = try await hardware.open()
      try await store.commit(counted(2))
      // From here on data may be written, and nothing of it shows in the metadata.
      let copy = hardware.disks[1].image
      #expect(await store.close() == nil)
      rig = hardware.now(rig)
      #expect(await Self.refusal(rig.hardware(), [1]) == nil)
      rig.images[1] = copy
      #expect(await Self.refusal(rig.hardware(), [1])?.cause == .stale)
    }
  }

  @Test func aCopyCanBeReadAndSaysWhatItIs() throws {
    try MembershipRig.simulate { reactor in
      let before = try await Self.used(reactor, disks: 2)
      let rig = try await Self.usedAgain(before, 2)
      let state = try await Self.witnessed(rig)
      let device = before.hardware().disks[0]
      let reader = try await MetadataStore.readOnlyLoad(devices: [device], reactor: reactor, witness: state)
      #expect(counter(reader) == 1)
      let basis = try #require(reader.readingBasis)
      #expect(!basis.isProvenNewest && !basis.isComplete)
      #expect(basis.sentences.contains { $0.contains("from the past") && $0.contains("\(state.committed)") }, "\(basis.sentences)")
      let right = try await MetadataStore.readOnlyLoad(devices: [rig.hardware().disks[0]], reactor: reactor, witness: state)
      #expect(right.readingBasis?.isProvenNewest == true && counter(right) == 2)
    }
  }

  /// Zeros, as older programs wrote them, and no witness at all: as it was before there was such a note.
  @Test func withoutANoteTheEpochAloneDecides() throws {
    try MembershipRig.simulate { reactor in
      let before = try await Self.used(reactor, disks: 2)
      var rig = try await Self.usedAgain(before, 2)
      let state = try await Self.witnessed(rig)
      rig.images[0] = before.images[0]
      let hardware = rig.hardware(witness: .absent)
      #expect(await Self.refusal(hardware, [0])?.cause == .disksMissing)
      let disk = try #require(rig.hardware().witnessDisk)
      let pool = try #require(await MetadataStore.probe(hardware.disks[0]).newest?.pool)
      let witness = Witness(device: disk)
      try await witness.write(WitnessedState(epoch: state.epoch, committed: 0), pool: pool)
      witness.releaseBuffer()
      rig.witness = disk.image
      let old = rig.hardware()
      #expect(await Self.refusal(old, [0]) == nil)
      // That opening has noted where it was.
      #expect(try await Self.witnessed(old.now(rig)).committed > 0)
    }
  }

  /// The power goes at every write of opening and closing. No disk that has everything is ever taken for a copy, and no copy for a disk.
  @Test func noCrashMakesADiskACopy() throws {
    try MembershipRig.simulate { reactor in
      let before = try await Self.used(reactor, disks: 2)
      let rig = try await Self.usedAgain(before, 2)
      var points = 0
      for write in 0..<500 {
        let power = Power(offAtWrite: write, seed: UInt64(write))
        let hardware = rig.hardware(power)
        let store = try? await hardware.open()
        if let store { await store.close() }
        if !power.isOff { break }
        points += 1
        // Twice: the second time the opening after the crash is interrupted too.
        var crashed = hardware.crashed(rig)
        for again in [nil, write / 2, 3] as [Int?] {
          if let again {
            let next = crashed.hardware(Power(offAtWrite: again, seed: 9))
            if let store = try? await next.open() { await store.close() }
            crashed = next.crashed(crashed)
          }
          for disk in 0...1 {
            do throws(MetadataError) {
              let store = try await crashed.hardware().open([disk], evictMissing: true)
              let found = counter(store)
              #expect(found == 2, "power off at write \(write)")
              await store.close()
            } catch {
              // Of two interrupted openings the second may have begun with the first one's commit, which only the other disk has: nonces.
              try #require(again != nil && !error.message.contains("witness"), "power off at write \(write): \(error)")
            }
            var copied = crashed
            copied.images[disk] = before.images[disk]
            try #require(await Self.refusal(copied.hardware(), [disk])?.cause == .stale, "power off at write \(write)")
          }
        }
      }
      #expect(points > 15)
    }
  }

  @Test func aWitnessThatCannotBeWrittenKeepsNoMajorityAway() throws {
    try MembershipRig.simulate { reactor in
      let before = try await Self.used(reactor, disks: 3)
      let state = try await Self.witnessed(before)
      let hardware = before.hardware()
      hardware.witnessDisk?.failsWrites = true
      for subset in [[0, 1, 2], [0, 1, 2], [0, 2]] {
        let store = try await hardware.open(subset, evictMissing: true)
        #expect(store.notes.contains { $0.contains("witness") && $0.contains("cannot be written") })
        #expect(store.witnessProblem != nil)
        try await store.commit(counted(2))
        _ = await store.close()
      }
      #expect(try await Self.witnessed(hardware.now(before)) == state)
      // It is told as soon as it can be.
      hardware.witnessDisk?.failsWrites = false
      let store = try await hardware.open([0, 2], evictMissing: true)
      #expect(counter(store) == 2 && store.witnessProblem == nil)
      await store.close()
      #expect(try await Self.witnessed(hardware.now(before)).committed > state.committed)
      var rig = hardware.now(before)
      rig.images[0] = before.images[0]
      #expect(await Self.refusal(rig.hardware(), [0]) != nil)
    }
  }

  @Test func everyChangeOfTheMembershipKeepsTheNote() throws {
    try MembershipRig.simulate { reactor in
      let rig = try await Self.used(reactor, disks: 3)
      let hardware = rig.hardware()
      var last = try await Self.witnessed(rig)
      let store = try await hardware.open()
      for number in [1, 2] as [UInt32] {
        try await store.commit(counted(Int(number) + 1))
        try await store.evict([DiskNumber(number)])
        let now = try await Self.witnessed(hardware.now(rig))
        #expect(now.epoch.number > last.epoch.number && now.committed > last.committed)
        last = now
      }
      await store.close()
      #expect(try await Self.witnessed(hardware.now(rig)).committed == store.lastSequence.value)
    }
  }
}
