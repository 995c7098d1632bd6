import BlockDevice
import CLinux
import Logging
import Management
import NBDServer
import PhysicalDisk
import Pool
import Reactor
import StorageBus
import VirtualDisk

/// The running server: puts the stack together, from the disks up to the exports, and answers the management plane. Its state lives on the
/// reactor; management calls come over as messages, one change at a time.
public final class StorageService: @unchecked Sendable {  // reactor-confined, but for what is let
  let reactor: RingReactor
  let claims: DiskClaims
  /// The first level of the read cache; nil where the server was started without.
  let cache: MemoryCache?
  /// For what cache disks, its second level, know of their pages.
  let directoryMemory: DirectoryMemory
  let witnesses: WitnessFiles
  let tuning: ServiceTuning
  let logger: Logger
  private(set) var server: NBDServer?
  private(set) var listeners: [ListenAddress] = []
  let startedAt: Instant

  var registry: PoolRegistry
  var access: AccessRules
  private(set) var tls: TLSConfiguration?
  private(set) var tlsContext: TLSContext?
  /// Open pools by name.
  var pools: [String: ServedPool] = [:]
  /// Known pools that could not be opened, with the reason.
  var waiting: [PoolID: WaitingPool] = [:]
  private var operationLock = OperationLock()
  private var nextHandle: UInt32 = 1
  /// Who recognises the content of a volume, and the thread that waits for the process which does.
  var contentLock = OperationLock()
  var contentThread: BlockingCalls?
  var isStopping = false
  var warnings: [String] = []

  /// A pool that the server knows and that is not open.
  struct WaitingPool {
    var known: KnownPool
    var reason: APIError
    /// Until then it is "starting", afterwards "incomplete"; it is tried again either way.
    var startingUntil: Instant
    /// The disks that were there when it was last tried; with those alone there is no point in trying again.
    var triedPaths: [String] = []
    var wasTriedDegraded = false
    /// Once it was waited for long enough it is opened without the disks that are missing. Not after somebody read it: who salvages
    /// decides when it is written to.
    var goesOnWithoutMissing = true
    /// Opening it was tried, and `reason` says why it failed.
    var wasTried = false
    /// By path: why what is there is not used.
    var doubts: [String: DiskDoubt] = [:]
  }

  /// Starts the reactor, takes the state directory and opens every known pool that is complete.
  public static func start(
    stateDirectory: String, tuning: ServiceTuning = ServiceTuning(), logger: Logger
  ) async throws -> StorageService {
    raiseDescriptorLimit()
    let state = try StateDirectory(path: stateDirectory)
    do { return try await start(state, tuning, logger) } catch {
      state.release()
      throw error
    }
  }

  private static func start(_ state: StateDirectory, _ tuning: ServiceTuning, _ logger: Logger) async throws -> StorageService {
    let registry = try PoolRegistry(state)
    let access = try AccessRules(state)
    var buffers = BufferLimits.standard
    buffers.pageByteCount = tuning.cachePageByteCount
    buffers.pageCount = Int(clamping: tuning.cacheByteCount / UInt64(tuning.cachePageByteCount))
    let reactor = try RingReactor.start(name: "reactor-0", bufferLimits: buffers)
    let blocking = try BlockingCalls.start(name: "blocking-0")
    let service = StorageService(reactor: reactor, blocking: blocking, registry: registry, access: access, tuning: tuning, logger: logger)
    await reactor.run { await service.openKnownPools() }
    return service
  }

