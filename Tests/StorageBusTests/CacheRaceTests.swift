import BlockDevice
import Foundation
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// Reads, writes, trims and evictions that overlap on few pages, judged by what each sector may show: a value from the moment the disk has it
/// until the change after it was answered.
@Suite struct CacheRaceTests {
  static let sectorByteCount = 512
  static let pageByteCount = 4096

  @Test(arguments: [(seed: UInt64(1), frames: 4, failures: false), (2, 16, false), (3, 4, true), (4, 24, true), (5, 1, false)])
  func readsShowWhatWasThere(seed: UInt64, frames: Int, failures: Bool) throws {
    var limits = SimulationLimits.buffers
    limits.pageCount = frames
    limits.pageByteCount = Self.pageByteCount
    let reactor = SimulatedReactor(seed: seed, bufferLimits: limits)
    reactor.stepLimit = .max
    let disk = RacingDisk(reactor: reactor, sectorCount: 20 * 8 + 3, seed: seed, fails: failures)
    let cache = try #require(MemoryCache(reactor: reactor, admission: .all))
    let bus = BusDevice(disk: disk, cache: cache)
    let operationCount = 100_000 * RaceLength.factor
    try reactor.runToCompletion {
      let tasks = (0..<8).map { client in
        Task(executorPreference: reactor) {
          try await CacheClient(bus, disk, SeededRandom(seed: seed, stream: UInt64(client) + 1)).run(operationCount / 8)
        }
      }
      for task in tasks { try await task.value }
      // When all is quiet the cache and the disk are the same.
      try await CacheClient(bus, disk, SeededRandom(seed: seed, stream: 99)).readAll()
    }
    let counters = cache.counters
    #expect(counters.hits > 1000 && counters.misses > 1000 && counters.refreshedBytes > 0 && counters.dropped > 0)
    #expect(frames >= 20 || cache.counters.evictions > 100)
    #expect(!failures || counters.errors > 0)
    #expect(cache.usedPageCount <= frames)
  }

  /// A page that is being sent keeps its bytes, though the page is written meanwhile; and who reads then gets the new ones.
  @Test func aPageThatIsSentIsLeftAsItIs() throws {
    var limits = SimulationLimits.buffers
    limits.pageCount = 2
    limits.pageByteCount = Self.pageByteCount
    let reactor = SimulatedReactor(seed: 1, bufferLimits: limits)
    let disk = RacingDisk(reactor: reactor, sectorCount: 64, seed: 1, fails: false)
    let cache = try #require(MemoryCache(reactor: reactor, admission: .all))
    let bus = BusDevice(disk: disk, cache: cache)
    try reactor.runToCompletion {
      let client = CacheClient(bus, disk, SeededRandom(seed: 1, stream: 1))
      try await client.write(0..<8)
      try await client.read(0..<1)
      let held = try #require(bus.readInPlace(at: 512, byteCount: 1024, IORequest()))
      let before = Array(held.bytes)
      try await client.write(0..<8)
      try await client.read(0..<8)
      #expect(Array(held.bytes) == before)
      reactor.buffers.release(held.buffer)
      // Both frames are free for others again.
      for page in 2..<6 { try await client.read(page * 8..<page * 8 + 1) }
      #expect(cache.usedPageCount == 2)
    }
  }

  /// A disk whose flush has failed may have forgotten what it was given last: the cache, which has not, is asked no more.
  @Test func nothingIsTakenFromTheCacheAfterAFailedFlush() throws {
    var limits = SimulationLimits.buffers
    limits.pageCount = 4
    limits.pageByteCount = Self.pageByteCount
    let reactor = SimulatedReactor(seed: 1, bufferLimits: limits)
    let disk = RacingDisk(reactor: reactor, sectorCount: 64, seed: 1, fails: false)
    let cache = try #require(MemoryCache(reactor: reactor, admission: .all))
    let bus = BusDevice(disk: disk, cache: cache)
    try reactor.runToCompletion {
      let client = CacheClient(bus, disk, SeededRandom(seed: 1, stream: 1))
      try await client.write(0..<8)
      try await client.read(0..<8)
      disk.forgetLast(0..<8)
      disk.flushHasFailed = true
      #expect(bus.readInPlace(at: 0, byteCount: 512, IORequest()) == nil)
      try await client.read(0..<8)
      #expect(cache.counters.hits == 0)
    }
  }

