import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// Zeroing that must be quick or not be done, zeroing that must keep its space, and zeros that are known without the disk. Files zero
/// cheaply here, block devices do not.
@Suite struct ZeroingTests {
  private static let mebibyte: UInt64 = 1 << 20
  private static let chunk: UInt64 = 64 << 10

  private static func run(
    files: Bool, byteCount: UInt64 = 8 << 20, provisioning: VirtualDiskRecord.Provisioning = .thin,
    _ body: @escaping @Sendable (VirtualDisk) async throws -> Void
  ) throws {
    let machine = FailureTests.machine(seed: 3, files: files)
    try FailureTests.run(machine) { stack, _ in
      let pool = try await stack.createPool()
      let plan = VirtualDiskPlan(name: "disk", byteCount: byteCount, provisioning: provisioning, columns: 1)
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      #expect(disk.rowByteCount == mebibyte && disk.chunkByteCount == chunk && pool.slabsStartZeroed == files)
      try await body(disk)
      try await stack.close(pool, [disk])
    }
  }

  private static func write(_ disk: VirtualDisk, at offset: UInt64, _ byteCount: UInt64, _ byte: UInt8 = 0x5a) async throws {
    let slice = await disk.reactor.buffers.acquire(byteCount: Int(byteCount))
    defer { disk.reactor.buffers.release(slice.buffer) }
    slice.bytes.initializeMemory(as: UInt8.self, repeating: byte)
    try await disk.write(at: offset, from: slice, IORequest())
  }

  /// True when every byte of the range is `byte`.
  private static func holds(_ disk: VirtualDisk, at offset: UInt64, _ byteCount: UInt64, _ byte: UInt8) async throws -> Bool {
    let slice = await disk.reactor.buffers.acquire(byteCount: Int(byteCount))
    defer { disk.reactor.buffers.release(slice.buffer) }
    try await disk.read(at: offset, into: slice, IORequest())
    return slice.bytes.allSatisfy { $0 == byte }
  }

  private static func zero(_ disk: VirtualDisk, at offset: UInt64, _ byteCount: UInt64, _ flags: IOFlags) async -> BlockError? {
    do throws(BlockError) {
      try await disk.writeZeroes(at: offset, byteCount: byteCount, IORequest(flags: flags))
      return nil
    } catch { return error }
  }

  private static func status(_ disk: VirtualDisk, at offset: UInt64, _ byteCount: UInt64) async throws -> [BlockExtent] {
    var extents: [BlockExtent] = []
    try await disk.blockStatus(at: offset, byteCount: byteCount, limit: 1000, into: &extents, IORequest())
    return extents
  }

  /// Requests below that change data.
  private static func changes(_ disk: VirtualDisk) -> UInt64 {
    disk.space.statistics[.write].requests + disk.space.statistics[.writeZeroes].requests
  }

  // MARK: Fast

  @Test(arguments: [true, false]) func wholeChunksAreZeroedWithoutTheDisks(files: Bool) throws {
    try ZeroingTests.run(files: files) { disk in
      let m = ZeroingTests.mebibyte
      try await ZeroingTests.write(disk, at: 0, 3 * m)
      let before = ZeroingTests.changes(disk)
      #expect(await ZeroingTests.zero(disk, at: ZeroingTests.chunk, 2 * m, .onlyFast) == nil)
      #expect(await ZeroingTests.zero(disk, at: 4 * m, 3 * m, .onlyFast) == nil, "nothing is there")
      #expect(await ZeroingTests.zero(disk, at: 0, 8 * m, [.onlyFast]) == nil)
      #expect(ZeroingTests.changes(disk) == before)
      #expect(try await ZeroingTests.holds(disk, at: 0, 8 * m, 0))
      #expect(disk.mappedRowCount == 0, "a thin disk gives the space back")
    }
  }

