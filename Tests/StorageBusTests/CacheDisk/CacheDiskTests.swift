import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// A cache disk that works: what it is asked for, what comes in, what it keeps over a restart.
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
    try bench.run { bench in
      try await PlantedBug.planting(isBugPlanted ? .cacheOldGenerationAccepted : nil) { try await bench.open() }
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
      try await PlantedBug.planting(.cacheRefreshedAfterAnswer) { try await bench.write(8..<16) }
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
      #expect(large.store?.counters.warm == UInt64(600 - 252))
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
}
