import BlockDevice
import PhysicalDisk
import Reactor
import Simulation
import Testing

@testable import StorageBus

/// What capacity disks hold, over power cuts: one number for each sector, durable at once. So whatever a cache knows better is wrong.
final class CapacityContent: @unchecked Sendable {  // used by one thread at a time
  let id: StorageUUID
  var sectors: [UInt64]
  /// Changed by every writable opening.
  var nonce: UInt64
  private var lastValue: UInt64 = 0

  init(_ number: UInt64, sectorCount: Int) {
    id = StorageUUID(high: 0xCA9A_C177, low: number)
    nonce = 1000 * number
    sectors = (0..<UInt64(sectorCount)).map { number << 48 | $0 }
  }

  func newValue() -> UInt64 {
    lastValue += 1
    return 1 << 62 | lastValue
  }

  var found: CapacityDiskNonce { CapacityDiskNonce(id: id, nonce: nonce) }
}

/// A capacity disk for one power-on.
final class CapacityDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  let content: CapacityContent
  private(set) var readCount = 0
  var flushFails = false
  var flushHasFailed = false
  /// Nanoseconds that each operation takes.
  var latency: UInt64 = 100_000
  var flushLatency: UInt64 = 0

  init(_ content: CapacityContent, reactor: any Reactor) {
    self.content = content
    super.init(reactor: reactor, layerName: "Test", label: "capacity")
  }

  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: UInt64(content.sectors.count * 512), logicalSector: 512, physicalSector: 512)
  }

  override var hasFailedFlush: Bool { flushHasFailed }

  private func pause() async { await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds + latency)) }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    readCount += 1
    await pause()
    for index in 0..<slice.byteCount / 512 {
      let value = content.sectors[Int(offset) / 512 + index]
      for word in 0..<64 { slice.start.storeBytes(of: value &+ UInt64(word), toByteOffset: index * 512 + word * 8, as: UInt64.self) }
    }
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    await pause()
    for index in 0..<slice.byteCount / 512 {
      content.sectors[Int(offset) / 512 + index] = (slice.start + index * 512).load(as: UInt64.self)
    }
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    await pause()
    for sector in Int(offset) / 512..<Int(offset + byteCount) / 512 { content.sectors[sector] = 0 }
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    if flushFails {
      flushHasFailed = true
      throw BlockError(.ioFailed)
    }
    if flushLatency > 0 { await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds + flushLatency)) }
    return FlushToken(number: 1)
  }
}

/// A read showed something else than was written last.
struct WrongBytes: Error, CustomStringConvertible {
  let description: String
}

/// A machine with a cache disk, and the capacity disks that it serves.
final class CacheDiskBench: @unchecked Sendable {  // used by one thread at a time
  let machine: SimulatedMachine
  let disk: SimulatedDisk
  let contents: [CapacityContent]
  var options: CacheDiskOptions
  let range: Range<UInt64>
  static let pool = StorageUUID(high: 0x1001, low: 1)

  private(set) var physical: PhysicalDisk?
  /// What lies between the cache and its disk.
  var layersOverCacheDisk: (PhysicalDisk) -> BlockDevice = { $0 }
  private(set) var store: CacheDisk?
  private(set) var capacity: [CapacityDisk] = []
  private(set) var buses: [BusDevice] = []
  private(set) var losses: [CacheDiskLoss] = []

  init(
    machine: SimulatedMachine, slots: Int = 24, pageByteCount: Int = 4096, capacityDisks: Int = 1, sectorCount: Int = 331,
    number: UInt64 = 1
  ) {
    self.machine = machine
    let byteCount = UInt64(1 << 20) + UInt64(slots * pageByteCount)
    range = 1 << 20..<(1 << 20) + byteCount
    disk = machine.addDisk(.blockDevice("cache \(number)", byteCount: range.upperBound + (1 << 20)))
    contents = (1...UInt64(capacityDisks)).map { CapacityContent($0, sectorCount: sectorCount) }
    options = CacheDiskOptions(pool: CacheDiskBench.pool, id: StorageUUID(high: 0xCACE, low: number))
    options.pageByteCount = pageByteCount
    options.admission = .all
  }

