import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

/// Disks that fail, leave and come while the store is open.
@Suite struct MembershipChangeTests {
  private static func opened(
    _ reactor: any Reactor, disks: Int, blanks: Int = 0, hasWitness: Bool, domains: [String] = []
  ) async throws -> (MembershipRig.Hardware, MetadataStore) {
    let rig = try await MembershipRig.make(reactor, disks: disks, blanks: blanks, hasWitness: hasWitness, domains: domains)
    let hardware = rig.hardware()
    return (hardware, try await hardware.open(Array(0..<disks)))
  }

  /// What one disk alone knows.
  private static func knows(_ disk: CrashDisk) async throws -> Int {
    counter(try await MetadataStore.readOnlyLoad(devices: [disk], reactor: disk.reactor))
  }

  @Test func theWitnessIsWrittenBeforeTheDisks() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 3, blanks: 1, hasWitness: true)
      var order: [String] = []
      var epochs: [UInt64] = []
      hardware.witnessDisk?.onWrite = { _, _ in order.append("witness") }
      for (index, disk) in hardware.disks.enumerated() {
        let places: [UInt64] = index < store.disks.count ? store.disks[index].layout.superblockOffsets.flatMap { $0 } : []
        disk.onWrite = { offset, _ in if places.contains(offset) { order.append("superblock") } }
      }
      try await store.evict([DiskNumber(2)])
      epochs.append(store.epoch.number)
      hardware.disks[2].failsWrites = true
      try await store.commit(counted(1))
      epochs.append(store.epoch.number)
      // An epoch's superblocks: two places on each disk that stays.
      #expect(order == ["witness"] + Array(repeating: "superblock", count: 4) + ["witness"] + Array(repeating: "superblock", count: 2))
      #expect(epochs[0] > 1 && epochs[1] > epochs[0])
      order.removeAll()
      _ = try await store.add(NewDisk(device: hardware.disks[3]))
      #expect(order.first == "witness" && order.count { $0 == "witness" } == 1)
      await store.close()
    }
  }

  /// Requests may hold every buffer there is while they wait for the change: it must not wait for them, also when a failed write has kept its own.
  @Test(arguments: [false, true]) func aChangeWaitsForNoBufferOfRequests(hasWitness: Bool) throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 5, hasWitness: hasWitness)
      var held: [BufferSlice] = []
      for byteCount in [4096, 64 << 10, 1 << 20, 32 << 20] {
        while let buffer = reactor.buffers.tryAcquire(byteCount: byteCount) { held.append(buffer) }
      }
      hardware.disks[4].failsWrites = true
      hardware.witnessDisk?.failsWrites = true
      try await store.evict([DiskNumber(4)])
      hardware.witnessDisk?.failsWrites = false
      try await store.evict([DiskNumber(3)])
      #expect(store.voterDisks.map(\.number.value) == [1, 2])
      for buffer in held { reactor.buffers.release(buffer.buffer) }
      await store.close()
    }
  }

  @Test func commitsGoOnWithoutAVoterThatFailed() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 3, hasWitness: false)
      var failed: [DiskNumber] = []
      store.onDiskFailed = { number, _ in failed.append(number) }
      hardware.disks[0].failsWrites = true
      for number in 1...20 { try await store.commit(counted(number)) }
      #expect(failed == [DiskNumber(1)])
      #expect(store.voterDisks.map(\.number.value) == [2, 3])
      #expect(store.disks.count == 3, "until the owner evicts it")
      #expect(store.failure == nil && store.membershipProblem == nil)
      let epoch = store.epoch.number
      try await store.evict(failed, changes: [put(3, [3])])
      #expect(store.epoch.number == epoch, "it was no voter any more")
      #expect(store.disks.map(\.number.value) == [2, 3])
      #expect(store.absentDisks.map(\.number) == failed)
      let record = try #require(store.diskRecord(DiskNumber(1)))
      #expect(record.state == .evicted)
      #expect(await store.close() == nil)
      #expect(try await Self.knows(hardware.disks[1]) == 20)
    }
  }

  /// The journal goes on, but the checkpoint's pages cannot be written.
  @Test func aVoterThatFailsItsCheckpointLeaves() throws {
    for seed in 1...4 as ClosedRange<UInt64> {
      try MembershipRig.simulate(seed: seed) { reactor in
        let (hardware, store) = try await Self.opened(reactor, disks: 3, hasWitness: false)
        let pages = store.disks[1].layout.pagesOffset
        var failed: [DiskNumber] = []
        store.onDiskFailed = { number, _ in failed.append(number) }
        hardware.disks[1].failsWrite = { offset in offset >= pages }
        for disk in hardware.disks { disk.turnsPerWrite = 30 }
        await withTaskGroup(of: Void.self) { group in
          for task in 0..<6 {
            group.addTask {
              for round in 0..<30 {
                await #expect(throws: Never.self) { try await store.commit([put(task, [UInt8](repeating: UInt8(round), count: 2000))]) }
              }
            }
          }
        }
        #expect(failed == [DiskNumber(2)])
        #expect(store.voterDisks.map(\.number.value) == [1, 3])
        #expect(store.statistics.checkpoints > 3)
        let model = contents(store)
        #expect(await store.close() == nil)
        let half = try await MetadataStore.readOnlyLoad(devices: [hardware.disks[2]], reactor: reactor)
        #expect(contents(half) == model)
      }
    }
  }

  private final class Outcomes: @unchecked Sendable {  // reactor-confined
    var words: [String] = []
  }

  @Test func withoutWitnessAndMajorityCommitsWaitAndClosingEnds() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 2, hasWitness: false)
      try await store.commit(counted(1))
      hardware.disks[1].failsWrites = true
      let outcomes = Outcomes()
      let tasks = (0..<3).map { number in
        reactor.spawn {
          do throws(MetadataError) {
            try await store.commit([put(number, [1])])
            outcomes.words.append("committed")
          } catch { outcomes.words.append("\(error.cause)") }
        }
      }
      await reactor.sleep(milliseconds: 60_000)
      #expect(outcomes.words.isEmpty)
      #expect(store.membershipProblem?.message.contains("no majority") == true)
      #expect(store.epoch.number == 1)
      let began = reactor.now
      #expect(await store.close() != nil)
      for task in tasks { await task.value }
      #expect(reactor.now.nanoseconds - began.nanoseconds < 5_000_000_000)
      #expect(outcomes.words == ["diskFailed", "diskFailed", "diskFailed"])
      // Nothing of a change that could not be had is on the disk that stayed.
      #expect(await MetadataStore.probe(hardware.disks[0]).newest?.epoch.number == 1)
      hardware.disks[1].failsWrites = false
      let again = try await hardware.open()
      #expect(counter(again) == 1)
      await again.close()
    }
  }

  @Test func commitsThatWaitGoOnWhenTheWitnessCanBeWrittenAgain() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 2, hasWitness: true)
      hardware.witnessDisk?.failsWrites = true
      hardware.disks[1].failsWrites = true
      let task = reactor.spawn { await #expect(throws: Never.self) { try await store.commit(counted(1)) } }
      await reactor.sleep(milliseconds: 10_000)
      #expect(store.membershipProblem?.message.contains("witness") == true && store.witnessProblem != nil)
      hardware.witnessDisk?.failsWrites = false
      await task.value
      #expect(store.membershipProblem == nil && store.witnessProblem == nil)
      #expect(counter(store) == 1 && store.voterDisks.count == 1)
      #expect(await store.close() == nil)
      let again = try await hardware.open([0], evictMissing: true)
      #expect(counter(again) == 1)
      await again.close()
    }
  }

  @Test func aLargePoolPlacesItsVotersAnew() throws {
    try MembershipRig.simulate { reactor in
      let domains = ["a", "a", "a", "b", "b", "b", "c", "c"]
      let (hardware, store) = try await Self.opened(reactor, disks: 8, hasWitness: false, domains: domains)
      func voterDomains() -> [String: Int] {
        store.voterDisks.reduce(into: [:]) { $0[domains[Int($1.number.value) - 1], default: 0] += 1 }
      }
      #expect(store.voterDisks.count == 5 && voterDomains().count == 3)
      var number = 0
      // One voter after the other goes; the last three disks are left.
      for _ in 0..<5 {
        number += 1
        try await store.commit(counted(number))
        let leaving = try #require(store.voterDisks.first)
        let before = Set(store.voterDisks.map(\.number))
        try await store.evict([leaving.number])
        #expect(store.voterDisks.count == min(5, store.disks.count))
        for voter in store.voterDisks where !before.contains(voter.number) {
          #expect(try await Self.knows(hardware.disks[Int(voter.number.value) - 1]) == number)
        }
        #expect(voterDomains().count == Set(store.disks.map { domains[Int($0.number.value) - 1] }).count)
      }
      let numbers = store.absentDisks.map(\.epochNumber)
      #expect(Set(numbers).count == 5, "each left at another time")
      #expect(await store.close() == nil)
      let again = try await hardware.open()
      #expect(counter(again) == number && again.disks.count == 3 && again.setAside.count == 5)
      await again.close()
    }
  }

  /// Two disks that hold no metadata leave in one epoch: still it is known which left last.
  @Test func theOrderOfLeavingIsKept() throws {
    try MembershipRig.simulate { reactor in
      let (_, store) = try await Self.opened(reactor, disks: 8, hasWitness: false)
      let others = store.disks.map(\.number).filter { number in !store.voterDisks.contains { $0.number == number } }
      #expect(others.count == 3)
      let epoch = store.epoch.number
      try await store.evict([others[0]])
      #expect(store.epoch.number == epoch)
      #expect(store.diskRecord(others[0])?.epochNumber == epoch)
      try await store.evict([others[1], others[2]])
      let voter = store.voterDisks[0].number
      try await store.evict([voter])
      let numbers = (others + [voter]).map { store.diskRecord($0)?.epochNumber ?? 0 }
      #expect(numbers[0] < numbers[1] && numbers[1] == numbers[2] && numbers[2] < numbers[3])
      #expect(store.epoch.number > numbers[2])
      await store.close()
    }
  }

  @Test func aVoterAddedAmongCommitsIsComplete() throws {
    for seed in 1...6 as ClosedRange<UInt64> {
      try MembershipRig.simulate(seed: seed) { reactor in
        let (hardware, store) = try await Self.opened(reactor, disks: 2, blanks: 2, hasWitness: seed % 2 == 0)
        for number in 0..<40 { try await store.commit([put(1000 + number, [UInt8](repeating: 9, count: 1500))]) }
        for disk in hardware.disks { disk.turnsPerWrite = Int(seed) * 5 }
        let isDone = Flag()
        let added = Flag()
        let writers = (0..<4).map { task in
          reactor.spawn {
            var round = 0
            while !isDone.value {
              await #expect(throws: Never.self) { try await store.commit([put(task, [UInt8](repeating: UInt8(round & 255), count: 700))]) }
              round += 1
              if added.value { added.count += 1 }
            }
          }
        }
        let first = try await store.add(NewDisk(device: hardware.disks[2], faultDomain: "x", pathHint: "/disks/new"))
        added.value = true
        let second = try await store.add(NewDisk(device: hardware.disks[3]))
        isDone.value = true
        for writer in writers { await writer.value }
        #expect(added.count > 0, "commits went on while it was copied")
        #expect([first.number.value, second.number.value] == [3, 4])
        #expect(store.voterDisks.map(\.number.value) == [1, 2, 3, 4])
        let model = contents(store)
        for disk in hardware.disks {
          let alone = try await MetadataStore.readOnlyLoad(devices: [disk], reactor: reactor)
          #expect(contents(alone) == model)
        }
        #expect(await store.close() == nil)
        let again = try await hardware.open()
        #expect(contents(again) == model && again.notes.isEmpty && again.setAside.isEmpty)
        #expect(again.diskRecord(DiskNumber(3))?.pathHint == "/disks/new")
        await again.close()
        for disk in hardware.disks { #expect(await MetadataInspection.inspect(disk).isSound) }
      }
    }
  }

  private final class Flag: @unchecked Sendable {  // reactor-confined
    var value = false
    var count = 0
  }

  /// So much is committed while a slow disk is copied to that a checkpoint runs between its two copies: what that one holds, the second
  /// copy must not take for known.
  @Test func aSlowLearnerMissesNoCheckpointBesideIt() throws {
    for seed in 1...4 as ClosedRange<UInt64> {
      try MembershipRig.simulate(seed: seed) { reactor in
        let (hardware, store) = try await Self.opened(reactor, disks: 1, blanks: 1, hasWitness: true)
        let isDone = Flag()
        let writers = (0..<3).map { task in
          reactor.spawn {
            var round = 0
            while !isDone.value {
              let value = [UInt8](repeating: UInt8(round & 255), count: 2800)
              await #expect(throws: Never.self) { try await store.commit([put(100 * task + round % 25, value)]) }
              round += 1
            }
          }
        }
        hardware.disks[1].turnsPerWrite = 300
        _ = try await store.add(NewDisk(device: hardware.disks[1]))
        isDone.value = true
        for writer in writers { await writer.value }
        #expect(store.voterDisks.count == 2)
        let model = contents(store)
        #expect(model.count > 60)
        for disk in hardware.disks {
          let alone = try await MetadataStore.readOnlyLoad(devices: [disk], reactor: reactor)
          try #require(contents(alone) == model)
        }
        #expect(await store.close() == nil)
      }
    }
  }

  @Test func aLearnerThatFailsIsNoHarm() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 1, blanks: 1, hasWitness: true)
      let layout = try store.memberLayout(diskByteCount: MembershipRig.diskByteCount)
      hardware.disks[1].failsWrites = true
      await #expect(throws: MetadataError.self) { _ = try await store.add(NewDisk(device: hardware.disks[1])) }
      #expect(store.disks.count == 1 && store.absentDisks.isEmpty)
      // Formatting goes well, copying does not: it is a disk of the pool, and no voter.
      hardware.disks[1].failsWrites = false
      hardware.disks[1].failsWrite = { offset in layout.rootOffsets.contains(offset) }
      _ = try await store.add(NewDisk(device: hardware.disks[1]))
      #expect(store.disks.count == 2 && store.voterDisks.count == 1)
      #expect(store.notes.contains { $0.contains("could not be made a voter") })
      try await store.commit(counted(1))
      hardware.disks[1].failsWrite = nil
      #expect(await store.close() == nil)
      let again = try await hardware.open()
      #expect(again.voterDisks.count == 2 && counter(again) == 1)
      await again.close()
    }
  }

  @Test func removingReplacesTheVoterAndWipesTheDisk() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 6, hasWitness: false)
      let before = Set(store.voterDisks.map(\.number))
      let leaving = try #require(before.min())
      try await store.commit(counted(1))
      try await store.remove(leaving, changes: [put(5, [5])])
      #expect(store.voterDisks.count == 5 && !store.voterDisks.contains { $0.number == leaving })
      #expect(store.diskRecord(leaving)?.state == .removed && store.absentDisks.isEmpty)
      let disk = hardware.disks[Int(leaving.value) - 1]
      #expect(await MetadataStore.probe(disk).newest == nil)
      let added = try await store.add(NewDisk(device: disk))
      #expect(added.number == DiskNumber(7), "numbers are not given out twice")
      try await store.commit(counted(2))
      await store.close()
      let again = try await hardware.open()
      #expect(counter(again) == 2 && again.disks.count == 6)
      await again.close()
    }
  }

  @Test func theLastVoterStays() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 2, hasWitness: true)
      await #expect(throws: MetadataError.self) { try await store.evict([DiskNumber(1), DiskNumber(2)]) }
      await #expect(throws: MetadataError.self) { try await store.evict([DiskNumber(9)]) }
      #expect(store.disks.count == 2 && store.voterDisks.count == 2)
      try await store.evict([DiskNumber(1)])
      await #expect(throws: MetadataError.self) { try await store.remove(DiskNumber(2)) }
      try await store.commit(counted(1))
      #expect(await store.close() == nil)
      #expect(try await Self.knows(hardware.disks[1]) == 1)
    }
  }

  @Test func onlyTheDiskThatWasEvictedIsTakenBack() throws {
    try MembershipRig.simulate { reactor in
      var rig = try await MembershipRig.make(reactor, disks: 2, blanks: 1, hasWitness: true)
      let fresh = rig.images[1]
      let hardware = rig.hardware()
      let store = try await hardware.open([0, 1])
      try await store.commit(counted(1))
      func cause(_ device: BlockDevice) async -> MetadataError.Cause? {
        do throws(MetadataError) {
          _ = try await store.readmit(device, state: .returning)
          return nil
        } catch { return error.cause }
      }
      #expect(await cause(hardware.disks[1]) == .cloned, "it is here")
      try await store.evict([DiskNumber(2)])
      #expect(await cause(hardware.disks[2]) == .notPooled)
      let past = CrashDisk(reactor: reactor, byteCount: MembershipRig.diskByteCount, image: fresh, power: Power(), label: "past")
      #expect(await cause(past) == .stale)
      #expect(past.writeCount == 0)
      let other = try await MembershipRig.make(reactor, disks: 1, hasWitness: false)
      #expect(await cause(other.hardware().disks[0]) == .mixedPools)
      #expect(store.absentDisks.count == 1)
      let nonce = try #require(store.diskRecord(DiskNumber(2))?.nonce)
      let copy = CrashDisk(
        reactor: reactor, byteCount: MembershipRig.diskByteCount, image: hardware.disks[1].image, power: Power(), label: "copy")
      let back = try await store.readmit(hardware.disks[1], state: .returning, changes: [put(4, [4])])
      let record = try #require(store.diskRecord(DiskNumber(2)))
      #expect(record.state == .returning && record.nonce != nonce && record.nonce == back.superblock.nonce)
      #expect(store.voterDisks.count == 2)
      // It is the right one from now on: a copy of what it was is not.
      try await store.evict([DiskNumber(2)])
      #expect(await cause(copy) == .stale)
      _ = try await store.readmit(hardware.disks[1], state: .active)
      await store.close()
      rig = hardware.now(rig)
      let again = try await rig.hardware().open([1], evictMissing: true)
      #expect(counter(again) == 1)
      await again.close()
    }
  }

  /// Its nonce is right, and nothing but its journal tells that it is not the disk that left.
  @Test func aCopyMadeWhileThePoolWasOpenIsNotTakenBack() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 2, hasWitness: true)
      try await store.commit(counted(1))
      let copy = CrashDisk(
        reactor: reactor, byteCount: MembershipRig.diskByteCount, image: hardware.disks[1].image, power: Power(), label: "copy")
      try await store.commit(counted(2))
      try await store.evict([DiskNumber(2)])
      do throws(MetadataError) {
        _ = try await store.readmit(copy, state: .returning)
        Issue.record("it is from the past")
      } catch { #expect(error.cause == .stale && error.message.contains("copy")) }
      #expect(copy.writeCount == 0)
      _ = try await store.readmit(hardware.disks[1], state: .returning)
      #expect(store.voterDisks.count == 2)
      #expect(await store.close() == nil)
    }
  }

  /// Both halves of a pool went on, each by an operator's word: the same number of changes, other ids, one predecessor. One of them crashed
  /// before its next superblock, which would have told by its nonces.
  @Test(arguments: [true, false]) func aHalfThatWentOnByItselfIsNotTakenBack(hasMovedOn: Bool) throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 2, hasWitness: false)
      try await store.commit(counted(1))
      await store.close()
      let ids = store.disks.map(\.id)
      let first = try await hardware.open([0], lost: [ids[1]])
      try await first.commit(counted(2))
      let second = try await hardware.open([1], lost: [ids[0]])
      try await second.commit(counted(3))
      // It is not closed: what it is now, is what a crash leaves.
      let left = CrashDisk(
        reactor: reactor, byteCount: MembershipRig.diskByteCount, image: hardware.disks[1].image, power: Power(), label: "left")
      if hasMovedOn {
        _ = try await first.add(NewDisk(device: Self.blank(reactor)))
        #expect(first.epoch.number > second.epoch.number)
      }
      do throws(MetadataError) {
        _ = try await first.readmit(left, state: .returning)
        Issue.record("it has a history of its own")
      } catch { #expect(error.cause == .split) }
      #expect(left.writeCount == 0 && first.absentDisks.count == 1)
      #expect(await first.close() == nil)
      _ = await second.close()
    }
  }

  private static func blank(_ reactor: any Reactor) -> CrashDisk {
    CrashDisk(reactor: reactor, byteCount: MembershipRig.diskByteCount, image: DiskImage(), power: Power(), label: "blank")
  }

  @Test func aDiskThatHoldsNoMetadataFailsWithoutHarm() throws {
    try MembershipRig.simulate { reactor in
      let (hardware, store) = try await Self.opened(reactor, disks: 7, hasWitness: false)
      let other = try #require(store.disks.first { disk in !store.voterDisks.contains { $0 === disk } })
      var failed: [DiskNumber] = []
      store.onDiskFailed = { number, _ in failed.append(number) }
      hardware.disks[Int(other.number.value) - 1].failsWrites = true
      try await store.commit(counted(1))
      #expect(failed.isEmpty, "commits do not touch it")
      // A membership change does.
      try await store.evict([store.voterDisks[0].number])
      #expect(failed == [other.number])
      try await store.evict(failed)
      try await store.commit(counted(2))
      #expect(await store.close() == nil)
    }
  }
}
