import BlockDevice
import PhysicalDisk
import Pool
import Reactor
import Simulation
import StorageBus

@testable import VirtualDisk

/// The real layers from the port up, over a simulated machine's disks.
struct SimulatedStack {
  let machine: SimulatedMachine
  let reactor: SimulatedReactor
  let members: [PoolMember]
  private let disks: [PhysicalDisk]

  /// Opens all disks of the machine, the last first if `reversed`: their order must not matter.
  init(_ machine: SimulatedMachine, reversed: Bool = false) throws {
    guard let reactor = machine.reactor else { throw Surprise("no power") }
    self.machine = machine
    self.reactor = reactor
    var disks: [PhysicalDisk] = []
    for disk in reversed ? machine.disks.reversed() : machine.disks {
      guard let port = disk.open() else { throw Surprise("\(disk.options.name) cannot be opened") }
      disks.append(PhysicalDisk(reactor: reactor, port: port))
    }
    self.disks = disks
    members = disks.map { PoolMember(device: BusDevice(disk: $0), path: $0.label) }
  }

  /// With little metadata: quick to open, and the journal comes round often.
  func createPool(slabByteCount: UInt64 = 1 << 20) async throws -> StoragePool {
    var layout = try LayoutChoice(diskByteCounts: members.map(\.device.geometry.byteCount), slabByteCount: slabByteCount)
    layout.metadataByteCount = 2 << 20
    layout.journalByteCount = 64 << 10
    return try await StoragePool.create(named: "tank", on: members, layout: layout, createdSeconds: 1, reactor: reactor)
  }

  func openPool() async throws -> StoragePool { try await StoragePool.open(members, reactor: reactor) }

  /// All virtual disks of the pool; what was being made or deleted is removed, as the server does it.
  func openVirtualDisks(_ pool: StoragePool) async throws -> [String: VirtualDisk] {
    var open: [String: VirtualDisk] = [:]
    for (index, record) in try pool.virtualDiskRecords().enumerated() {
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: UInt32(100 + index)))
      if record.state == .active { open[record.name] = disk } else { try await disk.delete() }
    }
    return open
  }

  func close(_ pool: StoragePool, _ virtualDisks: [VirtualDisk]) async throws {
    for disk in virtualDisks { try await disk.close() }
    try await pool.close()
    for disk in disks { await disk.close() }
  }
}

/// A virtual disk and the model of what it may hold. Everything done goes to both.
struct ShadowedDisk {
  let disk: VirtualDisk
  let shadow: ShadowDisk
  var sector: UInt64 { UInt64(shadow.sectorByteCount) }

  func write(_ sectors: Range<UInt64>, durable: Bool = false) async throws {
    let buffers = disk.reactor.buffers
    let slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
    defer { buffers.release(slice.buffer) }
    let fill = shadow.newFill()
    fill.write(to: slice.bytes, firstSector: sectors.lowerBound, sectorByteCount: shadow.sectorByteCount)
    let write = shadow.writeBegan(sectors, fill)
    do {
      try await disk.write(at: sectors.lowerBound * sector, from: slice, IORequest(flags: durable ? .forceUnitAccess : []))
    } catch {
      shadow.writeFailed(write)
      throw error
    }
    shadow.writeAnswered(write, isDurable: durable)
  }

  func trim(_ sectors: Range<UInt64>, zeroes: Bool = false, flags: IOFlags = []) async throws {
    let write = shadow.writeBegan(sectors, .zeros)
    let (offset, byteCount) = (sectors.lowerBound * sector, UInt64(sectors.count) * sector)
    do {
      if zeroes {
        try await disk.writeZeroes(at: offset, byteCount: byteCount, IORequest(flags: flags))
      } else {
        try await disk.discard(at: offset, byteCount: byteCount, IORequest(flags: flags))
      }
    } catch {
      shadow.writeFailed(write)
      throw error
    }
    shadow.writeAnswered(write, isDurable: flags.contains(.forceUnitAccess))
  }

  func flush() async throws {
    let moment = shadow.flushBegan()
    try await disk.flush(IORequest())
    shadow.flushAnswered(moment)
  }

  /// Reads the range and checks every sector. As the NBD server does: a buffer that a hung request keeps is left to it.
  func check(_ sectors: Range<UInt64>) async throws {
    let buffers = disk.reactor.buffers
    var slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
    defer { buffers.release(slice.buffer) }
    let moment = shadow.readBegan()
    for attempt in 1... {
      do throws(BlockError) {
        try await disk.read(at: sectors.lowerBound * sector, into: slice, IORequest())
        break
      } catch {
        guard error.cause == .stalled, attempt <= 3 else { throw error }
        buffers.release(slice.buffer)
        slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
      }
    }
    try shadow.check(UnsafeRawBufferPointer(slice.bytes), firstSector: sectors.lowerBound, since: moment)
  }

  func checkAll() async throws {
    var position: UInt64 = 0
    while position < shadow.sectorCount {
      let end = min(shadow.sectorCount, position + 256)
      try await check(position..<end)
      position = end
    }
  }
}

struct Surprise: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
