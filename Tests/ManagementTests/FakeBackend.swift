import Management
import Synchronization

/// Storage in memory that keeps the promises of `StorageBackend` as far as names and states go.
final class FakeBackend: StorageBackend {
  private struct State {
    var pools: [String: PoolInfo] = [:]
    var virtualDisks: [VirtualDiskPath: VirtualDiskInfo] = [:]
    var requests: [CreateVirtualDisk] = []
    var openRequests: [OpenPools] = []
    var addRequests: [AddDisks] = []
    var replaceRequests: [ReplaceDisk] = []
    var jobs: [JobInfo] = []
    var events: [EventInfo] = []
    var partitionRequests: [PartitionRequest] = []
    var exports: [ExportPath: ExportAccess] = [:]
    var partitionTable: PartitionTableInfo?
    var volume = Samples.volume()
    var createFailure: APIError?
  }

  /// What the functions on partitions were given.
  enum PartitionRequest: Equatable, Sendable {
    case initialize(InitPartitionTable)
    case create(CreatePartition)
    case delete(DeletePartitions)
    case resize(ResizePartition)
    case set(SetPartition)
    case repair(RepairPartitionTable)
  }

  var partitionRequests: [PartitionRequest] { state.withLock(\.partitionRequests) }

  private let state = Mutex(State())
  private let beforeStatus: @Sendable () async -> Void

  /// - Parameter beforeStatus: what `status` waits for.
  init(beforeStatus: @escaping @Sendable () async -> Void = {}) {
    self.beforeStatus = beforeStatus
  }

  /// What `createVirtualDisk` was given.
  var virtualDiskRequests: [CreateVirtualDisk] { state.withLock(\.requests) }
  /// What `openPools` was given.
  var openRequests: [OpenPools] { state.withLock(\.openRequests) }

  /// What `addDisks` and `replaceDisk` were given.
  var addRequests: [AddDisks] { state.withLock(\.addRequests) }
  var replaceRequests: [ReplaceDisk] { state.withLock(\.replaceRequests) }

  func setVolume(_ volume: VolumeInfo) { state.withLock { $0.volume = volume } }
  /// What `createVirtualDisk` throws from now on.
  func setCreateFailure(_ error: APIError) { state.withLock { $0.createFailure = error } }
  /// As if another had been made under its name.
  func setUUID(_ uuid: String, of path: VirtualDiskPath) { state.withLock { $0.virtualDisks[path]?.uuid = uuid } }

  func setEvents(_ events: [EventInfo]) { state.withLock { $0.events = events } }
  func setPool(_ pool: PoolInfo) { state.withLock { $0.pools[pool.name] = pool } }

  func setClients(_ count: Int, of path: VirtualDiskPath) { state.withLock { $0.virtualDisks[path]?.clientCount = count } }

  func status() async throws(APIError) -> ServerStatus {
    await beforeStatus()
    let pools = try await pools()
    return ServerStatus(
      version: spaceportVersion, processID: 42, uptimeSeconds: 3723.5, listeners: ["unix:/run/nbd.sock"], stateDirectory: "/var/lib/x",
      poolsReady: pools.filter { $0.state == .ok }.map(\.name), poolsStarting: pools.filter { $0.state == .starting }.map(\.name))
  }

  func disks() async throws(APIError) -> [DiskInfo] { try await pools().flatMap(\.disks) }

  func scanDisks(_ request: ScanDisks) async throws(APIError) -> [DiskCandidateInfo] {
    let prefix = request.directory ?? "/dev"
    return [
      DiskCandidateInfo(path: "\(prefix)/free", kind: .file, sizeBytes: 1 << 30),
      DiskCandidateInfo(path: "\(prefix)/full", kind: .block, sizeBytes: 1 << 40, model: "M1", obstacles: ["In a pool: tank"]),
    ]
  }

  func pools() async throws(APIError) -> [PoolInfo] { state.withLock { $0.pools.values.sorted { $0.name < $1.name } } }

  func pool(named name: String) async throws(APIError) -> PoolInfo {
    guard let pool = state.withLock({ $0.pools[name] }) else {
      throw APIError(.notFound, "There is no pool \(name)", remedy: "Look at pool list")
    }
    return pool
  }

  func checkPool(named name: String) async throws(APIError) -> PoolCheckInfo {
    _ = try await pool(named: name)
    return PoolCheckInfo(
      pool: name, epoch: 1, disks: [], virtualDisks: [], recordCounts: ["disk": 1],
      findings: [PoolCheckInfo.Finding(severity: "error", subject: "disk 1", text: "It is damaged.")], isSound: false)
  }

  func createPool(_ request: CreatePool) async throws(APIError) -> PoolInfo {
    let pool = Samples.pool(request.name, disks: request.disks, slabBytes: request.slabBytes ?? 256 << 20)
    let isNew = state.withLock { state in
      guard state.pools[request.name] == nil else { return false }
      state.pools[request.name] = pool
      return true
    }
    guard isNew else { throw APIError(.alreadyExists, "There is a pool \(request.name)", remedy: "Choose another name") }
    return pool
  }

