import BlockDevice
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import Pool

/// What jobs cost grows with the rows, not with their square: counted in looks at rows, so that no machine's speed matters. The rows are
/// a table's alone; that a virtual disk's are worked on rightly is JobTests' to show.
@Suite struct JobScaleTests {
  private static let rowCount = 100_000

  /// Runs `body` over a pool of three disks with room for all rows, and an owner whose rows have copies on disks 1 and 2 in turn with 3.
  private static func run(
    rows: Int = rowCount, _ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, CountedRows) async throws -> Void
  )
    throws
  {
    let stack = try DiskLossTests.Stack(DiskLossTests.machine(seed: 1, files: false))
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      pool.allocator = SlabAllocator()
      for disk in pool.disks { pool.allocator.addDisk(disk.number, slabCount: 4 * rows) }
      let owner = CountedRows(pool, rowCount: rows)
      pool.attach(owner)
      try await body(stack, pool, owner)
      pool.detach(owner)
      try await pool.close()
    }
  }

  private static func end(_ pool: StoragePool, _ kind: JobRecord.Kind) async throws -> Job {
    pool.jobs.start()
    while true {
      if let job = pool.jobs.jobs.first(where: { $0.kind == kind && $0.isEnded }) { return job }
      if let job = pool.jobs.jobs.first(where: { $0.state == .suspended }) { throw Surprise("\(kind) waits: \(job.message)") }
      await pool.reactor.sleep(milliseconds: 100)
    }
  }

  @Test func resynchronisation() throws {
    try JobScaleTests.run { _, pool, owner in
      for row in 0..<owner.rowCount where row % 2 == 0 { owner.table.change(row) { $0.unsettled.insert(0) } }
      _ = try await JobScaleTests.end(pool, .resync)
      #expect(owner.resynchronisedCount == owner.rowCount / 2 && owner.rowCountToResynchronise == 0)
      #expect(owner.byteCountToResynchronise == 0)
      #expect(owner.lookCount <= 2 * owner.rowCount, "\(owner.lookCount) looks")
    }
  }

  @Test func repair() throws {
    try JobScaleTests.run { stack, pool, owner in
      pool.jobs.repairDelayMilliseconds = 0
      stack.machine.disks[1].vanish()
      let lost = owner.copyCount(on: DiskNumber(2))
      #expect(lost > 0)
      try await pool.evict(#require(pool.usableDisk(DiskNumber(2))), because: "test", isGone: true)
      let job = try await JobScaleTests.end(pool, .repair)
      #expect(owner.movedCount == lost && owner.copyCount(on: DiskNumber(2)) == 0)
      #expect(job.record.doneByteCount == UInt64(lost) * pool.slabByteCount)
      #expect(owner.lookCount <= 14 * owner.rowCount, "\(owner.lookCount) looks")
    }
  }

  @Test func retiring() throws {
    try JobScaleTests.run { _, pool, owner in
      let there = owner.copyCount(on: DiskNumber(1))
      try await pool.retire(DiskNumber(1))
      _ = try await JobScaleTests.end(pool, .retire)
      #expect(owner.movedCount == there)
      #expect(pool.disks.map(\.number.value) == [2, 3])
      #expect(owner.lookCount <= 14 * owner.rowCount, "\(owner.lookCount) looks")
    }
  }

  @Test func scrub() throws {
    try JobScaleTests.run { _, pool, owner in
      await pool.jobs.add(.scrub)
      let job = try await JobScaleTests.end(pool, .scrub)
      #expect(owner.scrubbedCount == owner.rowCount)
      #expect(job.record.doneByteCount == UInt64(owner.rowCount * 2) * pool.slabByteCount)
      #expect(owner.lookCount <= 2 * owner.rowCount, "\(owner.lookCount) looks")
    }
  }

  /// All rows are on two disks of three: a third of all slabs has to move, and no more does.
  @Test func optimizing() throws {
    try JobScaleTests.run { _, pool, owner in
      for row in 0..<owner.rowCount { owner.place(row, on: [DiskNumber(1), DiskNumber(2)]) }
      let least = pool.rebalancing.moveCount
      #expect(least == owner.rowCount * 2 / 3)
      await pool.jobs.add(.optimize)
      _ = try await JobScaleTests.end(pool, .optimize)
      #expect(owner.movedCount == least)
      let free = pool.disks.map { pool.allocator.freeSlabCount(of: $0.number) }
      #expect((free.max() ?? 0) - (free.min() ?? 0) <= 1, "\(free)")
      #expect(owner.lookCount <= 20 * owner.rowCount, "\(owner.lookCount) looks")
    }
  }

  /// Where some copies find no room the others are still made, on one walk; then the job waits and says why.
  @Test func copiesWithoutRoomHoldUpNobody() throws {
    try JobScaleTests.run(rows: 1000) { _, pool, owner in
      for row in 0..<100 { owner.place(row, on: [DiskNumber(1), DiskNumber(2), DiskNumber(3)]) }
      let there = owner.copyCount(on: DiskNumber(1))
      try await pool.retire(DiskNumber(1))
      pool.jobs.start()
      while pool.jobs.jobs.allSatisfy({ $0.state != .suspended }) { await pool.reactor.sleep(milliseconds: 100) }
      #expect(pool.jobs.jobs[0].message.hasPrefix("100 copies find no room"), "\(pool.jobs.jobs[0].message)")
      #expect(owner.movedCount == there - 100 && owner.lookCount <= 14 * owner.rowCount)
    }
  }
}

