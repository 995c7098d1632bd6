import BlockDevice
import CLinux
import Logging
import Reactor

/// Serves the exports of a directory to NBD clients. Lives on one reactor: `start` and `stop` may be called from anywhere, all else is
/// called on the reactor.
public final class NBDServer: @unchecked Sendable {  // reactor-confined
  private let reactor: RingReactor
  private let directory: any ExportDirectory
  private let tls: TLSContext?
  private let limits: NBDLimits
  private let budget: InFlightBudget
  private let logger: Logger

  private var listeners: [Listener] = []
  private var connections: [UInt64: Connection] = [:]
  private var acceptedCount: UInt64 = 0
  private var refusedCount: UInt64 = 0
  /// Told to go to make room, and about to do so.
  private var evicted: Set<UInt64> = []
  private var nextMemoryLook = Instant(nanoseconds: 0)
  private var slotsGivenBack = 0
  private var isWatching = false
  private var isStopping = false
  private var stopDeadline = Instant.distantFuture
  private var stopWaiters = WaitQueue()

  private struct Listener: Sendable {
    var socket: ListeningSocket
    var file: RingFile
    var task: Task<Void, Never>
  }

  /// - Parameter tls: nil when the server speaks in the clear only.
  public init(
    reactor: RingReactor, directory: any ExportDirectory, tls: TLSContext? = nil, limits: NBDLimits = .standard,
    logger: Logger = Logger(label: "nbd")
  ) {
    self.reactor = reactor
    self.directory = directory
    self.tls = tls
    self.limits = limits
    budget = InFlightBudget(reactor: reactor, byteCount: limits.bytesInFlightInAll, requestCount: limits.requestsInFlightInAll)
    self.logger = logger
  }

  // MARK: Start

  /// Listens at all `addresses` and on the listening sockets `inherited`, which belong to the server from now on; or throws and listens at none of
  /// the addresses. Returns where, with the ports the system chose. A host name may wait for its resolver, so call it from another thread than the
  /// reactor's.
  /// - Parameter socketGroup: whose members may connect to the Unix sockets among `addresses` beside this process's user; nil for none.
  @discardableResult
  public func start(
    listeners addresses: [ListenAddress], inherited: [Int32] = [], socketGroup: UInt32? = nil
  ) async throws(ListenError) -> [ListenAddress] {
    var sockets = inherited.map(ListeningSocket.init(inherited:))
    let kept = sockets.count
    for address in addresses {
      do throws(ListenError) { sockets += try ListeningSocket.open(address, group: socketGroup) } catch {
        for socket in sockets.dropFirst(kept) { socket.close() }
        throw error
      }
    }
    let opened = sockets
    await reactor.run { [self] in for socket in opened { listen(on: socket) } }
    return opened.map(\.address)
  }

  private func listen(on socket: ListeningSocket) {
    let file = reactor.adopt(socket.descriptor)
    let task = reactor.spawn { [self] in await accept(from: file) }
    listeners.append(Listener(socket: socket, file: file, task: task))
    logger.info("listening", metadata: ["address": "\(socket.address)"])
  }

  private func accept(from file: RingFile) async {
    while !isStopping {
      let result = await reactor.accept(file)
      if result >= 0 {
        serve(descriptor: result)
      } else if !isStopping && ![-EINTR, -ECONNABORTED, -EAGAIN].contains(result) {
        logger.warning("a client could not be accepted", metadata: ["reason": "\(String(cString: strerror(-result)))"])
        await reactor.sleep(milliseconds: WireLimits.acceptRetryMilliseconds)
      }
    }
  }

  // MARK: Connections

  /// Serves the client at the other end of a connected stream socket, which belongs to the server from now on.
  public func serve(descriptor: Int32) {
    guard let connection = admit(descriptor) else { return }
    reactor.spawn { [self] in
      await connection.run()
      remove(connection)
    }
    watch()
  }

  /// The same; returns when the client has left.
  public func serveToTheEnd(descriptor: Int32) async {
    guard let connection = admit(descriptor) else { return }
    watch()
    await connection.run()
    remove(connection)
  }

  /// nil, and the socket is closed, when the server is stopping or has as many connections as it may.
  private func admit(_ descriptor: Int32) -> Connection? {
    reactor.assertIsCurrent()
    guard !isStopping, hasRoomForConnection() else {
      if !isStopping { noteRefusal() }
      _ = CLinux.close(descriptor)
      return nil
    }
    acceptedCount += 1
    let connection = Connection(
      number: acceptedCount, peer: SocketOptions.peerName(of: descriptor), reactor: reactor, descriptor: descriptor, directory: directory,
      tls: tls, limits: limits, budget: budget, logger: logger)
    connections[connection.number] = connection
    return connection
  }

  /// Sends the clients away that have this device open, as `endWithdrawnSessions` does. Clients that are about to get it are sent away by its
  /// export's `isWithdrawn`.
  @discardableResult
  public func endSessions(of device: BlockDevice, within milliseconds: UInt64) async -> Int {
    await endSessions(within: milliseconds) { $0.serves(device) }
  }

