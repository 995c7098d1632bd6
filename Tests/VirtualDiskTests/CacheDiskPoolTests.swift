import BlockDevice
import Reactor
import SimulatedPool
import Simulation
import StorageBus
import Testing

@testable import Pool
@testable import VirtualDisk

/// Cache disks of a pool: dealt, found warm or cold, lost and taken back, and counted as nothing.
@Suite struct CacheDiskPoolTests {
  /// Of the machine: three data disks, the witness, two cache disks.
  private static let caches = [4, 5]

  /// One power-on after the other, on one machine; the pool is created in the first and closed, or not, at the end of each.
  private final class Course {
    let machine = DiskLossTests.machine(seed: 1, files: true)
    let shadow = ShadowDisk(sectorCount: DiskLossTests.sectorCount)
    private var isFirst = true
    var directoryMemory = OpenOptions().directoryMemory

    init() { for number in 1...2 { machine.addDisk(.file("cache\(number)", byteCount: 32 << 20)) } }

    func run(
      with disks: [Int], isClosed: Bool = true,
      _ body: @escaping @Sendable (DiskLossTests.Stack, StoragePool, ShadowedDisk) async throws -> Void
    ) throws {
      let isFirst = isFirst
      self.isFirst = false
      _ = machine.powerOn()
      let stack = try DiskLossTests.Stack(machine)
      stack.directoryMemory = directoryMemory
      let shadow = shadow
      try stack.reactor.runToCompletion {
        let pool = try await isFirst ? stack.createPool() : stack.openPool(disks)
        let disk: VirtualDisk
        if isFirst {
          let plan = VirtualDiskPlan(name: "disk", byteCount: 4 << 20, copies: 2, columns: 1)
          disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
        } else {
          disk = try VirtualDisk.open(try pool.virtualDiskRecords()[0], in: pool, handle: VirtualDiskHandle(number: 1))
        }
        let shadowed = ShadowedDisk(disk: disk, shadow: shadow)
        if isFirst {
          try await shadowed.write(0..<DiskLossTests.sectorCount)
          try await shadowed.flush()
        }
        try await body(stack, pool, shadowed)
        if !isClosed { return }
        try await disk.close()
        try await pool.close()
      }
    }
  }

  /// Reads of 16 KiB, which come in at once.
  private static func read(_ shadowed: ShadowedDisk) async throws {
    for first in stride(from: UInt64(0), to: DiskLossTests.sectorCount, by: 64) {
      try await shadowed.check(first..<min(DiskLossTests.sectorCount, first + 32))
    }
  }

  private static func counters(_ pool: StoragePool) -> CacheDiskCounters {
    pool.cache.disks.reduce(into: CacheDiskCounters()) { $0.add($1.store?.counters ?? CacheDiskCounters()) }
  }

  private static func pages(_ pool: StoragePool) -> [Int] { pool.cache.disks.map { $0.store?.pageCount ?? 0 } }

  private static func settle(_ pool: StoragePool, _ isDone: () -> Bool) async throws {
    let deadline = pool.reactor.now.advanced(milliseconds: 60_000)
    while !isDone() {
      if pool.reactor.now > deadline { throw Surprise("it does not come to that") }
      await pool.reactor.sleep(milliseconds: 100)
    }
  }

