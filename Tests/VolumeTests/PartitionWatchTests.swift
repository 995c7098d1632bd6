import BlockDevice
import PartitionTable
import Reactor
import Testing
import Volume

/// When a table is read and believed.
@Suite struct PartitionWatchTests {
  @Test func whatCannotBeReadForAMomentIsNotRememberedAsTheTable() async throws {
    try await PartitionRig.run { rig in
      try await rig.write(try PartitionRig.table())
      let first = try await rig.watch.open("1")
      // Somebody writes the table, and then it cannot be read.
      let sector = Array(rig.disk.content[..<512])
      rig.disk.afterEach = { _ in rig.disk.failure = BlockError(.ioFailed) }
      try await rig.write(sector, at: 0)
      #expect(!first.isWithdrawn)
      #expect(await rig.watch.named().map(\.name) == [])
      let reading = await rig.watch.read()
      #expect(reading.isStable && reading.scan.unreadableRange != nil)
      await #expect(throws: PartitionWatch.OpenError.self) { try await rig.watch.open("2") }
      rig.disk.afterEach = { _ in }
      rig.disk.failure = nil
      #expect(await rig.watch.named().map(\.name) == ["1", "2", "first", "second"])
      #expect(try await rig.watch.open("2").partition.number == 2)
    }
  }

  /// The primary is lost for a moment, and the backup is an older table.
  @Test func aPassingReadFailureSendsNobodyAway() async throws {
    try await PartitionRig.run { rig in
      let old = try PartitionRig.table()
      var new = old
      try new.addPartition(type: .linux, uniqueGUID: PartitionRig.guid(3), size: .bytes(1 << 20))
      for write in try old.encode() where write.copy == .backup { try await rig.write(write.bytes, at: write.offsetBytes) }
      for write in try new.encode() where write.copy == .primary { try await rig.write(write.bytes, at: write.offsetBytes) }
      let third = try await rig.watch.open("3")
      let sector = Array(rig.disk.content[..<512])
      rig.disk.unreadable = 512..<1024
      try await rig.write(sector, at: 0)
      #expect(!third.isWithdrawn && rig.watch.open.count == 1)
    }
  }

  /// What is opened by the copy that can be read is watched as any other.
  @Test func aPartitionOpenedByTheBackupAloneIsJudgedByTheNextTable() async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      try await rig.write(table)
      rig.disk.unreadable = 512..<1024
      let second = try await rig.watch.open("2")
      rig.disk.unreadable = nil
      try table.removePartitions(numbers: [2])
      try await rig.write(table)
      #expect(second.isWithdrawn)
      rig.watch.close(second)
    }
  }

  /// From the moment that our own tool has looked who has partitions open, none is opened until the new table is there.
  @Test func nobodyOpensAPartitionWhileOurOwnTableIsWritten() async throws {
    try await PartitionRig.run { rig in
      var table = try PartitionRig.table()
      try await rig.write(table)
      #expect(await rig.watch.named().map(\.name).count == 4, "it is remembered")
      try table.removePartitions(numbers: [2])
      let steps = try table.encodeSteps(protectiveMBR: .untouched)
      let reading = await rig.watch.read()
      rig.disk.gated = 0..<(16 << 20)
      let state = Progress()
      rig.volume.reactor.spawn {
        try? await rig.watch.write(steps, IORequest())
        state.isTableDone = true
      }
      #expect(await rig.eventually { rig.disk.waitingCount == 1 })
      #expect(!rig.watch.isCurrent(reading))
      rig.volume.reactor.spawn {
        do throws(PartitionWatch.OpenError) { _ = try await rig.watch.open("2") } catch { state.openError = error }
        state.isOpened = true
      }
      for _ in 0..<20 { await rig.volume.reactor.sleep(milliseconds: 1) }
      #expect(!state.isOpened && !state.isTableDone && rig.watch.open.isEmpty)
      rig.disk.openGate()
      #expect(await rig.eventually { state.isOpened && state.isTableDone })
      guard case .unknown = state.openError else {
        Issue.record("\(state.openError.debugDescription)")
        return
      }
      #expect(await rig.watch.named().map(\.name) == ["1", "first"])
    }
  }

  /// Another tool puts a table over a partition of an MBR that is open: what its client writes there is noticed.
  @Test func aPartitionThatCameToLieOverATableWritesTheTable() async throws {
    try await PartitionRig.run { rig in
      var sector = PartitionVolumeTests.masterBootRecord
      sector.replaceSubrange(454..<462, with: [2, 0, 0, 0, 0xF0, 0x7F, 0, 0])  // from sector 2 on
      try await rig.write(sector, at: 0)
      let volume = try await rig.watch.open("1")
      let primary = try #require(try PartitionRig.table().encode(protectiveMBR: .untouched).first { $0.copy == .primary })
      try await rig.write(Array(primary.bytes[..<512]), at: 512)
      func reason() async -> String {
        do throws(PartitionWatch.OpenError) { _ = try await rig.watch.open("1") } catch {
          if case .noTable(let reason) = error { return reason }
        }
        return ""
      }
      #expect(await reason().contains("its entries' CRC32"))
      let slice = await rig.volume.reactor.buffers.acquire(byteCount: primary.bytes.count - 512)
      slice.bytes.copyBytes(from: primary.bytes[512...])
      try await volume.write(at: 0, from: slice, IORequest())
      rig.volume.reactor.buffers.release(slice.buffer)
      let now = await reason()
      #expect(now.contains("systems follow the MBR") && !now.contains("its entries' CRC32"), "\(now)")
    }
  }

  @Test func settlingWaitsForWhatIsRead() async throws {
    try await PartitionRig.run { rig in
      try await rig.write(try PartitionRig.table())
      // The table, then a sample of what is on the disk.
      for isTable in [true, false] {
        rig.disk.gated = 0..<4096
        let state = Progress()
        rig.volume.reactor.spawn {
          if isTable { _ = await rig.watch.named() } else { _ = try? await rig.volume.sampleContent(0..<(8 << 20), IORequest()) }
          state.isOpened = true
        }
        #expect(await rig.eventually { rig.disk.waitingCount == 1 })
        rig.volume.reactor.spawn {
          await rig.volume.settle()
          state.isTableDone = true
        }
        for _ in 0..<20 { await rig.volume.reactor.sleep(milliseconds: 1) }
        #expect(!state.isTableDone)
        rig.disk.openGate()
        #expect(await rig.eventually { state.isTableDone })
        #expect(await rig.eventually { state.isOpened })
      }
      await rig.volume.settle()
    }
  }
}