  /// Sends the clients away whose exports say that they are withdrawn from them: after access rules have changed. What was read of their
  /// requests is answered first. Those that are still there after the limit are cut off; how many. Returns when none of them can begin a request.
  public func endWithdrawnSessions(within milliseconds: UInt64) async -> Int {
    await endSessions(within: milliseconds) { $0.hasLostItsExport }
  }

  private func endSessions(within milliseconds: UInt64, _ isMeant: (Connection) -> Bool) async -> Int {
    reactor.assertIsCurrent()
    let deadline = reactor.now.advanced(milliseconds: milliseconds)
    for connection in connections.values.filter(isMeant) { await connection.stop() }
    while connections.values.contains(where: isMeant) && reactor.now < deadline {
      await reactor.sleep(milliseconds: WireLimits.sessionEndLookMilliseconds)
    }
    let left = connections.values.filter(isMeant)
    for connection in left { connection.abort() }
    return left.count
  }

  /// Where the limit is reached the oldest connection that has nothing open is closed.
  private func hasRoomForConnection() -> Bool {
    if connections.count < limits.connections + evicted.count { return true }
    guard evicted.count < WireLimits.evictedConnections,
      let oldest = connections.values.lazy.filter(\.mayBeEvicted).min(by: { $0.number < $1.number })
    else { return false }
    oldest.evict()
    evicted.insert(oldest.number)
    noteRefusal()
    return true
  }

  private func noteRefusal() {
    refusedCount += 1
    guard refusedCount.nonzeroBitCount == 1 else { return }  // the 1st, 2nd, 4th, 8th, ...: a flood does not fill the log
    logger.warning(
      "the limit on connections is reached: new clients are refused, or others closed that have not said what they want",
      metadata: ["limit": "\(limits.connections)", "refused": "\(refusedCount)"])
  }

  private func remove(_ connection: Connection) {
    connections[connection.number] = nil
    evicted.remove(connection.number)
    if connections.isEmpty { stopWaiters.wakeAll() }
  }

  /// Looks after the time limits while there are connections.
  private func watch() {
    if isWatching { return }
    isWatching = true
    reactor.spawn { [self] in
      while !connections.isEmpty {
        await reactor.sleep(milliseconds: limits.watchMilliseconds)
        let now = reactor.now
        let othersWait = budget.hasWaiter(for: limits.patienceMilliseconds)
        for connection in connections.values { slotsGivenBack += connection.look(at: now, othersWait: othersWait) }
        giveBackIdleMemory(at: now)
        if stopDeadline < now {
          for connection in connections.values { connection.abort() }
          stopWaiters.wakeAll()
        }
      }
      isWatching = false
      reactor.buffers.releaseIdleLargeBuffers()
    }
  }

  /// Large buffers are kept for the next request, but not for ever. What slots and tasks took, the allocator keeps until it is asked:
  /// elsewhere, because it takes milliseconds.
  private func giveBackIdleMemory(at now: Instant) {
    guard nextMemoryLook < now else { return }
    nextMemoryLook = now.advanced(milliseconds: limits.idleMilliseconds)
    if slotsGivenBack >= WireLimits.slotsWorthATrim {
      slotsGivenBack = 0
      Task.detached { _ = malloc_trim(0) }
    }
    if reactor.buffers.largeByteCount > 2 * budget.takePeak() + WireLimits.keptBufferByteCount { reactor.buffers.releaseIdleLargeBuffers() }
  }

  // MARK: Stop

  /// Takes no more clients. On every connection, requests that were read whole are finished and answered; then it is closed, and what was
  /// not read is not answered: a client that reconnects sends it again. Returns when all connections are closed; after the limit's time
  /// those that are left are cut off, and their number is returned: their requests are stuck in a device.
  @discardableResult
  public func stop() async -> Int {
    await reactor.run { [self] () async -> Int in await stopOnReactor() }
  }

  private func stopOnReactor() async -> Int {
    if !isStopping {
      isStopping = true
      stopDeadline = reactor.now.advanced(milliseconds: limits.stopMilliseconds)
      for listener in listeners {
        listener.socket.removeFile()
        await reactor.cancelAll(listener.file)
        await listener.task.value
        reactor.close(listener.file)
      }
      listeners.removeAll()
      for connection in Array(connections.values) { await connection.stop() }
    }
    while !connections.isEmpty && reactor.now <= stopDeadline {
      await withUnsafeContinuation { stopWaiters.append($0) }
    }
    if !connections.isEmpty {
      logger.error("connections cut off with requests still in a device", metadata: ["connections": "\(connections.count)"])
    }
    return connections.count
  }

  // MARK: Statistics

  /// For tests: connections that have given their memory back.
  var idleConnectionCount: Int { connections.values.count(where: \.hasGivenMemoryBack) }

  public var statistics: NBDServerStatistics {
    reactor.assertIsCurrent()
    return NBDServerStatistics(
      accepted: acceptedCount, refused: refusedCount,
      connections: connections.values.map(\.statistics).sorted { $0.number < $1.number })
  }
}

/// What the server has done since its start, and does now.
public struct NBDServerStatistics: Sendable {
  public var accepted: UInt64
  /// For want of room: the limit on connections.
  public var refused: UInt64
  public var connections: [ConnectionStatistics]
}
