import BlockDevice
import Management
import PhysicalDisk
import Pool
import Reactor
import StorageBus
import VirtualDisk
import Volume

/// A disk that this server has claimed.
final class ClaimedDisk: @unchecked Sendable {  // reactor-confined
  let path: String
  /// Its number in the pool; nil while it is none of a pool's disks.
  var number: DiskNumber?
  let port: DescriptorPort
  let physical: PhysicalDisk
  let bus: BusDevice
  /// A pool looks after it, or nobody uses it any more; see DiskClaims.watch.
  var isSettled = false

  init(path: String, port: DescriptorPort, reactor: RingReactor, cache: MemoryCache?, shares: VirtualDiskShares) {
    self.path = path
    self.port = port
    physical = PhysicalDisk(reactor: reactor, port: port)
    bus = BusDevice(disk: physical, cache: cache, shares: shares)
  }

  /// As the pool takes it. A file's partition table counts in sectors of 512 bytes, a block device's in its own.
  var member: PoolMember {
    PoolMember(device: bus, path: path, tableSectorByteCount: port.facts.kind == .file ? 512 : port.facts.ioAlignment)
  }
}

/// A virtual disk that is served, under its export name.
final class ServedVirtualDisk: Sendable {
  let disk: VirtualDisk
  let volume: Volume
  /// Of a pool that is only read: how much of its data is there.
  let data: DataReport?

  init(_ disk: VirtualDisk, data: DataReport? = nil) {
    self.disk = disk
    self.data = data
    request = IORequest(virtualDisk: disk.handle, ownerTerm: disk.ownerTerm)
    volume = Volume(disk, label: disk.label, request: request)
  }

  /// What requests carry down the stack, whoever they come from.
  let request: IORequest

  /// Connections to it, whole or by its partitions.
  var clientCount: Int { volume.clientCount + volume.partitions.clientCount }

  /// Where nothing can be written what is lost harms nothing else: it is served, and fails only there.
  var canBeServed: Bool { disk.geometry.isReadOnly || disk.hasAllData }
}

/// What is known of a disk that left an open pool.
struct AbsentDisk {
  var path: String
  /// What is wrong with it; nil when it merely was not there.
  var reason: String?
  /// Still open: what was sent to it is not over, or it is a deleted file.
  var closing: ClaimedDisk?
  /// It is not taken back before.
  var returnsAt: Instant
  /// It lost what was on it, and is not taken back at all.
  var isLost = false
}

/// An open pool with everything that is served from it.
final class ServedPool: @unchecked Sendable {  // reactor-confined
  let pool: StoragePool
  /// Those that are there.
  var disks: [ClaimedDisk]
  var absent: [DiskNumber: AbsentDisk] = [:]
  /// How often each disk was evicted since the pool was opened.
  var evictionCounts: [DiskNumber: Int] = [:]
  let witness: OpenWitness?
  /// By the name within the pool.
  var virtualDisks: [String: ServedVirtualDisk] = [:]
  /// What was given for the pool and is left alone.
  var rejected: [RejectedDisk] = []
  /// Why a disk that was away was not taken back.
  var refusals: [DiskNumber: DiskInfo.State] = [:]
  /// Of a pool that is only read: what was found at its opening, in sentences.
  var remarks: [String] = []

  init(pool: StoragePool, disks: [ClaimedDisk], witness: OpenWitness?) {
    self.pool = pool
    self.disks = disks
    self.witness = witness
    noteNumbers()
  }

  /// All that are open, also those that left.
  var claimed: [ClaimedDisk] { disks + absent.values.compactMap(\.closing) }

  /// After disks came into the pool.
  func noteNumbers() {
    for disk in disks {
      let data = pool.disks.first { $0.disk === disk.bus }?.number
      guard let number = data ?? pool.cache.disks.first(where: { $0.disk === disk.bus })?.number else { continue }
      disk.number = number
      disk.isSettled = true
    }
  }

  /// Where a disk is, or was last; its number where that is not known.
  func path(of number: DiskNumber) -> String {
    if let disk = disks.first(where: { $0.number == number }) { return disk.path }
    if let path = absent[number]?.path ?? pool.diskRecord(number)?.pathHint, !path.isEmpty { return path }
    return "disk \(number)"
  }

  /// Of all disks that the pool counts as its own, in the order of their numbers; each once, though a new disk may lie where a lost one lay.
  var knownPaths: [String] {
    var seen: Set<String> = []
    return pool.diskRecords.map { path(of: $0.number) }.filter { $0.hasPrefix("/") && seen.insert($0).inserted }
  }

  var name: String { pool.name }
  var clientCount: Int { virtualDisks.values.reduce(0) { $0 + $1.clientCount } }
  var sortedVirtualDisks: [ServedVirtualDisk] { virtualDisks.values.sorted { $0.disk.name < $1.disk.name } }
}
