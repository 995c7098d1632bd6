import CLinux
import Management
import Pool

// The management plane's questions, carried over to the reactor.

extension StorageService: StorageBackend {
  public func status() async throws(APIError) -> ServerStatus {
    let troubles = await reactor.run { [self] in tlsContext }?.currentTroubles() ?? []
    return try await ask { [self] () throws(APIError) in
      let waits = waiting.values.map { words(for: $0).description }.sorted()
      let space = sortedPools.flatMap(spaceWarnings).map(\.text)
      return ServerStatus(
        version: spaceportVersion, processID: getpid(), uptimeSeconds: Double(reactor.now.nanoseconds(since: startedAt)) / 1e9,
        listeners: listeners.map(\.description), tls: tls.map { $0.isRequired ? .required : .offered }, stateDirectory: registry.directory,
        poolsReady: sortedPools.map(\.name), poolsStarting: waiting.values.map(\.known.name).sorted(),
        warnings: warnings + waits + space + poolWarnings + troubles)
    }
  }

  public func disks() async throws(APIError) -> [DiskInfo] { try await pools().flatMap(\.disks) }

  public func scanDisks(_ request: ScanDisks) async throws(APIError) -> [DiskCandidateInfo] {
    try await reactor.run { [self] () async throws(APIError) in try await scan(request) }
  }

  public func pools() async throws(APIError) -> [PoolInfo] {
    try await ask { [self] () throws(APIError) in
      (sortedPools.map(info) + waiting.values.map(info)).sorted { $0.name < $1.name }
    }
  }

  public func pool(named name: String) async throws(APIError) -> PoolInfo {
    try await ask { [self] () throws(APIError) in
      if let pool = waiting.values.first(where: { $0.known.name == name }), pools[name] == nil { return info(pool) }
      return info(try servedPool(name))
    }
  }

  public func createPool(_ request: CreatePool) async throws(APIError) -> PoolInfo {
    try await change { [self] () async throws(APIError) in try await create(request) }
  }

  public func openPools(_ request: OpenPools) async throws(APIError) -> [PoolInfo] {
    try await change { [self] () async throws(APIError) in try await open(request) }
  }

  public func closePool(named name: String) async throws(APIError) {
    try await change { [self] () async throws(APIError) in try await close(poolNamed: name) }
  }

  public func destroyPool(named name: String) async throws(APIError) {
    try await change { [self] () async throws(APIError) in try await destroy(poolNamed: name) }
  }

  public func addDisks(toPool name: String, _ request: AddDisks) async throws(APIError) -> PoolInfo {
    try await change { [self] () async throws(APIError) in try await add(request, toPool: name) }
  }

  public func setUsage(_ request: SetDiskUsage) async throws(APIError) -> DiskInfo {
    try await change { [self] () async throws(APIError) in try await set(request) }
  }

  public func retireDisk(_ disk: DiskReference) async throws(APIError) -> JobInfo {
    try await change { [self] () async throws(APIError) in try await retire(disk) }
  }

  public func replaceDisk(_ request: ReplaceDisk) async throws(APIError) -> JobInfo {
    try await change { [self] () async throws(APIError) in try await replace(request) }
  }

  public func startJob(inPool name: String, _ request: StartJob) async throws(APIError) -> JobInfo {
    try await change { [self] () async throws(APIError) in try await start(request.kind, inPool: name) }
  }

  public func cancelJob(inPool name: String, number: UInt64) async throws(APIError) {
    try await change { [self] () async throws(APIError) in try await cancel(job: number, inPool: name) }
  }

  public func jobs(ofPool pool: String?) async throws(APIError) -> [JobInfo] {
    try await ask { [self] () throws(APIError) in try jobInfos(ofPool: pool) }
  }

  public func events(ofPool pool: String?) async throws(APIError) -> [EventInfo] {
    try await ask { [self] () throws(APIError) in try eventInfos(ofPool: pool) }
  }

  public func cache(ofPool pool: String?) async throws(APIError) -> CacheInfo {
    try await ask { [self] () throws(APIError) in try cacheInfo(ofPool: pool) }
  }

  public func virtualDisks(ofPool pool: String?) async throws(APIError) -> [VirtualDiskInfo] {
    try await ask { [self] () throws(APIError) in
      let wanted = if let pool { [try servedPool(pool)] } else { sortedPools }
      return wanted.flatMap { served in served.sortedVirtualDisks.map { info($0, of: served) } }
    }
  }

  public func virtualDisk(at path: VirtualDiskPath) async throws(APIError) -> VirtualDiskInfo {
    try await ask { [self] () throws(APIError) in
      let (served, disk) = try servedDisk(path)
      return info(disk, of: served)
    }
  }

  public func createVirtualDisk(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await change { [self] () async throws(APIError) in try await create(request) }
  }

  public func resizeVirtualDisk(at path: VirtualDiskPath, _ request: ResizeVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await change { [self] () async throws(APIError) in try await resize(path, to: request.sizeBytes) }
  }

  public func setVirtualDisk(at path: VirtualDiskPath, _ request: SetVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await change { [self] () async throws(APIError) in try await set(path, request) }
  }

  public func deleteVirtualDisk(at path: VirtualDiskPath) async throws(APIError) {
    try await change { [self] () async throws(APIError) in try await delete(path) }
  }

  public func partitionTable(of path: VirtualDiskPath) async throws(APIError) -> PartitionTableInfo {
    try await reactor.run { [self] () async throws(APIError) in
      let (served, disk) = try servedDisk(path)
      return await partitionTable(disk, in: served)
    }
  }

  public func initPartitionTable(of path: VirtualDiskPath, _ request: InitPartitionTable) async throws(APIError) -> PartitionTableInfo {
    try await change { [self] () async throws(APIError) in try await initPartitionTable(path, request) }
  }

  public func createPartition(on path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo {
    try await change { [self] () async throws(APIError) in try await createPartition(path, request) }
  }

  public func deletePartitions(of path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo {
    try await change { [self] () async throws(APIError) in try await deletePartitions(path, request) }
  }

  public func resizePartition(of path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo {
    try await change { [self] () async throws(APIError) in try await resizePartition(path, request) }
  }

  public func setPartition(of path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo {
    try await change { [self] () async throws(APIError) in try await setPartition(path, request) }
  }

  public func repairPartitionTable(of path: VirtualDiskPath, _ request: RepairPartitionTable) async throws(APIError) -> PartitionRepairInfo
  {
    try await change { [self] () async throws(APIError) in try await repairPartitionTable(path, request) }
  }

  public func stack(of path: VirtualDiskPath?) async throws(APIError) -> [StackNode] {
    try await ask { [self] () throws(APIError) in
      let wanted = if let path { [try servedDisk(path).1] } else { allVirtualDisks }
      return wanted.flatMap(StackTree.nodes)
    }
  }
}
