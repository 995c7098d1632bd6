import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// A cache disk that works: what it is asked for, what comes in, what it keeps over a restart.
/// One at a time, because one of them plants a bug.
@Suite(.serialized) struct CacheDiskTests {
  @Test(arguments: [4096, 8192, 16384, 65536]) func whatWasReadOnceComesFromTheCacheDisk(pageByteCount: Int) throws {
    let bench = CacheDiskBench(seed: 1, slots: 64, pageByteCount: pageByteCount)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      try await bench.readAll()
      let before = bench.capacityReads
      let whole = 331 * 512 / pageByteCount * (pageByteCount / 512)
      for sector in stride(from: 0, to: whole, by: 3) { try await bench.read(sector..<min(whole, sector + 40)) }
      #expect(bench.capacityReads == before)
      let counters = try #require(bench.store).counters
      #expect(counters.hits > 100 / UInt64(pageByteCount / 4096) && counters.fills == UInt64(331 * 512 / pageByteCount))
      #expect(counters.errors == 0 && counters.checksumErrors == 0 && counters.timeouts == 0)
      // A write goes round the cache: its pages come in again when they are read.
      try await bench.write(5..<7)
      try await bench.read(0..<16)
      try await bench.settle()
      #expect(bench.capacityReads > before)
      try await bench.trim(20..<60)
      try await bench.readAll()
      try await bench.settle()
      #expect(try await bench.close())
    }
  }

  @Test func itWorksBelowAMemoryCacheAndPromotes() throws {
    let bench = CacheDiskBench(seed: 2, slots: 64, pageByteCount: 8192)
    bench.machine.cachePageCount = 4
    try bench.run { bench in
      let memory = try #require(MemoryCache(reactor: bench.machine.reactor!, admission: .all))
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      let before = bench.capacityReads
      for _ in 0..<3 { for page in 0..<20 { try await bench.read(page * 16..<page * 16 + 3) } }
      #expect(bench.capacityReads == before)
      // It is in memory now.
      let hits = try #require(bench.store).counters.hits
      for _ in 0..<5 { try await bench.read(19 * 16..<19 * 16 + 5) }
      #expect(bench.store?.counters.hits == hits && memory.counters.hits >= 5)
      #expect(try await bench.close())
    }
  }

  /// The Windows admission without a memory cache: long runs pass by, large reads come in the second time.
  @Test func theAdmissionDecides() throws {
    let bench = CacheDiskBench(seed: 3, slots: 64)
    bench.options.admission = .windows
    try bench.run { bench in
      try await bench.open()
      try await bench.read(0..<200)
      try await bench.settle()
      #expect(bench.store?.counters.fills == 0)
      try await bench.read(8..<208)
      try await bench.settle()
      #expect(bench.store?.counters.fills == 24)
      try await bench.read(300..<303)
      try await bench.settle()
      #expect(bench.store?.counters.fills == 25)
      // What became of the misses is told by virtual disk, too.
      let counters = try #require(bench.store).counters
      let own = bench.store?.counters(of: IORequest().virtualDisk)
      #expect(counters.bypassedLargeBytes > 0 && own?.bypassedLargeBytes == counters.bypassedLargeBytes)
      #expect(own?.admittedBytes == counters.admittedBytes && own?.missBytes == counters.missBytes)
      #expect(try await bench.close())
    }
  }

  // MARK: Warm start

  @Test func itIsWarmAfterACleanRestart() throws {
    let bench = CacheDiskBench(seed: 4, slots: 100, capacityDisks: 2)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      for index in 0..<2 { try await bench.write(17..<30, of: index) }
      #expect(try await bench.close())
    }
    for round in 0..<3 {
      try bench.run { bench in
        try await bench.open()
        let warm = try #require(bench.store).counters.warm
        #expect(round == 0 ? warm == 2 * (41 - 2) : warm == 2 * 41)
        try await bench.read(40..<60)
        #expect(bench.capacityReads == 0)
        try await bench.readAll()
        try await bench.settle()
        #expect(try await bench.close())
      }
    }
  }

  /// Written elsewhere, with another opening in between: the nonce says so.
  @Test func anotherNonceIsCold() throws {
    let bench = CacheDiskBench(seed: 5, slots: 100, capacityDisks: 2)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      #expect(try await bench.close())
    }
    bench.contents[1].nonce += 1
    bench.contents[1].sectors[20] = 7
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.counters.warm == 41)
      try await bench.readAll()
      #expect(bench.capacity[0].readCount == 2, "only its last, incomplete page")
      #expect(bench.capacity[1].readCount >= 41)
      try await bench.close()
    }
  }

  /// A disk image from the past, or a clone of it: whole in itself, closed cleanly, and wrong.
  @Test(arguments: [false, true]) func aCacheDiskFromAnotherTimeIsCold(isBugPlanted: Bool) throws {
    guard PlantedBug.canBePlanted || !isBugPlanted else { return }
    let bench = CacheDiskBench(seed: 6, slots: 100)
    func session(writing: Bool) throws {
      try bench.run { bench in
        try await bench.open()
        if writing { try await bench.write(10..<100) }
        try await bench.readAll()
        try await bench.settle()
        #expect(try await bench.close())
      }
    }
    try session(writing: false)
    let past = bench.disk.save()
    try session(writing: true)
    bench.disk.restore(past)
    // Read from a store of its own, so that the planted bug is in nobody else's way: what it takes over says enough.
    try bench.run { bench in
      if isBugPlanted { PlantedBug.plant(.cacheOldGenerationAccepted) }
      defer { PlantedBug.plant(nil) }
      try await bench.open()
      #expect(bench.store?.counters.warm == (isBugPlanted ? 41 : 0))
      if isBugPlanted {
        await #expect(throws: WrongBytes.self) { try await bench.readAll() }
      } else {
        try await bench.readAll()
      }
      try await bench.close()
    }
  }

  /// A bug that drops the pages after the answer is seen.
  @Test func pagesThatAreDroppedAfterTheAnswerAreSeen() throws {
    guard PlantedBug.canBePlanted else { return }
    let bench = CacheDiskBench(seed: 12, slots: 100)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      try await bench.write(0..<8)
      try await bench.read(0..<8)
      PlantedBug.plant(.cacheRefreshedAfterAnswer)
      defer { PlantedBug.plant(nil) }
      try await bench.write(8..<16)
      await #expect(throws: WrongBytes.self) { try await bench.read(8..<16) }
      try await bench.close()
    }
  }

  @Test func aCacheDiskTellsOfItself() throws {
    let bench = CacheDiskBench(seed: 13, slots: 100)
    try bench.run { bench in
      try await bench.open()
      let device = try #require(bench.physical)
      #expect(try await CacheDisk.inspect(device, range: bench.range)?.isClean == false)
      try await bench.readAll()
      try await bench.settle()
      let store = try #require(bench.store)
      #expect(await store.close(nonces: bench.contents.map(\.found)))
      let places = [(0, 2, false), (64 << 10, 3, true)].map { CacheDiskSummary.Place(offset: $0, generation: $1, isClean: $2) }
      let summary = CacheDiskSummary(
        places: places, pool: bench.options.pool, id: bench.options.id, isClean: true, pageByteCount: 4096, slotCount: 100, pageCount: 41,
        disks: bench.contents.map(\.found))
      #expect(try await CacheDisk.inspect(device, range: bench.range) == summary)
      #expect(try await CacheDisk.inspect(device, range: 4096..<bench.range.upperBound) == nil)
      await device.close()
    }
  }

  @Test func anotherPoolsOrAnothersCacheDiskIsCold() throws {
    for change in 0..<3 {
      let bench = CacheDiskBench(seed: 7, slots: 100)
      try bench.run { bench in
        try await bench.open()
        try await bench.readAll()
        try await bench.settle()
        #expect(try await bench.close())
      }
      switch change {
      case 0: bench.options.pool.low += 1
      case 1: bench.options.id.low += 1
      default: bench.options.pageByteCount = 8192
      }
      try bench.run { bench in
        try await bench.open()
        #expect(bench.store?.counters.warm == 0)
        try await bench.readAll()
        #expect(try await bench.close())
      }
    }
  }

  @Test func aDamagedIndexBlockCostsItsPagesOnly() throws {
    let bench = CacheDiskBench(seed: 8, slots: 600, pageByteCount: 4096)
    bench.machine.plan.isArmed = true
    let large = CacheDiskBench(machine: bench.machine, slots: 600, sectorCount: 600 * 8, number: 2)
    try large.run { large in
      try await large.open()
      for page in 0..<600 { try await large.read(page * 8..<page * 8 + 8) }
      try await large.settle()
      #expect(large.store?.counters.fills == 600)
      #expect(try await large.close())
    }
    var bytes = large.disk.peek(at: large.range.lowerBound + CacheDiskFormat.indexOffset + 4096, byteCount: 512)
    bytes[100] ^= 4
    large.disk.poke(at: large.range.lowerBound + CacheDiskFormat.indexOffset + 4096, bytes)
    try large.run { large in
      try await large.open()
      #expect(large.store?.counters.warm == 600 - 252)
      try await large.readAll()
      try await large.settle()
      #expect(try await large.close())
    }
    // One that cannot be read.
    let block = large.range.lowerBound + CacheDiskFormat.indexOffset
    large.machine.plan.add(FaultRule(.ioError, .always, disk: large.disk.index, operations: [.read], range: block..<block + 512))
    try large.run { large in
      try await large.open()
      #expect(large.store?.counters.warm == 0, "all blocks are read in one piece")
      try await large.readAll()
      try await large.close()
    }
  }

  /// Pages that decayed while nobody looked.
  @Test func aDamagedPageIsDroppedAndRead() throws {
    let bench = CacheDiskBench(seed: 9, slots: 100)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      #expect(try await bench.close())
    }
    let pages = bench.range.lowerBound + (1 << 20)
    for page in 0..<5 { bench.disk.poke(at: pages + UInt64(page * 4096 + 512), [UInt8](repeating: 9, count: 512)) }
    // Two that changed places.
    let (sixth, seventh) = (bench.disk.peek(at: pages + 6 * 4096, byteCount: 4096), bench.disk.peek(at: pages + 7 * 4096, byteCount: 4096))
    bench.disk.poke(at: pages + 6 * 4096, seventh)
    bench.disk.poke(at: pages + 7 * 4096, sixth)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      #expect(bench.store?.counters.checksumErrors == 7 && bench.store?.isUsable == true)
      try await bench.settle()
      try await bench.readAll()
      #expect(bench.store?.counters.checksumErrors == 7)
      #expect(try await bench.close())
    }
  }

  /// A disk that cannot flush may have lost what the cache still has: it is not taken over.
  @Test func aCapacityDiskWithAFailedFlushIsColdAfterwards() throws {
    let bench = CacheDiskBench(seed: 10, slots: 100, capacityDisks: 2)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      bench.capacity[0].flushFails = true
      #expect(try await bench.close())
    }
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.counters.warm == 41)
      try await bench.close()
    }
  }

  @Test func aDiskThatWasChangedBeforeItWasBoundIsCold() throws {
    let bench = CacheDiskBench(seed: 11, slots: 100)
    try bench.run { bench in
      try await bench.open()
      try await bench.readAll()
      try await bench.settle()
      bench.buses[0].unbind()
      try await bench.write(0..<20)
      bench.bind()
      try await bench.readAll()
      try await bench.settle()
      #expect(try await bench.close())
    }
    try bench.run { bench in
      try await bench.open()
      // Again, before it is bound.
      bench.buses[0].unbind()
      try await bench.write(0..<20)
      try await bench.readAll()
      try await bench.close()
    }
  }

  /// Nothing is written to the capacity disks before the clean mark is gone: at every crash point of opening, work and closing, what is found
  /// afterwards is right.
  @Test(arguments: [UInt64(1), 2]) func aCrashAnywhereLeavesNothingWrong(seed: UInt64) throws {
    let report = try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(variantsPerPoint: 2, secondCrashEvery: 5),
      prepare: { CacheDiskBench(machine: $0, slots: 12, sectorCount: 163) },
      workload: { _, bench in
        var random = SeededRandom(seed: seed, stream: 77)
        for _ in 0..<2 {
          try await bench.open()
          try await bench.readAll()
          for _ in 0..<6 {
            let start = random.index(below: 150)
            if random.coin() { try await bench.write(start..<start + 5) } else { try await bench.read(start..<start + 10) }
          }
          try await bench.settle()
          try await bench.close()
        }
      },
      verify: { _, bench in
        for _ in 0..<2 {
          try await bench.open()
          try await bench.readAll()
          try await bench.write(3..<40)
          try await bench.readAll()
          try await bench.close()
        }
      })
    #expect(report.pointCount > 20)
  }

  // MARK: Memory

  @Test func aDiskWithMorePagesThanMayBeKnownIsUsedInPart() throws {
    let bench = CacheDiskBench(seed: 13, slots: 64)
    let memory = DirectoryMemory(byteCount: 1 << 20)
    bench.options.memory = memory
    bench.options.memoryByteCount = 10 * CacheLimits.cacheDiskMemoryPerPage
    for round in 0..<2 {
      try bench.run { bench in
        try await bench.open()
        #expect(memory.usedByteCount == 10 * CacheLimits.cacheDiskMemoryPerPage)
        #expect(bench.store?.pageCount == 10 && bench.store?.idleByteCount == 54 * 4096 && bench.store?.remarks.count == 1)
        #expect((bench.store?.counters.warm == 10) == (round > 0))
        try await bench.readAll()
        try await bench.settle()
        #expect(try await bench.close())
        bench.forget()
        await bench.machine.reactor?.sleep(milliseconds: 1000)  // its workers end
        #expect(memory.usedByteCount == 0)
      }
    }
    bench.options.memoryByteCount = CacheLimits.cacheDiskMemoryPerPage - 1
    try bench.run { bench in await #expect(throws: BlockError(.noMemory)) { try await bench.open() } }
    bench.options.memoryByteCount = 1 << 20
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.pageCount == 64 && bench.store?.idleByteCount == 0 && bench.store?.remarks == [])
      try await bench.close()
    }
  }

  @Test func memoryIsSharedOut() {
    let limit = CacheLimits.cacheDiskMemoryByteCount
    #expect(DirectoryMemory(machineByteCount: 64 << 30).part(ofCount: 2) == limit)
    let memory = DirectoryMemory(machineByteCount: 2 << 30)
    #expect(memory.byteCount == 512 << 20 && memory.part(ofCount: 3) == 128 << 20)
    for _ in 0..<3 { memory.take(128 << 20) }
    // One more, whenever it comes; and a disk that left and returns finds what it had.
    #expect(memory.part(ofCount: 1) == 64 << 20)
    memory.giveBack(128 << 20)
    #expect(memory.part(ofCount: 1) == 128 << 20)
    memory.take(600 << 20)
    #expect(memory.part(ofCount: 1) == 0)
  }

  /// Taking over a large index does not hold up whoever else lives on the reactor.
  @Test func othersHaveTheirTurnWhileAnIndexIsTakenOver() throws {
    func stepsOfOpening(blocks: Int) throws -> UInt64 {
      let bench = CacheDiskBench(seed: 14, slots: blocks * CacheDiskFormat.slotsPerBlock)
      nonisolated(unsafe) var steps: UInt64 = 0
      for _ in 0..<2 {
        try bench.run { bench in
          let before = bench.machine.reactor?.stepCount ?? 0
          try await bench.open()
          steps = (bench.machine.reactor?.stepCount ?? 0) - before
          try await bench.readAll()
          try await bench.settle()
          #expect(try await bench.close())
        }
      }
      return steps
    }
    let (few, many) = (try stepsOfOpening(blocks: 1), try stepsOfOpening(blocks: 1000))
    #expect(many - few > UInt64(1000 / CacheLimits.cacheDiskBlocksPerTurn), "\(few) and \(many) turns")
  }

  @Test func theLayoutFitsAndIsAlignedAndItsMemoryIsBounded() throws {
    let byteCounts: [UInt64] = [1 << 20, (1 << 20) + 4096, 3 << 20, 100 << 30, 4 << 40, (1 << 40) + 12288]
    for byteCount in byteCounts {
      for pageByteCount in CacheLimits.pageByteCounts {
        guard let layout = CacheDiskLayout(byteCount: byteCount, pageByteCount: pageByteCount, mostSlots: .max) else {
          #expect(byteCount < (1 << 20) + UInt64(pageByteCount))
          continue
        }
        #expect(layout.offset(of: layout.slotCount) <= byteCount && layout.pagesOffset % (1 << 20) == 0)
        #expect(CacheDiskFormat.indexOffset + UInt64(layout.blockCount * 4096) <= layout.pagesOffset)
        #expect(layout.slotCount == CacheLimits.frames || byteCount - layout.offset(of: layout.slotCount) < (3 << 20))
      }
    }
    var options = CacheDiskOptions(pool: CacheDiskBench.pool, id: CacheDiskBench.pool)
    #expect(options.layout(byteCount: 50 << 30)?.pageByteCount == 16 << 10)
    #expect(options.layout(byteCount: 150 << 30)?.pageByteCount == 32 << 10)
    let large = try #require(options.layout(byteCount: 2 << 40))
    #expect(large.pageByteCount == 64 << 10 && large.slotCount * CacheLimits.cacheDiskMemoryPerPage <= 1 << 30)
    options.memoryByteCount = 8 << 30
    #expect(options.layout(byteCount: 2 << 40).map { $0.offset(of: $0.slotCount) > (2 << 40) - (4 << 20) } == true)
    #expect(StorageUUID(high: 0x0123_4567_89ab_cdef, low: 0x0011_2233_4455_6677).description == "01234567-89ab-cdef-0011-223344556677")
  }
}