  /// A descriptor for each connection and disk: as many as the system lets this process have.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(CLINUX_RLIMIT_NOFILE, &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(CLINUX_RLIMIT_NOFILE, &limit)
  }

  private init(
    reactor: RingReactor, blocking: BlockingCalls, registry: PoolRegistry, access: AccessRules, tuning: ServiceTuning, logger: Logger
  ) {
    self.reactor = reactor
    self.registry = registry
    self.access = access
    self.logger = logger
    self.tuning = tuning
    cache = MemoryCache(reactor: reactor)
    let memory = MachineMemory().byteCount
    directoryMemory = DirectoryMemory(machineByteCount: memory - min(memory, tuning.cacheByteCount))
    claims = DiskClaims(reactor: reactor, blocking: blocking, cache: cache)
    witnesses = WitnessFiles(stateDirectory: registry.directory, reactor: reactor, blocking: blocking)
    startedAt = reactor.now
    for reason in [reactor.unregisteredBuffersReason, reactor.unregisteredPagesReason, reactor.notIOFlusherReason] {
      if let reason { warn(reason) }
    }
    if tuning.cacheByteCount > 0 && cache == nil { warn("The system has no memory for the read cache: the server goes on without it.") }
  }

  /// Binds the listeners; from then on clients are served.
  /// - Parameters:
  ///   - inherited: listening sockets that a service manager has opened.
  ///   - socketGroup: whose members may connect to the Unix sockets among `addresses`.
  public func listen(
    at addresses: [ListenAddress], inherited: [Int32] = [], socketGroup: UInt32? = nil, tls: TLSConfiguration? = nil
  ) async throws(APIError) {
    let context: TLSContext?
    do throws(TLSError) { context = if let tls { try TLSContext(tls, logger: logger) } else { nil } } catch {
      throw APIError(.badRequest, error.description.withoutFullStop, remedy: "")
    }
    let server = NBDServer(reactor: reactor, directory: self, tls: context, logger: logger)
    await reactor.run { [self] in
      self.server = server
      self.tls = tls
      tlsContext = context
      warnOfRulesThatNeedTLS()
    }
    let bound = try await bind(server, addresses, inherited, socketGroup)
    await reactor.run { [self] in
      listeners = bound
      for address in bound where !address.isLocal { warnOfExposure(of: address) }
    }
  }

  private func warnOfExposure(of address: ListenAddress) {
    if tls?.isRequired != true {
      warn(
        "NBD is served at \(address) without encryption or authentication: everyone who reaches that address can read and write what no rule of "
          + "`spaceport export` keeps from them.")
    } else if tls?.authenticatesClients != true {
      warn(
        "NBD is served at \(address) with encryption, but clients need not prove who they are (--tls-verify-peer, --tls-psk): everyone who reaches "
          + "that address can read and write what no rule of `spaceport export` keeps from them.")
    }
  }

  /// A predecessor that was killed is waited for a little.
  private func bind(
    _ server: NBDServer, _ addresses: [ListenAddress], _ inherited: [Int32], _ socketGroup: UInt32?
  ) async throws(APIError) -> [ListenAddress] {
    let giveUp = ContinuousClock.now + .milliseconds(ServiceLimits.listenWaitMilliseconds)
    while true {
      do throws(ListenError) {
        return try await server.start(listeners: addresses, inherited: inherited, socketGroup: socketGroup)
      } catch {
        guard error.mayPass, ContinuousClock.now < giveUp else {
          throw APIError(.ioError, error.description.withoutFullStop, remedy: "")
        }
        try? await Task.sleep(for: .milliseconds(DiskLimits.claimRetryMilliseconds))
      }
    }
  }

  /// Serves the client at the other end of a connected socket; returns when it has left.
  public func serveOneClient(descriptor: Int32) async {
    await reactor.run { [self] in await server?.serveToTheEnd(descriptor: descriptor) }
  }

  /// Takes no more NBD clients and sends those away that there are, as `stop` does.
  public func endSessions() async { _ = await reactor.run { [self] in server }?.stop() }

  /// Returns when every reactor has taken a turn; never, when one hangs.
  public func proveAlive() async { await reactor.run {} }

  func warn(_ text: String) {
    if !warnings.contains(text) { warnings.append(text) }
    logger.warning("\(text)")
  }

  /// A number for a virtual disk that is opened, unique in the process.
  func takeHandle() -> VirtualDiskHandle {
    defer { nextHandle += 1 }
    return VirtualDiskHandle(number: nextHandle)
  }

  // MARK: Stop

  /// Finishes and answers what clients have sent, closes their connections, flushes the disks, commits the metadata and gives the disks
  /// back. Returns false when something could not be closed in order; the log says what.
  public func stop() async -> Bool {
    let inOrder = await reactor.run { [self] () async -> Bool in
      isStopping = true
      let stuck = await server?.stop() ?? 0
      await acquireOperationLock()
      var inOrder = stuck == 0
      for pool in pools.values.sorted(by: { $0.name < $1.name }) {
        do throws(APIError) { try await shut(pool) } catch {
          inOrder = false
          logger.error("\(error)")
        }
      }
      pools.removeAll()
      registry.state.release()
      return inOrder
    }
    reactor.stop()
    return inOrder
  }

  // MARK: One operation at a time

  private func acquireOperationLock() async {
    while !operationLock.tryAcquire() { await withUnsafeContinuation { operationLock.enqueue($0) } }
  }

  /// Runs a change on the reactor, alone. It runs to its end even if the caller's time limit passes.
  func change<Value: Sendable>(
    _ body: @escaping @Sendable () async throws(APIError) -> Value
  ) async throws(APIError) -> Value {
    try await reactor.run { [self] () async throws(APIError) -> Value in
      await acquireOperationLock()
      defer { operationLock.release() }
      if isStopping { throw APIError(.stopping, "The server is stopping", remedy: "Try again when it runs") }
      return try await body()
    }
  }

  /// Runs a question on the reactor.
  func ask<Value: Sendable>(_ body: @escaping @Sendable () throws(APIError) -> Value) async throws(APIError) -> Value {
    try await reactor.run { () async throws(APIError) -> Value in try body() }
  }
}

extension String {
  var withoutFullStop: String { hasSuffix(".") ? String(dropLast()) : self }
}
