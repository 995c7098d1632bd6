import BlockDevice
import PhysicalDisk
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// Many clients on few pages, over a cache disk that lies, fails, hangs, vanishes and comes back: no read shows what it must not, and none fails.
@Suite struct CacheDiskRaceTests {
  struct Course: Sendable, CustomTestStringConvertible {
    var seed: UInt64
    var slots: Int
    /// Pages of the memory cache above; 0 for none.
    var memoryPages = 0
    var pageByteCount = 4096
    var faults: [FaultRule] = []
    /// The capacity disk fails, too.
    var capacityFails = false
    /// Bindings are ended and made again.
    var rebinds = false
    /// The cache disk is given up, and comes back.
    var returns = false

    var testDescription: String { "seed \(seed)" }
  }

  static let operationCount = 40_000 * RaceLength.factor

  static let lies: [FaultRule] = [
    FaultRule(.bitFlip, .perMillion(4000), disk: 0), FaultRule(.phantomWrite, .perMillion(4000), disk: 0),
    FaultRule(.misdirectedWrite(within: 2 << 20..<(2 << 20) + 12 * 4096), .perMillion(4000), disk: 0),
    FaultRule(.ioError, .perMillion(3000), disk: 0, operations: [.read, .write]),
  ]
  static let slow: [FaultRule] = [
    FaultRule(.stall(seconds: 1...3), .perMillion(150), disk: 0, operations: [.read, .write])
  ]
  static let deadly: [FaultRule] = [
    FaultRule(.hang, .perMillion(300), disk: 0, operations: [.read, .write]), FaultRule(.diskVanishes, .perMillion(600), disk: 0),
    FaultRule(.ioError, .perMillion(40_000), disk: 0, operations: [.read, .write]),
  ]

  @Test(arguments: [
    Course(seed: 1, slots: 6), Course(seed: 2, slots: 30), Course(seed: 3, slots: 12, memoryPages: 4),
    Course(seed: 4, slots: 12, memoryPages: 3, pageByteCount: 16384), Course(seed: 5, slots: 1),
    Course(seed: 6, slots: 12, faults: lies, capacityFails: true), Course(seed: 7, slots: 12, memoryPages: 4, faults: lies),
    Course(seed: 8, slots: 12, faults: slow + lies), Course(seed: 9, slots: 24, rebinds: true),
    Course(seed: 10, slots: 24, memoryPages: 4, faults: lies, rebinds: true),
    Course(seed: 11, slots: 24, faults: deadly, returns: true),
    Course(seed: 12, slots: 24, memoryPages: 4, faults: deadly + lies + slow, capacityFails: true, rebinds: true, returns: true),
  ])
  func readsShowWhatWasThereAndNeverFail(course: Course) throws {
    let race = CacheDiskRace(course)
    try race.run(Self.operationCount)
    let counters = race.counters
    let few: UInt64 = course.slots == 1 ? 20 : 200
    #expect(counters.hits > few && counters.misses > 500 && counters.fills > few && counters.dropped > few / 2)
    #expect(course.slots >= 20 || counters.evictions > 50)
    if course.faults.isEmpty {
      #expect(counters.errors == 0 && counters.checksumErrors == 0 && counters.timeouts == 0 && race.losses.isEmpty)
    }
    if course.faults.count > 2 && !course.returns { #expect(counters.checksumErrors >= 4) }
    if course.returns { #expect(race.losses.count >= 1) }
  }
}

/// One such run.
final class CacheDiskRace: @unchecked Sendable {  // used by one thread at a time
  private let course: CacheDiskRaceTests.Course
  private let bench: CacheDiskBench
  private let reactor: SimulatedReactor
  private let capacity: RacingDisk
  private let bus: BusDevice
  private let memory: MemoryCache?
  private var store: CacheDisk?
  private var physical: PhysicalDisk?
  private(set) var losses: [CacheDiskLoss] = []
  private(set) var counters = CacheDiskCounters()
  private var isOver = false
  private var isOpening = false
  private static let id = StorageUUID(high: 7, low: 7)

  init(_ course: CacheDiskRaceTests.Course) {
    self.course = course
    let machine = SimulatedMachine(seed: course.seed)
    machine.cachePageCount = course.memoryPages
    bench = CacheDiskBench(machine: machine, slots: course.slots, pageByteCount: course.pageByteCount)
    reactor = machine.powerOn()
    reactor.stepLimit = .max
    capacity = RacingDisk(
      reactor: reactor, sectorCount: 20 * course.pageByteCount / 512 + 3, seed: course.seed, fails: course.capacityFails)
    memory = MemoryCache(reactor: reactor, admission: .all)
    bus = BusDevice(disk: capacity, cache: memory)
  }

  func run(_ operationCount: Int) throws {
    try reactor.runToCompletion { [self] in
      try await openStore()
      bench.machine.plan.rules = course.faults
      let owner = reactor.spawn { [self] in await own() }
      let clients = (0..<8).map { client in
        Task(executorPreference: reactor) { [self] in
          let client = CacheClient(bus, capacity, SeededRandom(seed: course.seed, stream: UInt64(client) + 1))
          client.mayFail = course.capacityFails
          try await client.run(operationCount / 8)
        }
      }
      for client in clients { try await client.value }
      isOver = true
      await owner.value
      // When all is quiet the caches and the disk are the same.
      let last = CacheClient(bus, capacity, SeededRandom(seed: course.seed, stream: 99))
      last.mayFail = course.capacityFails
      for _ in 0..<2 { try await last.readAll() }
      bench.machine.plan.rules = []
      bench.disk.releaseHung()
      await retire()
    }
  }

  private func openStore() async throws {
    guard let port = bench.disk.open() else { throw WrongBytes(description: "the cache disk cannot be opened") }
    let disk = PhysicalDisk(reactor: reactor, port: port)
    physical = disk
    store = nil
    // It may fail or hang while it is opened: then there is none until the next try.
    isOpening = true
    let openingEnds = reactor.now.advanced(milliseconds: 3000)
    let watcher = reactor.spawn { [reactor] in
      while self.isOpening && reactor.now < openingEnds { await reactor.sleep(milliseconds: 50) }
      if self.isOpening { disk.abandon() }
    }
    let opened = try? await CacheDisk.open(disk, range: bench.range, options: bench.options, found: []) { [self] in losses.append($0) }
    isOpening = false
    await watcher.value
    guard let opened else { return await retire() }
    store = opened
    #expect(bus.bind(opened, as: Self.id))
  }

  /// Ends the use of the cache disk as its owner does it: nothing of it may be left when it is opened again.
  private func retire() async {
    if let store {
      counters.add(store.counters)
      await store.close(nonces: [], deadline: reactor.now.advanced(milliseconds: 5000))
    }
    store = nil
    guard let physical else { return }
    physical.abandon()
    bench.disk.releaseHung()
    await physical.drained()
    await physical.close()
    self.physical = nil
  }

  /// Rebinds, and brings a lost cache disk back, while the clients go on.
  private func own() async {
    var random = SeededRandom(seed: course.seed, stream: 60)
    while !isOver {
      await reactor.sleep(milliseconds: 5 + random.below(100))
      if course.returns && (store?.isUsable != true || random.below(200) == 0) {
        await retire()
        bench.disk.reappear()
        try? await openStore()
      } else if course.rebinds && random.below(4) == 0, let store, store.isUsable {
        bus.unbind()
        if random.coin() { await reactor.sleep(milliseconds: random.below(4)) }
        if store.isUsable { #expect(bus.bind(store, as: Self.id)) }
      }
    }
  }
}
