import BlockDevice
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import Pool
@testable import VirtualDisk

/// Copying in long pieces: what one copy lacks, or cannot read, of a piece keeps nothing else from being copied.
@Suite struct CopyRunTests {
  private static let sectorCount: UInt64 = 2048

  /// A two-way mirror of one full row on two of three disks; `disks` are the indices of those, by place.
  private static func run(_ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, ShadowedDisk, [Int]) async throws -> Void) throws {
    let stack = try DiskLossTests.Stack(DiskLossTests.machine(seed: 3, files: false))
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(
        VirtualDiskPlan(name: "disk", byteCount: 1 << 20, copies: 2, columns: 1), in: pool, handle: VirtualDiskHandle(number: 1))
      let shadowed = ShadowedDisk(disk: disk, shadow: ShadowDisk(sectorCount: sectorCount))
      try await shadowed.write(0..<sectorCount)
      try await shadowed.flush()
      try await disk.clearDirtyRegions(evenTouched: true)
      try await body(stack, pool, shadowed, disk.slabTable.slabs(ofRow: 0).map { Int($0.disk.value) - 1 })
      stack.machine.plan.rules.removeAll()
      try await shadowed.checkAll()
      try await Examination.checkCopiesAgree(disk)
      try await disk.close()
      try await pool.close()
    }
  }

  /// Where a byte of the row lies on the disk of a place.
  private static func offset(_ pool: StoragePool, _ disk: VirtualDisk, place: Int, _ byte: UInt64) throws -> UInt64 {
    let slab = disk.slabTable[0, place]
    let (_, address) = try #require(pool.locate(slab, byte))
    return try #require(pool.diskRecord(slab.disk)).dataOffset + address
  }

  /// No copy has both of two regions that lie side by side.
  @Test func copiesThatLackNeighbouringRegions() throws {
    try CopyRunTests.run { stack, pool, shadowed, disks in
      let disk = shadowed.disk
      for place in 0..<2 {
        let start = try CopyRunTests.offset(pool, disk, place: place, UInt64(place) * disk.regions.regionByteCount)
        stack.machine.disks[disks[place]].poke(at: start, [UInt8](repeating: 0xee, count: Int(disk.regions.regionByteCount)))
        disk.slabTable.change(0) { condition in
          condition.stale[place] = RegionSet(count: disk.regions.regionCount)
          condition.stale[place]?.insert(place)
        }
      }
      try await disk.resynchronise(row: 0)
      #expect(disk.rowsToResynchronise.isEmpty)
    }
  }

  /// Each copy has a sector that cannot be read: no piece of a slab that holds both can be copied as one.
  @Test func aCopyMovesThoughEachHasABadSector() throws {
    try CopyRunTests.run { stack, pool, shadowed, disks in
      let disk = shadowed.disk
      for place in 0..<2 {
        let bad = try CopyRunTests.offset(pool, disk, place: place, UInt64(place) * 128 << 10)
        stack.machine.plan.add(FaultRule(.ioError, .always, disk: disks[place], operations: [.read], range: bad..<bad + 512))
      }
      let third = try #require(pool.disks.first { !disks.contains(Int($0.number.value) - 1) })
      #expect(try await disk.move(CopyPlace(row: 0, place: 0), to: third.number) == .moved)
      #expect(disk.slabTable[0, 0].disk == third.number)
    }
  }

  /// One region that no copy can read keeps its neighbours from nothing.
  @Test func aLostRegionKeepsNoOtherFromBeingWhole() throws {
    try CopyRunTests.run { stack, pool, shadowed, disks in
      let disk = shadowed.disk
      for place in 0..<2 {
        let bad = try CopyRunTests.offset(pool, disk, place: place, 3 * disk.regions.regionByteCount)
        stack.machine.plan.add(FaultRule(.ioError, .always, disk: disks[place], operations: [.read], range: bad..<bad + 512))
      }
      disk.slabTable.change(0) { $0.unsettled.insert(0..<disk.regions.regionCount) }
      await #expect(throws: BlockError.self) { try await disk.resynchronise(row: 0) }
      #expect(disk.slabTable.condition(0)?.unsettled.memberCount == 1)
      stack.machine.plan.rules.removeAll()
      try await disk.resynchronise(row: 0)
    }
  }

  /// What jobs copy through is there while they are, and given back when there is nothing left to do.
  @Test func largeBuffersAreGivenBack() throws {
    try CopyRunTests.run { stack, pool, shadowed, disks in
      let reserved = stack.reactor.buffers.reservedByteCount
      pool.jobs.start()
      try await pool.retire(DiskNumber(UInt32(disks[0] + 1)))
      let deadline = pool.reactor.now.advanced(milliseconds: 60_000)
      var most = 0
      while !pool.jobs.jobs.contains(where: { $0.kind == .retire && $0.isEnded }) || pool.bounceBuffers.largeCount > 0 {
        if pool.reactor.now > deadline { throw Surprise("\(pool.bounceBuffers.largeCount) buffers are kept") }
        most = max(most, pool.bounceBuffers.largeCount)
        await pool.reactor.sleep(milliseconds: 1)
      }
      #expect(most > 0 && stack.reactor.buffers.reservedByteCount == reserved)
    }
  }

  @Test func piecesAreSmallBesideApplications() throws {
    let machine = DiskLossTests.machine(seed: 1, files: false)
    let reactor = try #require(machine.reactor)
    try reactor.runToCompletion {
      let pacer = JobPacer(reactor: reactor, slabByteCount: 8 << 20)
      nonisolated(unsafe) var requestCount: UInt64 = 0
      pacer.requestCount = { requestCount }
      #expect(pacer.pieceByteCount == JobLimits.idlePieceByteCount && pacer.depth == 8)
      requestCount += 1
      #expect(pacer.pieceByteCount == JobLimits.pieceByteCount && pacer.depth == JobLimits.depth)
      await pacer.worked(since: reactor.now, byteCount: 0)
      await pacer.worked(since: reactor.now, byteCount: 0)
      #expect(pacer.pieceByteCount == JobLimits.pieceByteCount && pacer.depth == JobLimits.depth)
      await reactor.sleep(milliseconds: JobLimits.quietMilliseconds)
      #expect(pacer.pieceByteCount == JobLimits.idlePieceByteCount && pacer.depth == 8)
    }
  }

  @Test(arguments: [(UInt64(1), 16), (4, 16), (8, 8), (1024, 4)])
  func rowsInWorkByTheSizeOfSlabs(mebibytes: UInt64, depth: Int) {
    #expect(JobLimits.idleDepth(slabByteCount: mebibytes << 20) == depth)
  }

  @Test func runsOfRegions() {
    var set = RegionSet(count: 100)
    set.insert(3..<7)
    set.insert(99)
    #expect(set.run(from: 0, limit: 16) == 3..<7)
    #expect(set.run(from: 0, limit: 2) == 3..<5)
    #expect(set.run(from: 5, limit: 0) == 5..<6)
    #expect(set.run(from: 7, limit: 9) == 99..<100)
    #expect(set.run(from: 100, limit: 9) == nil)
  }
}
