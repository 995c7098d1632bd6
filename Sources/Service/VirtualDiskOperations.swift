import BlockDevice
import Management
import NBDServer
import Pool
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
    let plan = VirtualDiskPlan(
      name: request.name, byteCount: request.sizeBytes, provisioning: try provisioning(request.provisioning), copies: copies,
      columns: request.columns,
      interleave: request.interleaveBytes, logicalSector: request.logicalSectorBytes ?? 512, createdSeconds: wallClockSeconds())
    let disk = try await explained { () throws(PoolError) in
      try await VirtualDisk.create(plan, in: served.pool, handle: takeHandle())
    }
    let servedDisk = ServedVirtualDisk(disk)
    served.virtualDisks[request.name] = servedDisk
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
    try await explained { () throws(PoolError) in try await disk.disk.grow(to: byteCount) }
    return info(disk, of: served)
  }

  func delete(_ path: VirtualDiskPath) async throws(APIError) {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    guard disk.volume.clientCount == 0 else {
      throw APIError(
        .busy, "The virtual disk \(path) is in use: clients are connected to it (\(connections(disk.volume.clientCount)))",
        remedy: "Detach the clients first (nbd-client -d DEVICE)")
    }
    served.virtualDisks[path.name] = nil  // first, so that no client opens it meanwhile
    do throws(PoolError) { try await disk.disk.delete() } catch {
      if disk.disk.record.state == .active { served.virtualDisks[path.name] = disk }
      throw APIError(error)
    }
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

extension StorageService: ExportDirectory {
  public func exportNames() -> [String] { allVirtualDisks.filter(\.canBeServed).map(\.volume.label) }

  public func describeExport(named name: String) throws(ExportError) -> ExportDescription {
    let served = try export(named: name)
    return ExportDescription(
      name: served.volume.label, description: "spaceport virtual disk \(served.volume.label)", geometry: served.volume.geometry)
  }

  public func openExport(named name: String) async throws(ExportError) -> any Export {
    if isStopping { throw ExportError(.shuttingDown, "The server is stopping.") }
    let served = try export(named: name)
    if !served.canBeServed, let row = served.disk.firstLostRow {
      throw ExportError(
        .unavailable,
        "\(served.volume.label) is offline: row \(row) of its data has no whole copy on the disks that are there. "
          + "Bring the missing disks back; `spaceport vdisk show \(served.volume.label)` says more.")
    }
    return OpenExport(served)
  }

  /// The empty name is the only virtual disk there is.
  private func export(named name: String) throws(ExportError) -> ServedVirtualDisk {
    let all = allVirtualDisks
    if name.isEmpty, all.count == 1 { return all[0] }
    guard let served = all.first(where: { $0.volume.label == name }) else {
      throw ExportError(.unknown, name.isEmpty ? "There is no default export. Name one: POOL/VDISK." : "There is no such export.")
    }
    return served
  }
}
