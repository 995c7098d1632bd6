import BlockDevice
import NBDServer
import PhysicalDisk
import Pool
import Reactor
import StorageBus
import VirtualDisk
import Volume

/// A disk that this server has claimed.
final class ClaimedDisk: Sendable {
  let path: String
  let port: DescriptorPort
  let physical: PhysicalDisk
  let bus: BusDevice

  init(path: String, port: DescriptorPort, reactor: RingReactor) {
    self.path = path
    self.port = port
    physical = PhysicalDisk(reactor: reactor, port: port)
    bus = BusDevice(disk: physical)
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

  init(_ disk: VirtualDisk) {
    self.disk = disk
    volume = Volume(disk, label: disk.label)
  }
}

/// An open pool with everything that is served from it.
final class ServedPool: @unchecked Sendable {  // reactor-confined
  let pool: StoragePool
  let disks: [ClaimedDisk]
  /// By the name within the pool.
  var virtualDisks: [String: ServedVirtualDisk] = [:]

  init(pool: StoragePool, disks: [ClaimedDisk]) {
    self.pool = pool
    self.disks = disks
  }

  var name: String { pool.name }
  var clientCount: Int { virtualDisks.values.reduce(0) { $0 + $1.volume.clientCount } }
  var sortedVirtualDisks: [ServedVirtualDisk] { virtualDisks.values.sorted { $0.disk.name < $1.disk.name } }
}

/// A virtual disk as one NBD client has it open.
final class OpenExport: Export {
  let name: String
  let description: String
  let isReadOnly = false
  let requestTemplate: IORequest
  private let volume: Volume

  init(_ served: ServedVirtualDisk) {
    name = served.volume.label
    description = "spaceport virtual disk \(served.volume.label)"
    volume = served.volume
    requestTemplate = IORequest(virtualDisk: served.disk.handle, ownerTerm: served.disk.ownerTerm)
    volume.addClient()
  }

  var device: BlockDevice { volume }

  func close() { volume.removeClient() }
}
