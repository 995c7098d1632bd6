import BlockDevice
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// How much memory the directory of a cache disk takes, and how the disk is divided by it.
@Suite struct CacheDiskMemoryTests {
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
    // More than twice as much of the disk could be used: that is worth a cold start.
    bench.options.memoryByteCount = 1 << 20
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.pageCount == 64 && bench.store?.idleByteCount == 0 && bench.store?.remarks == [])
      try await bench.close()
    }
  }

  /// A cache disk that was added had a larger part of the memory than it has with its neighbours at the next start, and stays warm.
  @Test func anotherPartOfTheMemoryDoesNotMakeItCold() throws {
    let bench = CacheDiskBench(seed: 15, slots: 64)
    bench.options.memory = DirectoryMemory(byteCount: 40 * CacheLimits.cacheDiskMemoryPerPage)
    for (slots, pages, warm) in [(40, 40, 0), (25, 40, 40), (60, 40, 40), (64, 40, 40)] {
      bench.options.memoryByteCount = slots * CacheLimits.cacheDiskMemoryPerPage
      try bench.run { bench in
        try await bench.open()
        #expect(bench.store?.pageCount == pages && bench.store?.counters.warm == UInt64(warm), "with memory for \(slots)")
        try await bench.readAll()
        try await bench.settle()
        #expect(try await bench.close())
        bench.forget()
        await bench.machine.reactor?.sleep(milliseconds: 1000)
      }
    }
    // There is not so much any more.
    bench.options.memory = DirectoryMemory(byteCount: 39 * CacheLimits.cacheDiskMemoryPerPage)
    bench.options.memoryByteCount = 30 * CacheLimits.cacheDiskMemoryPerPage
    try bench.run { bench in
      try await bench.open()
      #expect(bench.store?.pageCount == 30 && bench.store?.counters.warm == 0)
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