  /// When everything is being sent nothing comes in, and reads go on.
  @Test func readsGoOnWhenAllPagesAreBeingSent() throws {
    var limits = SimulationLimits.buffers
    limits.pageCount = 1
    limits.pageByteCount = Self.pageByteCount
    let reactor = SimulatedReactor(seed: 1, bufferLimits: limits)
    let disk = RacingDisk(reactor: reactor, sectorCount: 64, seed: 1, fails: false)
    let cache = try #require(MemoryCache(reactor: reactor, admission: .all))
    let bus = BusDevice(disk: disk, cache: cache)
    try reactor.runToCompletion {
      let client = CacheClient(bus, disk, SeededRandom(seed: 1, stream: 1))
      try await client.read(0..<1)
      let held = try #require(bus.readInPlace(at: 0, byteCount: 512, IORequest()))
      try await client.read(8..<9)
      #expect(bus.readInPlace(at: 4096, byteCount: 512, IORequest()) == nil)
      reactor.buffers.release(held.buffer)
      try await client.read(8..<9)
      let other = try #require(bus.readInPlace(at: 4096, byteCount: 512, IORequest()))
      reactor.buffers.release(other.buffer)
      bus.abandon()
      #expect(bus.readInPlace(at: 4096, byteCount: 512, IORequest()) == nil && cache.usedPageCount == 0)
    }
  }
}

/// `make bench` runs the races for longer (SPACEPORT_LONG_RACES=1): several million operations.
enum RaceLength {
  static let factor = ProcessInfo.processInfo.environment["SPACEPORT_LONG_RACES"] == nil ? 1 : 10
}

/// A disk of which each sector holds one number, eight times over... and that remembers since when and until when each number may be seen.
final class RacingDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  struct Version {
    var value: UInt64
    /// The step at which the disk had it.
    var since: UInt64
    /// The step at which the change after it was answered.
    var until = UInt64.max
  }

  let sectorCount: Int
  private(set) var versions: [[Version]]
  private var random: SeededRandom
  let fails: Bool
  private var lastValue: UInt64 = 0
  var flushHasFailed = false
  /// Rises with everything that happens.
  private(set) var step: UInt64 = 1

  init(reactor: any Reactor, sectorCount: Int, seed: UInt64, fails: Bool) {
    self.sectorCount = sectorCount
    self.fails = fails
    random = SeededRandom(seed: seed, stream: 50)
    versions = Array(repeating: [Version(value: 0, since: 0)], count: sectorCount)
    super.init(reactor: reactor, layerName: "Test", label: "disk")
  }

  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: UInt64(sectorCount * 512), logicalSector: 512, physicalSector: 512)
  }

  override var hasFailedFlush: Bool { flushHasFailed }

  /// The sectors hold again what they held before the last change, and only that may be seen.
  func forgetLast(_ sectors: Range<Int>) {
    for sector in sectors {
      versions[sector].removeLast()
      versions[sector][versions[sector].count - 1].until = .max
    }
  }

  func tick() -> UInt64 {
    step += 1
    return step
  }

  func newValue() -> UInt64 {
    lastValue += 1
    return lastValue
  }

  private func pause() async {
    if random.below(3) == 0 { return }
    await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds + random.below(50_000)))
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    await pause()
    if fails && random.below(40) == 0 { throw BlockError(.ioFailed) }
    for index in 0..<slice.byteCount / 512 {
      let value = versions[Int(offset) / 512 + index].last?.value ?? 0
      slice.start.storeBytes(of: value, toByteOffset: index * 512, as: UInt64.self)
    }
    await pause()
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let sectors = Int(offset) / 512..<(Int(offset) + slice.byteCount) / 512
    try await change(sectors) { (slice.start + ($0 - sectors.lowerBound) * 512).load(as: UInt64.self) }
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await change(Int(offset) / 512..<Int(offset + byteCount) / 512) { _ in 0 }
  }

  private func change(_ sectors: Range<Int>, _ value: (Int) -> UInt64) async throws(BlockError) {
    await pause()
    let failure = fails && random.below(40) == 0
    // A change that fails has happened to a part.
    for sector in sectors where !failure || random.coin() {
      versions[sector].append(Version(value: value(sector), since: tick()))
    }
    await pause()
    if failure { throw BlockError(.ioFailed) }
  }

  /// A change of these sectors was answered: what was there before it is not to be seen from here on.
  func answered(_ sectors: Range<Int>) {
    let now = tick()
    for sector in sectors {
      for index in versions[sector].indices.dropLast()
      where versions[sector][index].until == .max && versions[sector][index + 1].since <= now {
        versions[sector][index].until = now
      }
      if versions[sector].count > 40 { forget(sector) }
    }
  }

  /// When the reads that are under way began: what they may see is not forgotten, however long they take.
  var readsBegun: Set<UInt64> = []

  private func forget(_ sector: Int) {
    let oldest = readsBegun.min() ?? step
    let count = versions[sector].firstIndex { $0.until >= oldest } ?? 0
    versions[sector].removeFirst(count)
  }

  func mayBeSeen(_ value: UInt64, _ sector: Int, from begun: UInt64) -> Bool {
    versions[sector].contains { $0.value == value && $0.until >= begun }
  }
}