  func openPools(_ request: OpenPools) async throws(APIError) -> [PoolInfo] {
    state.withLock { $0.openRequests.append(request) }
    return try await pools()
  }

  func closePool(named name: String) async throws(APIError) { try await destroyPool(named: name) }

  func destroyPool(named name: String) async throws(APIError) {
    _ = try await pool(named: name)
    let isBusy = state.withLock { state in
      if state.virtualDisks.values.contains(where: { $0.pool == name && $0.clientCount > 0 }) { return true }
      state.pools[name] = nil
      return false
    }
    if isBusy { throw APIError(.busy, "Pool \(name) has connected clients", remedy: "Disconnect them") }
  }

  // MARK: Disks and jobs

  func addDisks(toPool name: String, _ request: AddDisks) async throws(APIError) -> PoolInfo {
    _ = try await pool(named: name)
    state.withLock { state in
      state.addRequests.append(request)
      state.pools[name]?.disks += request.disks.map { path in
        var disk = Samples.disk(path, pool: name)
        disk.usage = request.usage
        return disk
      }
    }
    return try await pool(named: name)
  }

  private func disk(_ reference: DiskReference) async throws(APIError) -> DiskInfo {
    guard let disk = try await disks().first(where: { $0.path == reference.disk || "\($0.number)" == reference.disk }) else {
      throw APIError(.notFound, "There is no disk \(reference.disk)", remedy: "Look at disk list")
    }
    return disk
  }

  func setUsage(_ request: SetDiskUsage) async throws(APIError) -> DiskInfo {
    var disk = try await disk(request.disk)
    disk.usage = request.usage
    return disk
  }

  private func addJob(_ kind: JobInfo.Kind, pool: String, disk: String?) -> JobInfo {
    state.withLock { state in
      let job = JobInfo(
        pool: pool, number: UInt64(state.jobs.count + 1), kind: kind, state: .running, disk: disk, percent: 0, doneBytes: 0,
        totalBytes: 4 << 30, bytesPerSecond: 100 << 20, secondsLeft: 41, startedSeconds: 1_700_000_000)
      state.jobs.append(job)
      return job
    }
  }

  func retireDisk(_ disk: DiskReference) async throws(APIError) -> JobInfo {
    let found = try await self.disk(disk)
    return addJob(.retire, pool: found.pool ?? "", disk: found.path)
  }

  func replaceDisk(_ request: ReplaceDisk) async throws(APIError) -> JobInfo {
    state.withLock { $0.replaceRequests.append(request) }
    return try await retireDisk(request.old)
  }

  func startJob(inPool name: String, _ request: StartJob) async throws(APIError) -> JobInfo {
    _ = try await pool(named: name)
    return addJob(request.kind, pool: name, disk: nil)
  }

  /// Each look finds the jobs that run half of the rest further; above 90 % they are done.
  func jobs(ofPool pool: String?) async throws(APIError) -> [JobInfo] {
    state.withLock { state in
      let jobs = state.jobs.filter { pool == nil || $0.pool == pool }
      for index in state.jobs.indices where state.jobs[index].state == .running {
        state.jobs[index].percent += (100 - state.jobs[index].percent) / 2
        if state.jobs[index].percent > 90 {
          state.jobs[index].state = .completed
          state.jobs[index].percent = 100
        }
      }
      return jobs
    }
  }

  func cancelJob(inPool name: String, number: UInt64) async throws(APIError) {
    let found = state.withLock { state in
      guard let index = state.jobs.firstIndex(where: { $0.pool == name && $0.number == number }) else { return false }
      state.jobs[index].state = .cancelled
      return true
    }
    if !found { throw APIError(.notFound, "The pool \(name) has no job \(number)", remedy: "Look at job list") }
  }

  func events(ofPool pool: String?) async throws(APIError) -> [EventInfo] {
    state.withLock { state in state.events.filter { pool == nil || $0.pool == pool } }
  }

  func cache(ofPool pool: String?) async throws(APIError) -> CacheInfo {
    CacheInfo(
      memoryBytes: 64 << 20, pageBytes: 16 << 10, pages: 4096, freePages: 96, isLocked: true,
      counters: .init(hits: 3, misses: 1, evictions: 7))
  }

  // MARK: Virtual disks

  func virtualDisks(ofPool pool: String?) async throws(APIError) -> [VirtualDiskInfo] {
    state.withLock { state in
      state.virtualDisks.values.filter { pool == nil || $0.pool == pool }.sorted { $0.name < $1.name }
    }
  }

  func virtualDisk(at path: VirtualDiskPath) async throws(APIError) -> VirtualDiskInfo {
    guard let disk = state.withLock({ $0.virtualDisks[path] }) else {
      throw APIError(.notFound, "There is no virtual disk \(path)", remedy: "Look at vdisk list")
    }
    return disk
  }