  @Test(arguments: [true, false]) func whatWouldHaveToBeWrittenIsRefusedAndStaysAsItIs(files: Bool) throws {
    try ZeroingTests.run(files: files) { disk in
      let m = ZeroingTests.mebibyte
      try await ZeroingTests.write(disk, at: 0, 3 * m)
      // Parts of sectors' blocks are merged in any case; parts of chunks only where disks do not zero cheaply.
      for (offset, count) in [(UInt64(512), m), (m - 512, 512), (0, 2 * m + 512), (512, 512), (m / 2, m + 1024)] {
        #expect(await ZeroingTests.zero(disk, at: offset, count, .onlyFast) == BlockError(.unsupported))
      }
      for (offset, count) in [(UInt64(4096), m), (m - 4096, 4096), (0, 2 * m + 8192)] {
        let error = await ZeroingTests.zero(disk, at: offset, count, .onlyFast)
        #expect(error == (files ? nil : BlockError(.unsupported)))
        #expect(try await ZeroingTests.holds(disk, at: offset, count, files ? 0 : 0x5a))
      }
      if !files { #expect(try await ZeroingTests.holds(disk, at: 0, 3 * m, 0x5a)) }
      #expect(try await ZeroingTests.holds(disk, at: 2 * m + 8192, m - 8192, 0x5a))
    }
  }

  /// A chunk without data may be cut anywhere.
  @Test func cutChunksWithoutDataAreZeroAlready() throws {
    try ZeroingTests.run(files: false) { disk in
      try await ZeroingTests.write(disk, at: 0, 4096)
      let before = ZeroingTests.changes(disk)
      #expect(await ZeroingTests.zero(disk, at: ZeroingTests.chunk + 512, 3 * ZeroingTests.mebibyte, .onlyFast) == nil)
      #expect(ZeroingTests.changes(disk) == before)
      #expect(try await ZeroingTests.holds(disk, at: 0, 4096, 0x5a))
    }
  }

  /// Copies that may differ after a crash have to be brought together first, which is not fast.
  @Test func whatIsUnsettledAfterACrashIsNotFast() throws {
    let machine = FailureTests.machine(seed: 9, files: true)
    let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1)
    try FailureTests.run(machine) { stack, _ in
      let pool = try await stack.createPool()
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
      try await ZeroingTests.write(disk, at: 0, 2 << 20)
      try await disk.flush(IORequest())
      try await disk.clearDirtyRegionsNow(evenTouched: true)
      try await ZeroingTests.write(disk, at: 0, 4096, 0x77)
    }
    machine.cutPower()
    machine.powerOn()
    try FailureTests.run(machine) { stack, _ in
      let pool = try await stack.openPool()
      let disk = try #require(try await stack.openVirtualDisks(pool)["disk"])
      #expect(disk.slabTable.isUnsettled(0, 0, 4096))
      #expect(await ZeroingTests.zero(disk, at: 0, 1 << 20, .onlyFast) == BlockError(.unsupported))
      #expect(await ZeroingTests.zero(disk, at: 1 << 20, 1 << 20, .onlyFast) == nil, "only where it is unsettled")
      #expect(await ZeroingTests.zero(disk, at: 0, 1 << 20, []) == nil)
      #expect(try await ZeroingTests.holds(disk, at: 0, 2 << 20, 0))
      try await stack.close(pool, [disk])
    }
  }

  // MARK: Keeping space

  @Test(arguments: [true, false]) func zeroingThatKeepsSpaceAllocatesIt(files: Bool) throws {
    try ZeroingTests.run(files: files) { disk in
      let m = ZeroingTests.mebibyte
      try await ZeroingTests.write(disk, at: m, m)
      #expect(await ZeroingTests.zero(disk, at: 0, 3 * m, [.keepAllocated, .onlyFast]) == nil)
      #expect(disk.mappedRowCount == 3)
      #expect(try await ZeroingTests.holds(disk, at: 0, 3 * m, 0))
      let extents = try await ZeroingTests.status(disk, at: 0, 3 * m)
      #expect(extents.allSatisfy(\.isAllocated) && extents.reduce(0) { $0 + $1.byteCount } == 3 * m)
      #expect(try await ZeroingTests.status(disk, at: 3 * m, m).allSatisfy { !$0.isAllocated && $0.isZero })
    }
  }

  @Test(arguments: [true, false]) func keptSpaceIsNotGivenBackWithWhatLiesBesideIt(files: Bool) throws {
    try ZeroingTests.run(files: files) { disk in
      let (m, chunk) = (ZeroingTests.mebibyte, ZeroingTests.chunk)
      #expect(await ZeroingTests.zero(disk, at: 0, chunk, .keepAllocated) == nil)
      try await ZeroingTests.write(disk, at: 5 * chunk, chunk)
      try await disk.discard(at: chunk, byteCount: m - chunk, IORequest())
      #expect(disk.mappedRowCount == 1, "the first chunk was to be kept")
      try await disk.discard(at: 512, byteCount: chunk - 512, IORequest())
      #expect(disk.mappedRowCount == 1, "a part of a chunk gives up nothing")
      try await disk.discard(at: 0, byteCount: chunk, IORequest())
      #expect(disk.mappedRowCount == 0)
      #expect(try await ZeroingTests.holds(disk, at: 0, m, 0))
    }
  }

