import BlockDevice
import PartitionTable
import Reactor
import Testing
import Volume

/// Open partitions, and what becomes of them when the table changes.
@Suite struct PartitionVolumeTests {
  @Test(arguments: [512, 4096]) func allRequestsStayWithinThePartition(sector: Int) async throws {
    try await PartitionRig.run(sector: sector) { rig in
      try await rig.write(try PartitionRig.table(sector: sector))
      let second = try await rig.watch.open("second")
      #expect(second.geometry.byteCount == 4 << 20 && second.geometry.logicalSector == sector)
      // Every request over all of it, then every request one sector beyond, and others that would wrap around.
      for operation in [BlockOperation.write, .discard, .writeZeroes] {
        rig.disk.fill(2 << 20..<14 << 20, with: 0xEE)
        #expect(await rig.request(operation, second, at: 0, byteCount: 4 << 20) == nil)
        #expect(rig.disk.holdsOnly(0xEE, in: 2 << 20..<5 << 20) && rig.disk.holdsOnly(0xEE, in: 9 << 20..<14 << 20))
        #expect(rig.disk.holdsOnly(0, in: 5 << 20..<9 << 20), "\(operation) reaches all of it")
      }
      rig.disk.fill(2 << 20..<14 << 20, with: 0xEE)
      for operation in BlockOperation.allCases where operation != .flush {
        for offset in [(4 << 20) - UInt64(sector), 4 << 20, UInt64.max - 511, UInt64.max - (5 << 20) + 1] {
          #expect(
            await rig.request(operation, second, at: offset, byteCount: 2 * sector) == BlockError(.outOfRange), "\(operation) \(offset)")
        }
      }
      #expect(rig.disk.holdsOnly(0xEE, in: 2 << 20..<14 << 20))
      #expect(await rig.request(.read, second, at: (4 << 20) - UInt64(sector), byteCount: sector) == nil)
      var extents: [BlockExtent] = []
      try await second.blockStatus(at: 4096, byteCount: 8192, limit: 4, into: &extents, IORequest())
      #expect(extents.map(\.row) == [(5 << 20) + 4096])
      rig.disk.fill((9 << 20) - 512..<9 << 20, with: 0x77)
      let last = try #require(second.readInPlace(at: (4 << 20) - 512, byteCount: 512, IORequest()))
      #expect(last.bytes.allSatisfy { $0 == 0x77 })
      rig.volume.reactor.buffers.release(last.buffer)
      #expect(second.readInPlace(at: (4 << 20) - 512, byteCount: 1024, IORequest()) == nil)
    }
  }

  @Test func numbersAndLabelsOpenTheSamePartition() async throws {
    try await PartitionRig.run { rig in
      try await rig.write(try PartitionRig.table())
      #expect(await rig.watch.named().map(\.name) == ["1", "2", "first", "second"])
      let one = try await rig.watch.open("1")
      #expect(try await rig.watch.open("first") === one && one.clientCount == 2 && rig.watch.clientCount == 2)
      #expect(one.label == "tank/disk/1" && one.remarks == ["first", "2 clients"])
      rig.watch.close(one)
      rig.watch.close(one)
      #expect(rig.watch.open.isEmpty)
      await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open("3") }
      await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open("") }
    }
  }

  /// Under its GUID a partition is found whatever becomes of its number and label; that name is not listed.
  @Test func aUniqueGUIDOpensThatPartitionAndNoOther() async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      // A label that looks like the other's GUID takes nobody in.
      var first = try #require(table.partition(number: 1))
      first.name = PartitionRig.guid(2).description
      try table.updatePartition(first)
      try await rig.write(table)
      #expect(await rig.watch.named().map(\.name) == ["1", "2", "second"])
      let name = PartitionRig.guid(2).description.lowercased()
      let second = try await rig.watch.open(name)
      #expect(second.partition.number == 2)
      rig.watch.close(second)
      var partition = try #require(table.partition(number: 2))
      try table.removePartitions(numbers: [1, 2])
      (partition.number, partition.name) = (1, "other")
      try table.addPartition(partition)
      try await rig.write(table)
      let again = try await rig.watch.open(name)
      #expect(again.partition.number == 1)
      #expect(rig.watch.clientCounts == [.gpt(PartitionRig.guid(2)): 1])
      await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open(PartitionRig.guid(1).description) }
    }
  }

  @Test func aTableIsReadOnceUntilItIsWritten() async throws {
    try await PartitionRig.run { rig in
      try await rig.write(try PartitionRig.table())
      #expect(rig.disk.readCount == 0, "nobody has asked yet")
      _ = await rig.watch.named().map(\.name)
      let reads = rig.disk.readCount
      try await rig.write([1, 2, 3, 4].flatMap { [UInt8](repeating: $0, count: 128) }, at: 2 << 20)
      _ = await rig.watch.named().map(\.name)
      #expect(rig.disk.readCount == reads, "data is no table")
      for offset: UInt64 in [0, 512, 1024, (16 << 20) - 512, (16 << 20) - 33 * 512] {
        let before = rig.disk.readCount
        let sector = Array(rig.disk.content[Int(offset)..<(Int(offset) + 512)])
        try await rig.write(sector, at: offset)
        #expect(rig.disk.readCount == before, "no partition is open")
        #expect(await rig.watch.named().map(\.name).count == 4)
        #expect(rig.disk.readCount > before, "sector at \(offset)")
      }
      let reading = await rig.watch.read()
      #expect(rig.watch.isCurrent(reading))
      try await rig.write([UInt8](repeating: 0, count: 512), at: 512)
      #expect(!rig.watch.isCurrent(reading))
    }
  }

  @Test(arguments: ["gone", "moved", "shrunk", "grown", "renamed", "other GUID", "other number", "wiped", "MBR"])
  func anOpenPartitionLivesAsLongAsTheTableBearsItOut(change: String) async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      try await rig.write(table)
      let first = try await rig.watch.open("1")
      let second = try await rig.watch.open("2")
      var partition = try #require(table.partition(number: 2))
      try table.removePartitions(numbers: [2])
      var survives = false
      switch change {
      case "moved":
        partition.firstLBA = LBA(partition.firstLBA.value + 1)
        try table.addPartition(partition)
      case "shrunk":
        partition.lastLBA = LBA(partition.lastLBA.value - 1)
        try table.addPartition(partition)
      case "grown":
        partition.lastLBA = LBA(partition.lastLBA.value + 2048)
        try table.addPartition(partition)
        survives = true
      case "renamed":
        partition.name = "other"
        try table.addPartition(partition)
        survives = true
      case "other GUID":
        partition.uniqueGUID = PartitionRig.guid(3)
        try table.addPartition(partition)
      case "other number":
        partition.number = 5
        try table.addPartition(partition)
        survives = true
      default: break
      }
      if change == "wiped" {
        for range in GPT.wipeRanges(diskByteCount: 16 << 20) {
          try await rig.volume.writeZeroes(at: range.offsetBytes, byteCount: UInt64(range.byteCount), IORequest())
        }
      } else if change == "MBR" {
        try await rig.write([UInt8](repeating: 0, count: 512), at: (16 << 20) - 512)
        try await rig.write([UInt8](repeating: 0, count: 512), at: 512)
        #expect(!first.isWithdrawn, "the protective MBR is still there")
        try await rig.write(Self.masterBootRecord, at: 0)
      } else {
        try await rig.write(table)
      }
      #expect(second.isWithdrawn == !survives)
      #expect(first.isWithdrawn == ["wiped", "MBR"].contains(change))
      for operation in BlockOperation.allCases {
        #expect(await rig.request(operation, second, at: 0) == (survives ? nil : BlockError(.shuttingDown)), "\(operation)")
      }
      let inPlace = second.readInPlace(at: 0, byteCount: 512, IORequest())
      #expect((inPlace != nil) == survives)
      if let inPlace { rig.volume.reactor.buffers.release(inPlace.buffer) }
      #expect(second.geometry.byteCount == (change == "grown" ? 5 << 20 : 4 << 20), "only a longer partition changes its bounds")
      if change == "grown" {
        #expect(await rig.request(.write, second, at: (5 << 20) - 512) == nil, "its clients reach all of it")
        #expect(await rig.request(.write, second, at: (5 << 20)) == BlockError(.outOfRange))
        #expect(try await rig.watch.open("2") === second)
        rig.watch.close(second)
      }
      rig.watch.close(second)
    }
  }

  /// A partition from sector 2048 on, of 4096 sectors.
  static var masterBootRecord: [UInt8] {
    var sector = [UInt8](repeating: 0, count: 512)
    sector.replaceSubrange(446..<462, with: [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0])
    sector.replaceSubrange(510..<512, with: [0x55, 0xAA])
    return sector
  }

  @Test func partitionsOfAnMBRAreServedTooAndLogicalOnesWatched() async throws {
    try await PartitionRig.run { rig in
      var sector = Self.masterBootRecord
      // An extended partition from sector 8192 on, of 8192 sectors; in it a logical one of 100 sectors.
      sector.replaceSubrange(462..<478, with: [0, 0, 0, 0, 0x05, 0, 0, 0, 0, 32, 0, 0, 0, 32, 0, 0])
      var record = [UInt8](repeating: 0, count: 512)
      record.replaceSubrange(446..<462, with: [0, 0, 0, 0, 0x83, 0, 0, 0, 63, 0, 0, 0, 100, 0, 0, 0])
      record.replaceSubrange(510..<512, with: [0x55, 0xAA])
      try await rig.write(sector, at: 0)
      try await rig.write(record, at: 8192 * 512)
      #expect(await rig.watch.named().map(\.name) == ["1", "5"])
      let (first, logical) = (try await rig.watch.open("1"), try await rig.watch.open("5"))
      #expect(logical.partition.offsetBytes == (8192 + 63) * 512 && logical.geometry.byteCount == 100 * 512)
      // Its extended boot record lies in the middle of the disk.
      record[446 + 8] = 64
      try await rig.write(record, at: 8192 * 512)
      #expect(logical.isWithdrawn && !first.isWithdrawn)
    }
  }

  @Test func aTableThatMakesNoSenseChangesNothingAndOpensNothing() async throws {
    try await PartitionRig.run { rig in
      let table = try PartitionRig.table()
      try await rig.write(table)
      let first = try await rig.watch.open("1")
      let junk = [UInt8](repeating: 0xA5, count: 512)
      try await rig.write(junk, at: (16 << 20) - 512)
      #expect(try await rig.watch.open("2").geometry.byteCount == 4 << 20, "the primary is enough")
      try await rig.write(junk, at: 1024)
      #expect(!first.isWithdrawn && !rig.watch.open[1].isWithdrawn)
      for name in ["1", "2"] {
        let error = await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open(name) }
        guard case .noTable(let reason) = error else {
          Issue.record("\(error.debugDescription)")
          continue
        }
        #expect(reason.contains("cannot be relied on: the primary GPT is not usable"))
      }
      #expect(await rig.watch.named().map(\.name) == [])
      try await rig.write(table)
      #expect(!first.isWithdrawn)
      #expect(await rig.watch.named().map(\.name).count == 4)
    }
  }

  @Test func aDiskThatCannotBeReadWithdrawsNothing() async throws {
    try await PartitionRig.run { rig in
      try await rig.write(try PartitionRig.table())
      let first = try await rig.watch.open("1")
      rig.disk.failure = BlockError(.ioFailed)
      #expect(await rig.request(.write, rig.volume, at: 0) == BlockError(.ioFailed))
      #expect(!first.isWithdrawn)
      rig.disk.failure = nil
      #expect(await rig.request(.read, first, at: 0) == nil)
    }
  }

  /// The table write is answered when the last request of the withdrawn partition is over, and not before.
  @Test func whatIsInFlightIsWaitedFor() async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      try await rig.write(table)
      let second = try await rig.watch.open("2")
      var withdrawn: [String] = []
      rig.watch.onWithdrawn = { withdrawn.append($0.label) }
      rig.disk.gated = (5 << 20)..<(9 << 20)
      let state = Progress()
      rig.volume.reactor.spawn {
        state.write = await rig.request(.write, second, at: 0)
        state.isWriteDone = true
      }
      #expect(await rig.eventually { rig.disk.waitingCount == 1 })
      try table.removePartitions(numbers: [2])
      let changed = table
      rig.volume.reactor.spawn {
        try? await rig.write(changed)
        #expect(state.isWriteDone, "answered too early")
        state.isTableDone = true
      }
      #expect(await rig.eventually { second.isWithdrawn })
      #expect(await rig.request(.read, second, at: 0) == BlockError(.shuttingDown), "while the old one is still under way")
      // Who opens what the table has now at that place waits as well.
      rig.volume.reactor.spawn {
        let other = try? await rig.watch.open("1")
        #expect(other != nil && state.isWriteDone, "opened too early")
        state.isOpened = true
      }
      for _ in 0..<20 { await rig.volume.reactor.sleep(milliseconds: 1) }
      #expect(!state.isTableDone && !state.isOpened && withdrawn == ["tank/disk/2"])
      rig.disk.openGate()
      #expect(await rig.eventually { state.isTableDone && state.isOpened })
      #expect(state.write == nil && state.isWriteDone, "what was begun is done")
    }
  }

  /// What is still under way for a partition that is no more ends before its place is another's.
  @Test func aPartitionGrowsOnlyWhenTheOneBehindHasComeToRest() async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      try await rig.write(table)
      let (first, second) = (try await rig.watch.open("1"), try await rig.watch.open("2"))
      rig.disk.gated = (5 << 20)..<(9 << 20)
      rig.volume.reactor.spawn { _ = await rig.request(.write, second, at: 0) }
      #expect(await rig.eventually { rig.disk.waitingCount == 1 })
      try table.removePartitions(numbers: [2])
      _ = try table.resizePartition(number: 1, to: .bytes(8 << 20), alignmentByteCount: 1 << 20)
      let changed = table
      let state = Progress()
      rig.volume.reactor.spawn {
        try? await rig.write(changed)
        state.isTableDone = true
      }
      #expect(await rig.eventually { second.isWithdrawn })
      for _ in 0..<20 { await rig.volume.reactor.sleep(milliseconds: 1) }
      #expect(first.geometry.byteCount == 4 << 20 && !state.isTableDone)
      #expect(await rig.request(.read, first, at: 4 << 20) == BlockError(.outOfRange))
      rig.disk.openGate()
      #expect(await rig.eventually { state.isTableDone })
      #expect(first.geometry.byteCount == 8 << 20)
      #expect(await rig.request(.write, first, at: (8 << 20) - 512) == nil)
      // Grown as it is, it is not borne out by its old size any more.
      try await rig.write(try PartitionRig.table())
      #expect(first.isWithdrawn)
    }
  }

  /// Writes that end while the table is read, before or behind the place that is read: nothing of an old table is believed.
  @Test func aWriteDuringTheReadingIsNotMissed() async throws {
    let places: [UInt64] = [0, 512, 1024, (16 << 20) - 512, (16 << 20) - 33 * 512]
    for place in places {
      try await PartitionRig.run { rig in
        var table = try PartitionRig.table()
        try await rig.write(table)
        try table.removePartitions(numbers: [2])
        let changed = table
        var isChanged = false
        rig.disk.afterEach = { offset in
          // In the middle of the reading somebody writes all of the new table, this part last.
          if isChanged || offset > place { return }
          isChanged = true
          try? await rig.write(changed)
        }
        let opened = try? await rig.watch.open("2")
        #expect(isChanged)
        #expect(opened == nil || opened?.isWithdrawn == true, "place \(place)")
        #expect(await rig.watch.named().map(\.name) == ["1", "first"])
      }
    }
  }

  @Test func aClientThatWritesTheTableAllTheTimeHoldsNobodyUpForEver() async throws {
    try await PartitionRig.run { rig in
      let table = try PartitionRig.table()
      try await rig.write(table)
      let sector = Array(rig.disk.content[..<512])
      var isWriting = true
      rig.disk.afterEach = { offset in
        guard isWriting, offset > 0 else { return }
        try? await rig.write(sector, at: 0)  // afterEach is called again, with offset 0
      }
      let reading = await rig.watch.read()
      #expect(!reading.isStable && reading.scan.gpt == table && !rig.watch.isCurrent(reading))
      await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open("1") }
      isWriting = false
      #expect(try await rig.watch.open("1").geometry.byteCount == 4 << 20)
    }
  }
}
