import Management
import Synchronization

/// Storage in memory that keeps the promises of `StorageBackend` as far as names and states go.
final class FakeBackend: StorageBackend {
  private struct State {
    var pools: [String: PoolInfo] = [:]
    var virtualDisks: [VirtualDiskPath: VirtualDiskInfo] = [:]
    var requests: [CreateVirtualDisk] = []
    var openRequests: [OpenPools] = []
  }

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

  func pools() async throws(APIError) -> [PoolInfo] { state.withLock { $0.pools.values.sorted { $0.name < $1.name } } }

  func pool(named name: String) async throws(APIError) -> PoolInfo {
    guard let pool = state.withLock({ $0.pools[name] }) else {
      throw APIError(.notFound, "There is no pool \(name)", remedy: "Look at pool list")
    }
    return pool
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
}
