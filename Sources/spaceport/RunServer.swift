import Logging
import Management
import UnixSignals

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Runs the server until SIGTERM or SIGINT.
func runServer(configuration: ServeConfiguration) async throws {
  let logger = configuration.makeLogger()
  // Caught from here on, so that a signal during the start stops the server in good order too.
  let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
  let claim = try ControlSocketClaim(path: configuration.controlSocket)
  let server = ManagementServer(claim: claim, backend: NoStorage(configuration: configuration), logger: logger)
  try await server.run {
    for await signal in signals {
      logger.info("Stopping", metadata: ["signal": "\(signal)"])
      return
    }
  }
}

extension ServeConfiguration {
  /// The server's log goes to standard error, where a service manager collects it.
  func makeLogger() -> Logger {
    var logger = Logger(label: "spaceport") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = logLevel
    return logger
  }
}

/// A server without storage: it answers, and holds nothing.
struct NoStorage: StorageBackend {
  let configuration: ServeConfiguration
  let start = ContinuousClock.now

  func status() async throws(APIError) -> ServerStatus {
    ServerStatus(
      version: spaceportVersion, processID: getpid(), uptimeSeconds: (ContinuousClock.now - start) / .seconds(1), listeners: [],
      stateDirectory: configuration.stateDirectory, poolsReady: [], poolsStarting: [])
  }

  func disks() async throws(APIError) -> [DiskInfo] { [] }
  func pools() async throws(APIError) -> [PoolInfo] { [] }
  func pool(named name: String) async throws(APIError) -> PoolInfo { throw noPool(name) }
  func createPool(_ request: CreatePool) async throws(APIError) -> PoolInfo { throw noStorage }
  func openPools(_ request: OpenPools) async throws(APIError) -> [PoolInfo] { throw noStorage }
  func closePool(named name: String) async throws(APIError) { throw noPool(name) }
  func destroyPool(named name: String) async throws(APIError) { throw noPool(name) }

  func virtualDisks(ofPool pool: String?) async throws(APIError) -> [VirtualDiskInfo] {
    if let pool { throw noPool(pool) }
    return []
  }

  func virtualDisk(at path: VirtualDiskPath) async throws(APIError) -> VirtualDiskInfo { throw noPool(path.pool) }
  func createVirtualDisk(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo { throw noPool(request.pool) }

  func resizeVirtualDisk(at path: VirtualDiskPath, _ request: ResizeVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    throw noPool(path.pool)
  }

  func deleteVirtualDisk(at path: VirtualDiskPath) async throws(APIError) { throw noPool(path.pool) }

  func stack(of path: VirtualDiskPath?) async throws(APIError) -> [StackNode] {
    if let path { throw noPool(path.pool) }
    return []
  }

  private var noStorage: APIError {
    APIError(.notSupported, "This build has no storage layers", remedy: "Build the whole of spaceport")
  }

  private func noPool(_ name: String) -> APIError {
    APIError(.notFound, "There is no pool \(name)", remedy: "Look at the names with spaceport pool list")
  }
}
