import BlockDevice
import PhysicalDisk
import Pool
import Reactor
import Simulation
import StorageBus
import VirtualDisk

/// The real layers from the port up, over a simulated machine's disks, for one power-on.
public final class SimulatedStack: @unchecked Sendable {  // reactor-confined
  public let machine: SimulatedMachine
  public let reactor: SimulatedReactor
  public private(set) var members: [PoolMember] = []
  /// Where the pool's membership is witnessed, if anywhere.
  public let witness: Witness?
  private var disks: [Int: PhysicalDisk] = [:]
  /// The read cache, where the machine has memory for one.
  let cache: MemoryCache?

  /// Opens the disks of the machine, in the order of `indices` if given: their order must not matter. `witness`: the disk that is none of
  /// the pool's but holds its witness.
  public init(_ machine: SimulatedMachine, order indices: [Int]? = nil, witness: Int? = nil) throws {
    guard let reactor = machine.reactor else { throw Surprise("no power") }
    self.machine = machine
    self.reactor = reactor
    cache = machine.pageKeeper as? MemoryCache ?? MemoryCache(reactor: reactor, admission: .all)
    machine.pageKeeper = cache
    if let witness {
      guard let port = machine.disks[witness].open() else { throw Surprise("the witness cannot be opened") }
      let disk = PhysicalDisk(reactor: reactor, port: port)
      disks[witness] = disk
      self.witness = Witness(device: disk)
    } else {
      self.witness = nil
    }
    for index in indices ?? machine.disks.indices.filter({ $0 != witness }) { members.append(try open(index)) }
  }

  /// The same, the last disk first.
  public convenience init(_ machine: SimulatedMachine, reversed: Bool) throws {
    try self.init(machine, order: reversed ? machine.disks.indices.reversed() : nil)
  }

  /// Opens a disk that is there, and was not opened since it came, or was closed again.
  public func open(_ index: Int) throws -> PoolMember {
    guard let port = machine.disks[index].open() else { throw Surprise("\(machine.disks[index].options.name) cannot be opened") }
    let disk = PhysicalDisk(reactor: reactor, port: port)
    disks[index] = disk
    return PoolMember(device: BusDevice(disk: disk, cache: cache), path: disk.label)
  }

  public func close(_ index: Int) async { await disks.removeValue(forKey: index)?.close() }

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
    let options = OpenOptions(witness: witness)
    return try await StoragePool.create(named: "tank", on: members, layout: choice, createdSeconds: 1, reactor: reactor, options: options)
  }

  /// `evictMissing`: disks that are not there are waited for no longer.
  public func openPool(evictMissing: Bool = false) async throws(PoolError) -> StoragePool {
    try await StoragePool.open(members, reactor: reactor, options: OpenOptions(witness: witness, evictMissing: evictMissing))
  }

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
    for index in disks.keys.sorted() { await close(index) }
  }
}

/// Something is not as it must be.
public struct Surprise: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