/// Rows that are nothing but their table; who looks at one is counted.
private final class CountedRows: RowOwner, @unchecked Sendable {  // reactor-confined
  let pool: StoragePool
  let table: RowTable
  let rowCount: Int
  private(set) var lookCount = 0
  private(set) var movedCount = 0
  private(set) var resynchronisedCount = 0
  private(set) var scrubbedCount = 0

  init(_ pool: StoragePool, rowCount: Int) {
    self.pool = pool
    self.rowCount = rowCount
    let regions = RegionLayout(rowByteCount: 1 << 20, chunkByteCount: 64 << 10)
    // Three places, so that a row may have a copy everywhere; mostly the last is not mapped to anything that a job would look for.
    table = RowTable(columns: 1, copies: 3, regions: regions, rowCount: rowCount)
    for row in 0..<rowCount {
      table.setRow(row, [.none, .none, .none])
      place(row, on: row % 2 == 0 ? [DiskNumber(1), DiskNumber(2)] : [DiskNumber(UInt32(1 + row / 2 % 2)), DiskNumber(3)])
    }
    lookCount = 0
  }

  func place(_ row: Int, on disks: [DiskNumber]) {
    for place in 0..<3 {
      let old = table[row, place]
      if !old.isNone { pool.allocator.release(old.slab, on: old.disk) }
      table.setSlab(place < disks.count ? slab(on: disks[place]) : CountedRows.elsewhere, row: row, place: place)
    }
  }

  /// Of no disk that any job asks for.
  private static let elsewhere = SlabAssignment.none

  private func slab(on disk: DiskNumber) -> SlabAssignment {
    guard let dealt = pool.allocator.allocateSlab(on: [disk]) else { return .none }
    return SlabAssignment(disk: dealt.disk, slab: dealt.slab, generation: SlabGeneration(1))
  }

  let virtualDisk = VirtualDiskNumber(1)
  let requestCount: UInt64 = 0
  let slabsPerRow = 3
  let copyCount = 3
  var mappedRowCount: Int { table.mappedRowCount }
  func reclaimSpace() async {}
  func commitPending() async {}
  func holdsLastCopy(on disk: DiskNumber) -> Bool { table.hasLastCopy(on: disk) { pool.usableDisk($0) != nil } }
  func hasStaleCopy(on disk: DiskNumber) -> Bool { false }
  func diskLeft(_ disk: DiskNumber) {}
  func diskReturned(_ disk: DiskNumber) {}
  func copyCount(on disk: DiskNumber) -> Int { disk == DiskNumber(0) ? 0 : table.copyCount(on: disk) }
  var rowCountToResynchronise: Int { table.rowCountToResynchronise }
  var byteCountToResynchronise: UInt64 { UInt64(table.regionCountToResynchronise) * table.regions.regionByteCount }

  func isMapped(row: Int) -> Bool {
    lookCount += 1
    return true
  }

  func slab(row: Int, place: Int) -> SlabAssignment {
    lookCount += 1
    return table[row, place]
  }

  func hasWholeCopy(row: Int, column: Int) -> Bool {
    lookCount += 1
    return true
  }

  func wantsResynchronisation(row: Int) -> Bool {
    lookCount += 1
    return table.condition(row)?.wantsResynchronisation ?? false
  }

  func resynchronise(row: Int) async throws(BlockError) {
    resynchronisedCount += 1
    table.change(row) { $0.unsettled.removeAll() }
  }

  func move(_ copy: CopyPlace, to destination: DiskNumber?) async throws(BlockError) -> MoveOutcome {
    let taken = Set((0..<3).map { table[copy.row, $0].disk })
    guard let slab = try await pool.allocateSlab(notOn: taken, only: destination) else { return .noSpace }
    let old = table[copy.row, copy.place]
    pool.allocator.release(old.slab, on: old.disk)
    table.setSlab(slab, row: copy.row, place: copy.place)
    await pool.jobs.pacer.worked(since: pool.reactor.now, byteCount: pool.slabByteCount)
    movedCount += 1
    return .moved
  }

  func scrub(row: Int) async throws(BlockError) -> ScrubFinding {
    scrubbedCount += 1
    await pool.jobs.pacer.worked(since: pool.reactor.now, byteCount: 2 * pool.slabByteCount)
    return ScrubFinding()
  }
}