  func createVirtualDisk(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    _ = try await pool(named: request.pool)
    if let failure = state.withLock(\.createFailure) { throw failure }
    let disk = Samples.virtualDisk(request)
    state.withLock { state in
      state.requests.append(request)
      state.virtualDisks[disk.path] = disk
      state.pools[request.pool]?.virtualDisks.append(request.name)
    }
    return disk
  }

  func resizeVirtualDisk(at path: VirtualDiskPath, _ request: ResizeVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    _ = try await virtualDisk(at: path)
    state.withLock { $0.virtualDisks[path]?.sizeBytes = request.sizeBytes }
    return try await virtualDisk(at: path)
  }

  func setVirtualDisk(at path: VirtualDiskPath, _ request: SetVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    _ = try await virtualDisk(at: path)
    state.withLock { $0.virtualDisks[path]?.share = request.share ?? 100 }
    return try await virtualDisk(at: path)
  }

  func deleteVirtualDisk(at path: VirtualDiskPath) async throws(APIError) {
    _ = try await virtualDisk(at: path)
    state.withLock { $0.virtualDisks[path] = nil }
  }

  func stack(of path: VirtualDiskPath?) async throws(APIError) -> [StackNode] {
    if let path {
      _ = try await virtualDisk(at: path)
      return [Samples.stack(export: "\(path)")]
    }
    return try await virtualDisks(ofPool: nil).map { Samples.stack(export: "\($0.path)") }
  }

  // MARK: Partitions and volumes

  func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo] {
    if let pool { _ = try await self.pool(named: pool) }
    return [state.withLock(\.volume)]
  }

  func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    _ = try await virtualDisk(at: path)
    return [state.withLock(\.volume)]
  }

  func volumesWithoutContent(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    var volume = try await volumes(of: path)[0]
    volume.content = nil
    return [volume]
  }

  func setPartitionTable(_ table: PartitionTableInfo?) { state.withLock { $0.partitionTable = table } }

  func partitionTable(of path: VirtualDiskPath) async throws(APIError) -> PartitionTableInfo {
    _ = try await virtualDisk(at: path)
    return state.withLock(\.partitionTable) ?? Samples.partitionTable(path)
  }

  private func note(_ request: PartitionRequest, _ path: VirtualDiskPath) async throws(APIError) -> PartitionTableInfo {
    state.withLock { $0.partitionRequests.append(request) }
    return try await partitionTable(of: path)
  }

  func initPartitionTable(of path: VirtualDiskPath, _ request: InitPartitionTable) async throws(APIError) -> PartitionTableInfo {
    try await note(.initialize(request), path)
  }

  func createPartition(on path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo {
    try await note(.create(request), path)
  }

  func deletePartitions(of path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo {
    let table = try await note(.delete(request), path)
    guard request.acceptLoss else {
      throw APIError(.badRequest, "Nothing was done: \(request.partitions) would be lost", remedy: "Repeat the command with --yes")
    }
    return table
  }

  func resizePartition(of path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo {
    try await note(.resize(request), path)
  }

  func setPartition(of path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo {
    try await note(.set(request), path)
  }

  func repairPartitionTable(of path: VirtualDiskPath, _ request: RepairPartitionTable) async throws(APIError) -> PartitionRepairInfo {
    _ = try await note(.repair(request), path)
    return PartitionRepairInfo(findings: ["f"], actions: ["write the primary GPT", "write the MBR"], isDone: request.apply)
  }

  // MARK: Exports

  func exports(ofPool pool: String?) async throws(APIError) -> [ExportAccess] {
    let disks = try await virtualDisks(ofPool: pool)
    return state.withLock { state in
      disks.map { disk in
        let path = ExportPath(disk: disk.path)
        return state.exports[path] ?? ExportAccess(name: "\(path)")
      }
    }
  }

  func export(at path: ExportPath) async throws(APIError) -> ExportAccess {
    _ = try await virtualDisk(at: path.disk)
    return state.withLock { $0.exports[path] } ?? ExportAccess(name: "\(path)")
  }

  func setExport(_ request: SetExportAccess) async throws(APIError) -> ExportAccess {
    var export = try await export(at: request.export)
    export.hasOwnRule = true
    export.readOnly = request.readOnly ?? export.readOnly
    export.allowUsers = request.allowUsers ?? export.allowUsers
    export.allowPeers = request.allowPeers ?? export.allowPeers
    export.allowCertificates = request.allowCertificates ?? export.allowCertificates
    export.allowPSKUsers = request.allowPSKUsers ?? export.allowPSKUsers
    let changed = export
    state.withLock { $0.exports[request.export] = changed }
    return changed
  }

  func resetExport(_ request: ResetExportAccess) async throws(APIError) -> ExportAccess {
    state.withLock { $0.exports[request.export] = nil }
    return try await export(at: request.export)
  }
}