  @Test func theyCountAsNothingAndAreReleasedAtOnce() throws {
    try Course().run(with: []) { stack, pool, shadowed in
      let before = (pool.capacityByteCount, pool.freeByteCount, pool.dealingDiskCount, pool.isReserveMet, pool.disks.count)
      var added: [DiskNumber] = []
      for index in CacheDiskPoolTests.caches { added.append(try await pool.addCacheDisk(stack.member(index)).number) }
      let after = (pool.capacityByteCount, pool.freeByteCount, pool.dealingDiskCount, pool.isReserveMet, pool.disks.count)
      #expect(before == after && pool.isWhole && pool.absentDiskNumbers.isEmpty)
      #expect(!pool.store.voterDisks.contains { added.contains($0.number) })
      let bound = pool.disks.compactMap { pool.cache.disk(for: $0)?.number }
      #expect(bound.count == 3 && Set(bound) == Set(added))

      for number in added { await #expect(throws: PoolError.self) { try await pool.setUsage(of: number, .auto) } }
      await #expect(throws: PoolError.self) { try await pool.setUsage(of: DiskNumber(1), .cache) }
      try await pool.retire(added[0])
      #expect(pool.disks.allSatisfy { pool.cache.disk(for: $0)?.number == added[1] })
      try await pool.retire(added[1])
      #expect(pool.cache.disks.isEmpty && pool.cache.absentNumbers.isEmpty && pool.disks.allSatisfy { pool.cache.disk(for: $0) == nil })
      #expect(pool.jobs.jobs.filter { $0.kind == .retire }.allSatisfy { $0.state == .completed })
      try await shadowed.checkAll()
    }
  }

  @Test func aCleanEndIsWarmAndAnyOtherCold() throws {
    let course = Course()
    let all = [0, 1, 2, 4, 5]
    try course.run(with: all) { stack, pool, shadowed in
      for index in CacheDiskPoolTests.caches { _ = try await pool.addCacheDisk(stack.member(index)) }
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
      #expect(CacheDiskPoolTests.counters(pool).fills > 50)
    }
    try course.run(with: all, isClosed: false) { stack, pool, shadowed in
      let warm = CacheDiskPoolTests.counters(pool).warm
      #expect(warm > 50)
      try await CacheDiskPoolTests.read(shadowed)
      #expect(CacheDiskPoolTests.counters(pool).hits > 0 && CacheDiskPoolTests.counters(pool).misses == 0)
    }
    course.shadow.crashed()
    // Not closed.
    try course.run(with: all) { stack, pool, shadowed in
      #expect(CacheDiskPoolTests.counters(pool).warm == 0)
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
    }
    // One is away for a while, in which it is not waited for, and data is changed.
    try course.run(with: [0, 1, 2, 4]) { stack, pool, shadowed in
      #expect(CacheDiskPoolTests.counters(pool).warm > 0 && pool.isWhole && pool.absentDiskNumbers.isEmpty)
      #expect(pool.cache.absentNumbers.count == 1 && pool.disks.allSatisfy { pool.cache.disk(for: $0) != nil })
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      let number = try await pool.takeBack(stack.member(5).device)
      #expect(pool.cache.disk(number)?.isUsable == true && pool.cache.absentNumbers.isEmpty)
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
    }
    try course.run(with: all) { stack, pool, shadowed in
      #expect(CacheDiskPoolTests.counters(pool).warm > 0)
      try await shadowed.checkAll()
    }
  }

  /// The capacity disks are put back as they were while the pool was open, beside cache disks that were closed later: the nonces are the same.
  @Test func aCopyOfACapacityDiskInUseIsCold() throws {
    let course = Course()
    let all = [0, 1, 2, 4, 5]
    let kept = Kept()
    try course.run(with: all) { stack, pool, shadowed in
      for index in CacheDiskPoolTests.caches { _ = try await pool.addCacheDisk(stack.member(index)) }
      kept.disks = (0..<4).map { stack.machine.disks[$0].save() }
      kept.shadow = shadowed.shadow.save()
      try await shadowed.write(0..<DiskLossTests.sectorCount)
      try await shadowed.flush()
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
    }
    for (index, content) in kept.disks.enumerated() { course.machine.disks[index].restore(content) }
    course.shadow.restore(try #require(kept.shadow))
    try course.run(with: all) { stack, pool, shadowed in
      #expect(CacheDiskPoolTests.counters(pool).warm == 0)
      try await shadowed.checkAll()
    }
  }

  /// Each takes a part, and one is left for the next. At the next opening they stay as they are, and warm, whether all are there or not.
  @Test func theDirectoriesOfCacheDisksShareTheMemory() throws {
    let course = Course()
    let part = 40 * CacheLimits.cacheDiskMemoryPerPage
    course.directoryMemory = DirectoryMemory(byteCount: 2 * part)
    try course.run(with: []) { stack, pool, shadowed in
      for index in CacheDiskPoolTests.caches { _ = try await pool.addCacheDisk(stack.member(index)) }
      #expect(CacheDiskPoolTests.pages(pool) == [40, 20])
      #expect(pool.cache.disks[0].disk.remarks.contains { $0.contains("lie idle") })
    }
    for (number, present) in [[0, 1, 2, 4, 5], [0, 1, 2, 4, 5], [0, 1, 2, 4], [0, 1, 2, 4]].enumerated() {
      let memory = DirectoryMemory(byteCount: 3 * part)
      course.directoryMemory = memory
      try course.run(with: present) { stack, pool, shadowed in
        let pages = CacheDiskPoolTests.pages(pool)
        #expect(pages == (present.count == 5 ? [40, 20] : [40]) && memory.usedByteCount == pages.reduce(0, +) * part / 40)
        #expect((number == 0) == (CacheDiskPoolTests.counters(pool).warm == 0), "opening \(number)")
        for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
        #expect(CacheDiskPoolTests.counters(pool).fills > 20)
      }
    }
  }

  /// Disks that hang hold up the end of a pool for a limited time. What was cached of one is cold afterwards, of the others it is not.
  @Test(arguments: [1, 3]) func aPoolIsClosedThoughDisksHang(count: Int) throws {
    let course = Course()
    try course.run(with: [0, 1, 2, 4, 5], isClosed: false) { stack, pool, shadowed in
      for index in CacheDiskPoolTests.caches { _ = try await pool.addCacheDisk(stack.member(index)) }
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
      try await shadowed.disk.close()
      for index in 0..<count { stack.machine.plan.add(FaultRule(.hang, .always, disk: index, operations: [.write, .flush])) }
      let began = stack.reactor.now
      do throws(PoolError) {
        try await pool.close()
        #expect(count == 1)
      } catch { #expect(count == 3, "\(error)") }
      #expect(stack.reactor.now.nanoseconds(since: began) / 1_000_000 < 3 * pool.stallLimitMilliseconds)
      for disk in stack.open.values { await disk.close() }  // the server waits for this, too
      stack.machine.plan.rules.removeAll()
      for index in 0..<count { stack.machine.disks[index].releaseHung() }
    }
    course.shadow.crashed()
    try course.run(with: [0, 1, 2, 4, 5]) { stack, pool, shadowed in
      let warm = pool.disks.map { ($0.disk as? BusDevice)?.cacheDiskCounters.warm ?? 0 }
      #expect(warm[0] == 0 && (count == 3) == (warm.max() == 0), "\(warm)")
      try await shadowed.checkAll()
    }
  }

  private final class Kept: @unchecked Sendable {  // used by one thread at a time
    var disks: [SavedContent] = []
    var shadow: ShadowDisk.Saved?
    var ids: [DiskID] = []
  }

  /// Copies of a cache disk keep no pool from being opened or called sound. One that is given alone is used; those that cannot be told apart are not.
  @Test func copiesOfACacheDiskAreNoTrouble() throws {
    let course = Course()
    try course.run(with: []) { stack, pool, shadowed in
      for index in CacheDiskPoolTests.caches { _ = try await pool.addCacheDisk(stack.member(index)) }
    }
    let clone = course.machine.addClone(of: course.machine.disks[4], name: "clone").index
    for order in [[0, 1, 2, 4, 5, clone], [clone, 5, 4, 2, 1, 0]] {
      let kept = course.machine.disks.map { $0.save() }
      try course.run(with: order) { stack, pool, shadowed in
        #expect(pool.cache.disks.count == 1 && pool.cache.absentNumbers.count == 1 && pool.isWhole)
        #expect(pool.rejectedDisks.map(\.reason.cause) == [.cloned, .cloned])
        let check = await pool.check()
        #expect(check.isSound && check.findings.count { $0.severity == .note && $0.text.contains("copy") } == 2, "\(check.findings)")
        // The right one, whichever that is: from now on the other is from the past.
        for index in [4, clone] { await stack.open[index]?.close() }
        _ = try await pool.takeBack(stack.member(4).device)
        #expect(pool.cache.disks.count == 2 && pool.cache.absentNumbers.isEmpty)
      }
      try course.run(with: order) { stack, pool, shadowed in
        #expect(pool.cache.disks.count == 2 && pool.rejectedDisks.map(\.reason.cause) == [.cloned])
        #expect(await pool.check().isSound)
        try await shadowed.checkAll()
      }
      for (disk, content) in zip(course.machine.disks, kept) { disk.restore(content) }
    }
  }

  @Test func aCacheDiskIsInspected() throws {
    let course = Course()
    let kept = Kept()
    func inspect(_ body: @escaping @Sendable (MetadataInspection, MetadataInspection) -> Void) throws {
      _ = course.machine.powerOn()
      let stack = try DiskLossTests.Stack(course.machine)
      try stack.reactor.runToCompletion {
        body(await MetadataInspection.inspect(try stack.member(4).device), await MetadataInspection.inspect(try stack.member(0).device))
      }
    }
    try course.run(with: []) { stack, pool, shadowed in
      let number = try await pool.addCacheDisk(stack.member(4)).number
      try await CacheDiskPoolTests.read(shadowed)
      let open = await MetadataInspection.inspect(pool.cache.disk(number)!.disk)
      #expect(open.cache?.isClosedCleanly == false && open.cache?.bindings.isEmpty == true && open.isSound)
      kept.ids = pool.disks.map(\.id)
    }
    try inspect { cache, other in
      #expect(cache.isSound && other.isSound && other.cache == nil)
      guard let cache = cache.cache else { return #expect(Bool(false), "nothing is said of the cache") }
      #expect(cache.isClosedCleanly && cache.pageByteCount == 16 << 10 && cache.pageCount > 50 && cache.slotCount > cache.pageCount)
      #expect(cache.bindings.map(\.disk).sorted() == kept.ids.sorted())
      #expect(cache.headers.map(\.state) == ["in use, or not closed", "closed in order"] && cache.headers[1].sequence == 3)
    }
  }

  /// Its superblocks cannot be read at first: whatever it is taken for meanwhile, it never becomes a disk for data.
  @Test func oneThatCannotBeReadAtFirstStaysACacheDisk() throws {
    try Course().run(with: []) { stack, pool, shadowed in
      let number = try await pool.addCacheDisk(stack.member(4)).number
      var failures = 0
      // A read is tried three times, and a look at a disk is four reads.
      for count in [3, 12, 14, 24, 36] as [UInt64] {
        pool.cache.giveUp(try #require(pool.cache.disk(number)), because: "of a test")
        try await CacheDiskPoolTests.settle(pool) { pool.cache.disks.isEmpty }
        await stack.open[4]?.close()
        stack.machine.plan.add(FaultRule(.ioError, .always, disk: 4, operations: [.read], limit: count))
        for _ in 0..<5 where pool.cache.disks.isEmpty {
          let device = try stack.member(4).device
          do throws(PoolError) { _ = try await pool.takeBack(device) } catch {
            failures += 1
            await stack.open[4]?.close()
          }
        }
        try #require(pool.cache.disks.map(\.number) == [number] && pool.disks.count == 3 && pool.isWhole)
      }
      #expect(failures > 0)
    }
  }

  /// Pulled out, and failing all writes: requests go on, nothing is degraded, and what returns is used again.
  @Test(arguments: [true, false]) func aLostOneIsGivenUpAndTakenBack(vanishes: Bool) throws {
    try Course().run(with: []) { stack, pool, shadowed in
      let number = try await pool.addCacheDisk(stack.member(4)).number
      pool.startHousekeeping()
      try await CacheDiskPoolTests.read(shadowed)
      let machine = stack.machine
      if vanishes {
        machine.disks[4].vanish()
      } else {
        machine.plan.add(FaultRule(.ioError, .always, disk: 4))
      }
      // What it fails the disks answer.
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
      try await CacheDiskPoolTests.settle(pool) { pool.cache.disks.isEmpty }
      try await CacheDiskPoolTests.read(shadowed)
      #expect(pool.cache.absentNumbers == [number] && pool.isWhole && pool.absentDiskNumbers.isEmpty)
      try await CacheDiskPoolTests.settle(pool) { pool.events.events.contains { $0.name == "cacheDiskLost" && $0.severity == .warning } }
      machine.plan.rules.removeAll()
      machine.disks[4].reappear()
      await stack.open[4]?.close()
      #expect(try await pool.takeBack(stack.member(4).device) == number)
      for _ in 0..<2 { try await CacheDiskPoolTests.read(shadowed) }
      #expect(CacheDiskPoolTests.counters(pool).hits > 0)
      try await shadowed.checkAll()
    }
  }
}
