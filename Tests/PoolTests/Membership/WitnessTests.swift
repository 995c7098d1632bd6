import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

@Suite struct WitnessTests {
  private static func epoch(_ number: UInt64, _ reactor: any Reactor, after predecessor: EpochID = .none) -> MembershipEpoch {
    MembershipEpoch(
      number: number, id: EpochID.random(reactor), predecessor: predecessor, diskCount: 2,
      members: [MembershipEpoch.Member(disk: DiskID.random(reactor), number: DiskNumber(1))])
  }

  private static func state(_ number: UInt64, _ reactor: any Reactor) -> WitnessedState {
    WitnessedState(epoch: epoch(number, reactor), committed: 10 * number)
  }

  private static func disk(_ reactor: any Reactor, _ image: DiskImage = DiskImage(), _ power: Power = Power()) -> CrashDisk {
    CrashDisk(reactor: reactor, byteCount: Witness.byteCount, image: image, power: power, label: "witness")
  }

  @Test func theNewestIsReadAndTheOlderOverwritten() throws {
    try MembershipRig.simulate { reactor in
      let disk = Self.disk(reactor)
      let pool = PoolID.random(reactor)
      let witness = Witness(device: disk)
      #expect(try await witness.read(pool: pool).epoch == nil)
      var places: [UInt64] = []
      disk.onWrite = { offset, _ in places.append(offset) }
      for number in 1...4 as ClosedRange<UInt64> {
        let epoch = Self.epoch(number, reactor)
        try await witness.write(WitnessedState(epoch: epoch, committed: number * 7), pool: pool)
        // Durable when it returns, for whoever starts next.
        let again = Self.disk(reactor, disk.imageAfterPowerLoss())
        let reading = try await Witness(device: again).read(pool: pool)
        #expect(reading.state == WitnessedState(epoch: epoch, committed: number * 7))
        #expect(reading.notes.isEmpty)
      }
      #expect(places == [4096, 0, 4096, 0])
      witness.releaseBuffer()
    }
  }

  @Test func aWriteThatThePowerCutLeavesTheOldOrTheNew() throws {
    try MembershipRig.simulate { reactor in
      let pool = PoolID.random(reactor)
      var found: Set<UInt64> = []
      for seed in 0..<40 as Range<UInt64> {
        let power = Power(offAtWrite: 1, seed: seed)
        let disk = Self.disk(reactor, DiskImage(), power)
        let witness = Witness(device: disk)
        try await witness.write(Self.state(1, reactor), pool: pool)
        await #expect(throws: BlockError.self) { try await witness.write(Self.state(2, reactor), pool: pool) }
        let again = Witness(device: Self.disk(reactor, disk.imageAfterPowerLoss()))
        let number = try #require(try await again.read(pool: pool).epoch?.number)
        found.insert(number)
        try await again.write(Self.state(3, reactor), pool: pool)
        #expect(try await again.read(pool: pool).epoch?.number == 3)
        witness.releaseBuffer()
        again.releaseBuffer()
      }
      #expect(found == [1, 2])
    }
  }

  @Test func damageIsPassedOverAndUnreadableIsAnError() throws {
    try MembershipRig.simulate { reactor in
      let pool = PoolID.random(reactor)
      let disk = Self.disk(reactor)
      let witness = Witness(device: disk)
      for number in 1...2 as ClosedRange<UInt64> { try await witness.write(Self.state(number, reactor), pool: pool) }
      witness.releaseBuffer()
      var image = disk.image
      image.flip(at: 200)  // the newer: sequence 2 is in slot 0
      let damaged = try await Witness(device: Self.disk(reactor, image)).read(pool: pool)
      #expect(damaged.epoch?.number == 1)
      #expect(damaged.notes.count == 1 && damaged.notes[0].contains("Slot 0"))
      let unreadable = Self.disk(reactor, disk.image)
      unreadable.unreadable = [0]
      await #expect(throws: BlockError.self) { try await Witness(device: unreadable).read(pool: pool) }
      let short = CrashDisk(reactor: reactor, byteCount: 4096, power: Power(), label: "short")
      await #expect(throws: BlockError.self) { try await Witness(device: short).read(pool: pool) }
    }
  }

  @Test func anotherPoolsWitnessIsNeitherBelievedNorWritten() throws {
    try MembershipRig.simulate { reactor in
      let disk = Self.disk(reactor)
      let theirs = PoolID.random(reactor)
      let witness = Witness(device: disk)
      try await witness.write(Self.state(9, reactor), pool: theirs)
      witness.releaseBuffer()
      let ours = Witness(device: disk)
      let reading = try await ours.read(pool: PoolID.random(reactor))
      #expect(reading.epoch == nil)
      #expect(reading.notes.contains { $0.contains("\(theirs)") })
      let writes = disk.writeCount
      await #expect(throws: BlockError.self) { try await ours.write(Self.state(1, reactor), pool: PoolID.random(reactor)) }
      #expect(disk.writeCount == writes)
    }
  }

  @Test func anyBytesAreReadWithoutATrap() throws {
    try MembershipRig.simulate { reactor in
      let pool = PoolID.random(reactor)
      let disk = Self.disk(reactor)
      let witness = Witness(device: disk)
      try await witness.write(Self.state(1, reactor), pool: pool)
      witness.releaseBuffer()
      var random = SeededRandom(5)
      for _ in 0..<2000 {
        var bytes = disk.image.blocks[1] ?? []
        for _ in 0..<Int.random(in: 1...6, using: &random) {
          bytes[Int.random(in: 64..<400, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        // With the checksum right, so that what is behind it is reached.
        bytes.withUnsafeMutableBytes { raw in
          let header = StructureHeader(
            magic: .witness, pool: pool, disk: .none, sequence: 1, coveredByteCount: WitnessSlot.byteCount, index: 1)
          _ = header.seal(raw)
        }
        var image = DiskImage()
        image.blocks[1] = bytes
        let reading = try await Witness(device: Self.disk(reactor, image)).read(pool: pool)
        #expect(reading.epoch != nil || !reading.notes.isEmpty)
      }
    }
  }
}
