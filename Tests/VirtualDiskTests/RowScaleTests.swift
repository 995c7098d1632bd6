import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool
@testable import VirtualDisk

/// What a pool with many rows costs: rows that nobody uses are no objects, and what is asked of all rows is counted, not searched.
@Suite struct RowScaleTests {
  /// After opening, a row has an object only once somebody asks for it; its content and its status are there all the same.
  @Test func rowsSleepUntilTheyAreAskedFor() throws {
    let stack = try DiskLossTests.Stack(DiskLossTests.machine(seed: 5, files: true))
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 32 << 20, provisioning: .fixed, copies: 2, columns: 1)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let buffer = await stack.reactor.buffers.acquire(byteCount: 4096)
      buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0x5a)
      try await disk.write(at: 7 << 20, from: buffer, IORequest())
      try await disk.flush(IORequest())
      try await disk.close()
      try await pool.close()
      for physical in stack.open.values { await physical.close() }

      let again = try await stack.openPool([0, 1, 2])
      let record = try #require(try again.virtualDiskRecords().first)
      let opened = try VirtualDisk.open(record, in: again, handle: VirtualDiskHandle(number: 1))
      #expect(opened.mappedRowCount == 32 && opened.rows.allSatisfy { $0 == nil })
      #expect(opened.fewestWholeCopies == 2 && opened.firstLostRow == nil)
      var extents: [BlockExtent] = []
      try await opened.blockStatus(at: 0, byteCount: 32 << 20, limit: 100, byRow: true, into: &extents, IORequest())
      #expect(extents.count == 32 && extents.allSatisfy { $0.isAllocated && !$0.isZero })
      #expect(Set(extents.map(\.row)).count == 32 && opened.rows.allSatisfy { $0 == nil })
      try await opened.read(at: 7 << 20, into: buffer, IORequest())
      #expect(buffer.bytes.allSatisfy { $0 == 0x5a })
      #expect(opened.rows.indices.filter { opened.rows[$0] != nil } == [7])
      #expect(opened.rows[7]?.id.value == extents[7].row)
      stack.reactor.buffers.release(buffer.buffer)
      try await opened.close()
      try await again.close()
    }
  }

  /// A trim of very much passes over what is not mapped, gives others their turns, and ends where it is when nobody waits for it any more.
  @Test func aLongTrimEndsWithWhoAskedForIt() throws {
    let stack = try DiskLossTests.Stack(DiskLossTests.machine(seed: 5, files: true))
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: 1 << 40, provisioning: .thin, copies: 1, columns: 1)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      let buffer = await stack.reactor.buffers.acquire(byteCount: 4096)
      let last = disk.geometry.byteCount - 4096
      try await disk.write(at: last, from: buffer, IORequest())
      let requester = Requester()
      var request = IORequest()
      request.requester = requester
      // A dozen at once: most of them have not begun when nobody waits any more.
      let trims = (0..<12).map { _ in
        stack.reactor.spawn { [request] in
          await #expect(throws: BlockError(.shuttingDown)) { try await disk.discard(at: 0, byteCount: disk.geometry.byteCount, request) }
        }
      }
      for _ in 0..<10 { await stack.reactor.sleep(milliseconds: 0) }
      requester.isGone = true
      for trim in trims { await trim.value }
      #expect(disk.mappedRowCount == 1)
      requester.isGone = false
      try await disk.discard(at: 0, byteCount: disk.geometry.byteCount, request)
      withExtendedLifetime(requester) { #expect(disk.mappedRowCount == 0) }
      stack.reactor.buffers.release(buffer.buffer)
      try await disk.close()
      try await pool.close()
    }
  }

  /// The table's counts are those of a count, whatever was changed before.
  @Test func countsAreKeptUpToDate() {
    var random = SeededRandom(seed: 3)
    let regions = RegionLayout(rowByteCount: 2 << 20, chunkByteCount: 64 << 10)
    let table = RowTable(columns: 2, copies: 2, regions: regions, rowCount: 50)
    for step in 0..<5000 {
      let row = random.index(below: 50)
      let slab = { (disk: Int) in
        disk == 0 ? SlabAssignment.none : SlabAssignment(disk: DiskNumber(UInt32(disk)), slab: SlabNumber(1), generation: SlabGeneration(1))
      }
      if !table.isMapped(row) {
        table.setRow(row, [slab(1 + random.index(below: 5)), slab(random.index(below: 6)), slab(1 + random.index(below: 5)), slab(0)])
      } else {
        switch random.index(below: 5) {
        case 0: _ = table.takeRow(row)
        case 1: table.setSlab(slab(1 + random.index(below: 5)), row: row, place: random.index(below: 4))
        case 2: table.change(row) { $0.unsettled.insert(random.index(below: regions.regionCount)) }
        case 3:
          table.change(row) { condition in
            var stale = condition.stale[1] ?? RegionSet(count: regions.regionCount)
            stale.insert(random.index(below: regions.regionCount))
            condition.stale[random.index(below: 4)] = stale
          }
        default: table.change(row) { $0 = RowCondition(regionCount: regions.regionCount) }
        }
      }
      if step % 50 == 0 { check(table, usable: Set((1...5).filter { _ in random.index(below: 4) != 0 })) }
    }
  }

  private func check(_ table: RowTable, usable: Set<Int>) {
    let mapped = (0..<50).filter { row in (0..<4).contains { !table[row, $0].isNone } }
    #expect(table.mappedRowCount == mapped.count)
    for disk in 0...6 {
      let count = mapped.reduce(0) { sum, row in sum + (0..<4).count { Int(table[row, $0].disk.value) == disk } }
      #expect(table.copyCount(on: DiskNumber(UInt32(disk))) == count)
    }
    let conditions = mapped.compactMap { table.condition($0) }
    #expect(table.rowCountToResynchronise == conditions.count { $0.wantsResynchronisation })
    #expect(table.regionCountToResynchronise == conditions.reduce(0) { $0 + $1.regionsToResynchronise.memberCount })
    func isWhole(_ row: Int, _ place: Int) -> Bool {
      usable.contains(Int(table[row, place].disk.value)) && table.condition(row)?.stale[place] == nil
    }
    var fewest = 2
    var firstLost: Int?
    for row in mapped {
      for column in 0..<2 {
        let whole = (2 * column..<2 * column + 2).count { isWhole(row, $0) }
        fewest = min(fewest, whole)
        if whole == 0 && firstLost == nil { firstLost = row }
      }
    }
    let isUsable = { (disk: DiskNumber) in usable.contains(Int(disk.value)) }
    #expect(table.protection(isUsable: isUsable) == RowProtection(fewestWholeCopies: fewest, firstLostRow: firstLost))
    for disk in usable {
      let isLast = mapped.contains { row in
        (0..<4).contains { place in
          Int(table[row, place].disk.value) == disk && isWhole(row, place)
            && !(place / 2 * 2..<place / 2 * 2 + 2).contains { $0 != place && isWhole(row, $0) }
        }
      }
      #expect(table.hasLastCopy(on: DiskNumber(UInt32(disk)), isUsable: isUsable) == isLast)
    }
  }

  /// So many slabs have to move as the disks that are too full have too many; a disk that is too small to have its share is emptied.
  @Test func rebalancingMovesTheFewest() {
    func moves(_ free: [Int], slabs: [Int]? = nil) -> Int {
      let counts = slabs ?? free.map { _ in 100 }
      return Rebalancing(free.indices.map { (DiskNumber(UInt32($0 + 1)), counts[$0], free[$0]) }).moveCount
    }
    #expect(moves([0, 0, 100]) == 66)
    #expect(moves([33, 33, 34]) == 0)
    #expect(moves([34, 33, 33]) == 0)
    #expect(moves([32, 34, 34]) == 1)
    #expect(moves([0, 2, 10]) == 6)
    #expect(moves([50]) == 0)
    #expect(moves([]) == 0)
    #expect(moves([10, 90, 100], slabs: [20, 100, 100]) == 10, "the small disk is emptied")
    #expect(moves([20, 90, 90], slabs: [20, 100, 100]) == 0)
  }

  /// A job that has chosen a row asks for it a moment later, when growing may have failed and taken the row back.
  @Test func aRowBehindTheEndIsNotThere() {
    var rows = AwakeRows(count: 1000)
    rows[900] = MappedRow(index: 900, presence: PresenceBitmap(chunkCount: 8, allPresent: true), placeCount: 1, regionCount: 1)
    rows.resize(to: 10)
    #expect(rows[900] == nil && rows[600] == nil)
    rows.resize(to: 1000)
    #expect(rows.count == 1000 && rows[900] == nil)
  }
}