  convenience init(seed: UInt64, slots: Int = 24, pageByteCount: Int = 4096, capacityDisks: Int = 1) {
    self.init(
      machine: SimulatedMachine(seed: seed), slots: slots, pageByteCount: pageByteCount, capacityDisks: capacityDisks)
  }

  /// As the pool does it: find the nonces, open the cache, change the nonces, bind.
  func open() async throws {
    let reactor = try #require(machine.reactor)
    let memory = reactor.buffers.pageKeeper as? MemoryCache
    guard let port = disk.open() else { throw WrongBytes(description: "the cache disk cannot be opened") }
    physical = PhysicalDisk(reactor: reactor, port: port)
    capacity = contents.map { CapacityDisk($0, reactor: reactor) }
    buses = capacity.map { BusDevice(disk: $0, cache: memory) }
    try await openStore(found: contents.map(\.found))
    for content in contents { content.nonce = reactor.random() }
    bind()
  }

  func openStore(found: [CapacityDiskNonce]) async throws {
    let device = layersOverCacheDisk(try #require(physical))
    store = try await CacheDisk.open(device, range: range, options: options, found: found) { [self] in losses.append($0) }
  }

  func bind() {
    guard let store else { return }
    for (bus, content) in zip(buses, contents) { #expect(bus.bind(store, as: content.id)) }
  }

  /// What would hold on to the cache otherwise.
  func forget() {
    store = nil
    buses = []
  }

  @discardableResult
  func close() async throws -> Bool {
    let isClean = try await #require(store).close(nonces: contents.map(\.found))
    await physical?.close()
    return isClean
  }

  /// Opens the disk anew after it was given up.
  func reopen() async throws {
    guard let reactor = machine.reactor, let port = disk.open() else { throw WrongBytes(description: "the cache disk cannot be opened") }
    physical = PhysicalDisk(reactor: reactor, port: port)
    try await openStore(found: contents.map(\.found))
    bind()
  }

  // MARK: Work

  /// Reads sectors and compares.
  func read(_ sectors: Range<Int>, of index: Int = 0) async throws {
    let reactor = buses[index].reactor
    let slice = await reactor.buffers.acquire(byteCount: sectors.count * 512)
    defer { reactor.buffers.release(slice.buffer) }
    try await buses[index].read(at: UInt64(sectors.lowerBound * 512), into: slice, IORequest())
    for sector in sectors {
      let start = slice.start + (sector - sectors.lowerBound) * 512
      let expected = contents[index].sectors[sector]
      for word in [0, 31, 63] {
        let value = (start + word * 8).load(as: UInt64.self)
        if value != expected &+ UInt64(word) {
          throw WrongBytes(description: "sector \(sector) of disk \(index), word \(word): \(value), not \(expected &+ UInt64(word))")
        }
      }
    }
  }

  func write(_ sectors: Range<Int>, of index: Int = 0) async throws {
    let reactor = buses[index].reactor
    let slice = await reactor.buffers.acquire(byteCount: sectors.count * 512)
    defer { reactor.buffers.release(slice.buffer) }
    for number in 0..<sectors.count {
      slice.start.storeBytes(of: contents[index].newValue(), toByteOffset: number * 512, as: UInt64.self)
    }
    try await buses[index].write(at: UInt64(sectors.lowerBound * 512), from: slice, IORequest())
  }

  func trim(_ sectors: Range<Int>, of index: Int = 0) async throws {
    try await buses[index].discard(at: UInt64(sectors.lowerBound * 512), byteCount: UInt64(sectors.count * 512), IORequest())
  }

  /// Everything, page by page, and as one long read.
  func readAll() async throws {
    for index in contents.indices {
      let count = contents[index].sectors.count
      for start in stride(from: 0, to: count, by: 8) { try await read(start..<min(count, start + 8), of: index) }
      try await read(0..<count, of: index)
    }
  }

  /// Until the fills that are under way have ended.
  func settle() async throws {
    let store = try #require(store)
    while store.inFlight > 0 { await store.reactor.sleep(milliseconds: 1) }
  }

  var capacityReads: Int { capacity.reduce(0) { $0 + $1.readCount } }

  /// One power-on.
  func run(_ body: @escaping @Sendable (CacheDiskBench) async throws -> Void) throws {
    let reactor = machine.powerOn()
    reactor.stepLimit = .max
    try reactor.runToCompletion { try await body(self) }
  }
}