  @Test(arguments: [true, false]) func aFixedDiskKeepsAllItsSpace(files: Bool) throws {
    try ZeroingTests.run(files: files, provisioning: .fixed) { disk in
      try await ZeroingTests.write(disk, at: 0, 8 << 20)
      #expect(await ZeroingTests.zero(disk, at: 0, 4 << 20, .onlyFast) == nil)
      try await disk.discard(at: 4 << 20, byteCount: 4 << 20, IORequest())
      #expect(disk.mappedRowCount == 8)
      #expect(try await ZeroingTests.status(disk, at: 0, 8 << 20).allSatisfy(\.isAllocated))
      #expect(try await ZeroingTests.holds(disk, at: 0, 8 << 20, 0))
    }
  }

  // MARK: What is known

  /// Zero runs, block status and what is read agree, and only reading asks the disks.
  @Test(arguments: [true, false]) func zeroRunsAreZeros(files: Bool) throws {
    try ZeroingTests.run(files: files) { disk in
      let m = ZeroingTests.mebibyte
      try await ZeroingTests.write(disk, at: 100_352, 300_032)
      try await ZeroingTests.write(disk, at: 2 * m, m)
      try await disk.discard(at: 2 * m + m / 2, byteCount: m / 4, IORequest())
      let before = disk.space.statistics[.read].requests
      var position: UInt64 = 512
      var zeros: [Range<UInt64>] = []
      while position < 8 * m {
        let run = disk.zeroRun(at: position, byteCount: 8 * m - position)
        #expect(run.byteCount > 0 && run.byteCount <= 8 * m - position)
        if run.isZero { zeros.append(position..<position + run.byteCount) }
        position += run.byteCount
      }
      #expect(disk.space.statistics[.read].requests == before)
      #expect(zeros.contains { $0.lowerBound == 2 * m + m / 2 && $0.count == m / 4 })
      #expect(zeros.last?.upperBound == 8 * m)
      for range in zeros { #expect(try await ZeroingTests.holds(disk, at: range.lowerBound, UInt64(range.count), 0)) }
      for extent in try await ZeroingTests.status(disk, at: 512, 8 * m - 512) where !extent.isAllocated { #expect(extent.isZero) }
      #expect(disk.zeroRun(at: 8 * m, byteCount: 1) == ZeroRun(byteCount: 1, isZero: false), "beyond the end nothing is known")
      #expect(disk.zeroRun(at: .max, byteCount: .max) == ZeroRun(byteCount: .max, isZero: false))
    }
  }

  /// Extents go over rows unless rows are asked for; and one call looks at so many rows only.
  @Test func statusIsByRowWhenAskedAndBounded() throws {
    let rowCount = VirtualDiskLimits.statusRowCount + 1000
    try ZeroingTests.run(files: false, byteCount: rowCount << 20) { disk in
      let m = ZeroingTests.mebibyte
      try await ZeroingTests.write(disk, at: 0, 2 * m)
      var byRow: [BlockExtent] = []
      try await disk.blockStatus(at: 0, byteCount: 3 * m, limit: 10, byRow: true, into: &byRow, IORequest())
      #expect(byRow.map(\.byteCount) == [m, m, m] && byRow[0].row != byRow[1].row && byRow[0].row != nil && byRow[2].row == nil)
      let first = try await ZeroingTests.status(disk, at: 512, disk.geometry.byteCount - 512)
      #expect(
        first == [
          BlockExtent(byteCount: 2 * m - 512, isAllocated: true, isZero: false),
          BlockExtent(byteCount: (VirtualDiskLimits.statusRowCount - 2) * m, isAllocated: false, isZero: true),
        ])
      let position = VirtualDiskLimits.statusRowCount * m
      let second = try await ZeroingTests.status(disk, at: position, disk.geometry.byteCount - position)
      #expect(second == [BlockExtent(byteCount: 1000 * m, isAllocated: false, isZero: true)])
      try await disk.discard(at: 0, byteCount: disk.geometry.byteCount, IORequest())
      #expect(disk.mappedRowCount == 0)
    }
  }
}
