import BlockDevice
import Management
import Pool
import StorageBus
import VirtualDisk

// Virtual disks: create, resize, delete; and as exports. All on the reactor, changes under the operation lock.

extension StorageService {
  func create(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    let served = try writablePool(request.pool)
    try checkName(request.name, of: "virtual disk")
    guard served.virtualDisks[request.name] == nil else {
      throw APIError(
        .alreadyExists, "A virtual disk \(request.pool)/\(request.name) exists already", remedy: "Choose another name, or delete it first")
    }
    let copies = try copies(request)
    try check(share: request.share)
    let plan = VirtualDiskPlan(
      name: request.name, byteCount: request.sizeBytes, provisioning: try provisioning(request.provisioning), copies: copies,
      columns: request.columns,
      interleave: request.interleaveBytes, logicalSector: request.logicalSectorBytes ?? 512, share: request.share ?? 0,
      createdSeconds: wallClockSeconds())
    let disk = try await explained { () throws(PoolError) in
      try await VirtualDisk.create(plan, in: served.pool, handle: takeHandle())
    }
    claims.shares.set(disk.record.share, of: disk.handle)
    let servedDisk = ServedVirtualDisk(disk)
    served.virtualDisks[request.name] = servedDisk
    watchPartitions(of: servedDisk)
    return info(servedDisk, of: served)
  }

  private func copies(_ request: CreateVirtualDisk) throws(APIError) -> Int {
    switch request.resiliency {
    case .simple:
      guard request.copies ?? 1 == 1 else {
        throw APIError(.badRequest, "A simple virtual disk has one copy", remedy: "Ask for a mirror, or for one copy")
      }
      return 1
    case .mirror:
      let copies = request.copies ?? 2
      guard (2...3).contains(copies) else {
        throw APIError(.badRequest, "A mirror of \(copies) copies cannot be", remedy: "Give 2 or 3 copies")
      }
      return copies
    default: throw APIError(.notSupported, "The resiliency \(request.resiliency) is not known", remedy: "Give simple or mirror")
    }
  }

  private func provisioning(_ name: VirtualDiskInfo.Provisioning) throws(APIError) -> VirtualDiskRecord.Provisioning {
    switch name {
    case .thin: return .thin
    case .fixed: return .fixed
    default: throw APIError(.badRequest, "The provisioning \(name) is not known", remedy: "Give thin or fixed")
    }
  }

  func resize(_ path: VirtualDiskPath, to byteCount: UInt64) async throws(APIError) -> VirtualDiskInfo {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    let table = await disk.volume.partitions.read()
    let oldByteCount = disk.disk.geometry.byteCount
    try await explained { () throws(PoolError) in try await disk.disk.grow(to: byteCount) }
    var info = info(disk, of: served)
    if byteCount > oldByteCount { info.note = await fitPartitionTable(of: disk, as: table) }
    return info
  }

  func set(_ path: VirtualDiskPath, _ request: SetVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    try check(share: request.share)
    if let share = request.share {
      try await explained { () throws(PoolError) in try await disk.disk.setShare(share) }
      claims.shares.set(share, of: disk.disk.handle)
    }
    return info(disk, of: served)
  }

  private func check(share: UInt32?) throws(APIError) {
    guard let share, !StorageBusLimits.shares.contains(share) else { return }
    throw APIError(
      .badRequest, "A share of \(share) cannot be",
      remedy:
        "Give \(StorageBusLimits.shares.lowerBound) to \(StorageBusLimits.shares.upperBound); \(StorageBusLimits.defaultShare) is an even share"
    )
  }

  func delete(_ path: VirtualDiskPath) async throws(APIError) {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    guard disk.clientCount == 0 else {
      throw APIError(
        .busy, "The virtual disk \(path) is in use: clients are connected to it (\(clients(disk.clientCount, of: "\(path)")))",
        remedy: "End or detach the clients first (spaceport volume detach, nbd-client -d DEVICE)")
    }
    served.virtualDisks[path.name] = nil  // first, so that no client opens it meanwhile
    await disk.volume.settle()
    do throws(PoolError) { try await disk.disk.delete() } catch {
      if disk.disk.record.state == .active { served.virtualDisks[path.name] = disk }
      throw APIError(error)
    }
    forgetAccess([disk])
  }

  func servedDisk(_ path: VirtualDiskPath) throws(APIError) -> (ServedPool, ServedVirtualDisk) {
    let served = try servedPool(path.pool)
    guard let disk = served.virtualDisks[path.name] else {
      throw APIError(.notFound, "There is no virtual disk \(path)", remedy: "`spaceport vdisk list` shows the virtual disks there are")
    }
    return (served, disk)
  }

  var sortedPools: [ServedPool] { pools.values.sorted { $0.name < $1.name } }
  var allVirtualDisks: [ServedVirtualDisk] { sortedPools.flatMap(\.sortedVirtualDisks) }
}