@Suite struct CacheBindingTests {
  @Test func bindingsAreDealtRoundRobinAndKept() {
    #expect(CacheBindings.deal(capacityDisks: [1, 2, 3], cacheDisks: [], present: [:]) == [:])
    let dealt = CacheBindings.deal(capacityDisks: [1, 2, 3, 4, 5], cacheDisks: [10, 11], present: [:])
    #expect(dealt == [1: 10, 2: 11, 3: 10, 4: 11, 5: 10])
    #expect(CacheBindings.deal(capacityDisks: [5, 4, 3, 2, 1], cacheDisks: [11, 10], present: dealt) == dealt)
    // A cache disk goes, and comes back.
    let one = CacheBindings.deal(capacityDisks: [1, 2, 3, 4, 5], cacheDisks: [11], present: dealt)
    #expect(one == [1: 11, 2: 11, 3: 11, 4: 11, 5: 11])
    let again = CacheBindings.deal(capacityDisks: [1, 2, 3, 4, 5], cacheDisks: [10, 11], present: one)
    #expect(again == [1: 11, 2: 11, 3: 11, 4: 10, 5: 10])
  }

  @Test func anyDealIsBalancedAndMovesAsFewAsItMust() {
    var random = SeededRandom(seed: 1)
    var present: [Int: Int] = [:]
    for _ in 0..<2000 {
      let disks = Array(0..<1 + random.index(below: 20)).shuffled(using: &random)
      let caches = Array(100..<101 + random.index(below: 5)).shuffled(using: &random)
      let dealt = CacheBindings.deal(capacityDisks: disks, cacheDisks: caches, present: present)
      #expect(Set(dealt.keys) == Set(disks))
      let counts = caches.map { cache in dealt.values.count { $0 == cache } }
      #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 1)
      // No cache disk below its share has lost one.
      let largest = counts.max() ?? 0
      for disk in disks {
        guard let cache = present[disk], caches.contains(cache), dealt[disk] != cache else { continue }
        #expect(dealt.values.count { $0 == cache } >= largest - 1 && dealt.values.count { $0 == cache } > 0)
      }
      present = dealt
    }
  }
}