/// Reads and changes at random, one at a time; changes lock their sectors against other changes, as the layers above do for the data of a row.
final class CacheClient: @unchecked Sendable {  // reactor-confined
  private let bus: BusDevice
  private let disk: RacingDisk
  private var random: SeededRandom
  /// Reads are allowed to fail: the disk does.
  var mayFail: Bool

  init(_ bus: BusDevice, _ disk: RacingDisk, _ random: SeededRandom) {
    self.bus = bus
    self.disk = disk
    self.random = random
    mayFail = disk.fails
  }

  func run(_ count: Int) async throws {
    for _ in 0..<count {
      let start = random.index(below: disk.sectorCount)
      let length = random.below(8) == 0 ? 1 + random.index(below: 40) : 1 + random.index(below: 6)
      let sectors = start..<min(disk.sectorCount, start + length)
      switch random.below(10) {
      case 0...2: try await write(sectors)
      case 3: await trim(sectors)
      case 4, 5: await readInPlace(start..<min(start + 1 + random.index(below: 3), disk.sectorCount))
      default: try await read(sectors)
      }
    }
  }

  func readAll() async throws {
    for sector in 0..<disk.sectorCount { try await read(sector..<sector + 1) }
  }

  func read(_ sectors: Range<Int>) async throws {
    let begun = disk.tick()
    disk.readsBegun.insert(begun)
    defer { disk.readsBegun.remove(begun) }
    let slice = await disk.reactor.buffers.acquire(byteCount: sectors.count * 512)
    defer { disk.reactor.buffers.release(slice.buffer) }
    do throws(BlockError) { try await bus.read(at: UInt64(sectors.lowerBound * 512), into: slice, IORequest()) } catch {
      if !mayFail { Issue.record("a read of \(sectors) failed: \(error)") }
      return
    }
    check(slice, sectors, begun)
  }

  private func readInPlace(_ sectors: Range<Int>) async {
    let begun = disk.tick()
    guard let slice = bus.readInPlace(at: UInt64(sectors.lowerBound * 512), byteCount: sectors.count * 512, IORequest()) else { return }
    check(slice, sectors, begun)
    let before = Array(slice.bytes)
    await disk.reactor.sleep(until: Instant(nanoseconds: disk.reactor.now.nanoseconds + random.below(200_000)))
    if Array(slice.bytes) != before { Issue.record("a page was changed while it was sent") }
    disk.reactor.buffers.release(slice.buffer)
  }

  private func check(_ slice: BufferSlice, _ sectors: Range<Int>, _ begun: UInt64) {
    for sector in sectors {
      let value = (slice.start + (sector - sectors.lowerBound) * 512).loadUnaligned(as: UInt64.self)
      if !disk.mayBeSeen(value, sector, from: begun) {
        Issue.record("sector \(sector) showed \(value), which a read begun at \(begun) cannot see: \(disk.versions[sector].suffix(5))")
      }
    }
  }

  func write(_ sectors: Range<Int>) async throws {
    _ = disk.tick()
    let slice = await disk.reactor.buffers.acquire(byteCount: sectors.count * 512)
    defer { disk.reactor.buffers.release(slice.buffer) }
    for index in 0..<sectors.count { slice.start.storeBytes(of: disk.newValue(), toByteOffset: index * 512, as: UInt64.self) }
    do throws(BlockError) { try await bus.write(at: UInt64(sectors.lowerBound * 512), from: slice, IORequest()) } catch {}
    disk.answered(sectors)
  }

  private func trim(_ sectors: Range<Int>) async {
    _ = disk.tick()
    do throws(BlockError) {
      try await bus.discard(at: UInt64(sectors.lowerBound * 512), byteCount: UInt64(sectors.count * 512), IORequest())
    } catch {}
    disk.answered(sectors)
  }
}
