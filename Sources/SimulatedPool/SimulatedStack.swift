import BlockDevice
import PhysicalDisk
import Pool
import Reactor
import Simulation
import StorageBus
import VirtualDisk

/// The real layers from the port up, over a simulated machine's disks, for one power-on.
public struct SimulatedStack: Sendable {
  public let machine: SimulatedMachine
  public let reactor: SimulatedReactor
  public let members: [PoolMember]
  private let disks: [PhysicalDisk]

  /// Opens the disks of the machine, in the order of `indices` if given: their order must not matter.
  public init(_ machine: SimulatedMachine, order indices: [Int]? = nil) throws {
    guard let reactor = machine.reactor else { throw Surprise("no power") }
    self.machine = machine
    self.reactor = reactor
    var disks: [PhysicalDisk] = []
    for index in indices ?? Array(machine.disks.indices) {
      let disk = machine.disks[index]
      guard let port = disk.open() else { throw Surprise("\(disk.options.name) cannot be opened") }
      disks.append(PhysicalDisk(reactor: reactor, port: port))
    }
    self.disks = disks
    members = disks.map { PoolMember(device: BusDevice(disk: $0), path: $0.label) }
  }

  /// The same, the last disk first.
  public init(_ machine: SimulatedMachine, reversed: Bool) throws {
    try self.init(machine, order: reversed ? machine.disks.indices.reversed() : nil)
  }

  // MARK: The pool

  /// How the disks of a pool with little metadata are laid out: quick to open, and the journal comes round often.
  public static func layout(
    diskByteCounts: [UInt64], slabByteCount: UInt64, metadataByteCount: UInt64 = 2 << 20, journalByteCount: UInt64 = 64 << 10
  ) throws -> LayoutChoice {
    // The smallest size is for the metadata of real pools.
    let sizes = diskByteCounts.map { max($0, LayoutLimits.diskSmallest) }
    var layout = try LayoutChoice(diskByteCounts: sizes, slabByteCount: slabByteCount)
    layout.metadataByteCount = metadataByteCount
    layout.journalByteCount = journalByteCount
    return layout
  }

  public func createPool(slabByteCount: UInt64 = 1 << 20, layout: LayoutChoice? = nil) async throws -> StoragePool {
    let sizes = members.map(\.device.geometry.byteCount)
    let choice = try layout ?? SimulatedStack.layout(diskByteCounts: sizes, slabByteCount: slabByteCount)
    return try await StoragePool.create(named: "tank", on: members, layout: choice, createdSeconds: 1, reactor: reactor)
  }

  public func openPool() async throws -> StoragePool { try await StoragePool.open(members, reactor: reactor) }

  /// All virtual disks of the pool; what was being made or deleted is removed, as the server does it.
  public func openVirtualDisks(_ pool: StoragePool) async throws -> [String: VirtualDisk] {
    var open: [String: VirtualDisk] = [:]
    for (index, record) in try pool.virtualDiskRecords().enumerated() {
      let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: UInt32(100 + index)))
      if record.state == .active { open[record.name] = disk } else { try await disk.delete() }
    }
    return open
  }

  public func close(_ pool: StoragePool, _ virtualDisks: [VirtualDisk]) async throws {
    for disk in virtualDisks { try await disk.close() }
    try await pool.close()
    for disk in disks { await disk.close() }
  }
}

/// Something is not as it must be.
public struct Surprise: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
