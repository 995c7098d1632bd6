import Logging
import Management
import Service
import Systemd
import UnixSignals

/// Runs the server until SIGTERM or SIGINT, or until its only client has left: the control socket's claim first, so that a second server is refused
/// before any disk is touched; then the pools and the NBD listeners; the control socket answers last, when clients can be served.
func runServer(configuration: ServeConfiguration, _ handedOver: HandedOver) async throws {
  let client = try configuration.clientDescriptor.map { descriptor throws(APIError) in try ClientDescriptor.take(descriptor) }
  let logger = configuration.makeLogger()
  // Caught from here on, so that a signal during the start stops the server in good order too.
  let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
  let claim: ControlSocketClaim? =
    if let path = configuration.controlSocket {
      try ControlSocketClaim(path: path, group: configuration.controlGroup, inherited: handedOver.control?.descriptor)
    } else { nil }
  let listenGroup: UInt32? = if let name = configuration.listenGroup { try UnixGroup.number(of: name) } else { nil }
  let throwAway = if configuration.throwAwayByteCount == nil { nil as ThrowAway? } else { try ThrowAway.make() }
  defer { throwAway?.remove() }
  let service = try await StorageService.start(
    stateDirectory: throwAway?.directory ?? configuration.stateDirectory, tuning: configuration.tuning, logger: logger)
  let watchdog = handedOver.manager.flatMap { watch(service, for: $0) }
  defer { watchdog?.cancel() }
  do {
    if let throwAway, let byteCount = configuration.throwAwayByteCount { try await throwAway.fill(service, byteCount: byteCount) }
    try await service.listen(
      at: configuration.listeners, inherited: handedOver.sockets.map(\.descriptor), socketGroup: listenGroup, tls: configuration.tls)
    try await serve(service, claim, handedOver.manager, logger) {
      await ending(signals, of: client, service, logger)
      handedOver.manager?.stopping()
    }
  } catch {
    _ = await service.stop()
    throw error
  }
  guard await service.stop() else {
    throw APIError(.ioError, "The server could not stop in order", remedy: "Its log says what was left; check the pools' disks")
  }
  logger.info("Stopped in order")
}

/// With or without a control socket, until `stop` returns.
private func serve(
  _ service: StorageService, _ claim: ControlSocketClaim?, _ manager: ServiceManager?, _ logger: Logger,
  until stop: @escaping @Sendable () async -> Void
) async throws {
  guard let claim else {
    manager?.ready(status: "Serving")
    await stop()
    return
  }
  try await ManagementServer(claim: claim, backend: service, logger: logger).run {
    manager?.ready(status: "Serving; control socket \(claim.path)")
  } until: {
    await stop()
  }
}

/// Returns at a signal, and when the only client has left.
private func ending(_ signals: UnixSignalsSequence, of client: Int32?, _ service: StorageService, _ logger: Logger) async {
  let (ended, end) = AsyncStream.makeStream(of: Void.self)
  let signalled = Task {
    for await signal in signals {
      logger.info("Stopping", metadata: ["signal": "\(signal)"])
      break
    }
    end.finish()
  }
  if let client {
    // No child of this task: its session ends with the service, and where a disk hangs nobody waits for it here.
    Task {
      await service.serveOneClient(descriptor: client)
      end.finish()
    }
  }
  for await _ in ended {}
  signalled.cancel()
  if client != nil { await service.endSessions() }
}

/// Signs of life, for as long as every reactor takes its turns: one that hangs answers no more, and the manager hears nothing more.
private func watch(_ service: StorageService, for manager: ServiceManager) -> Task<Void, Never>? {
  guard let interval = manager.watchdogMicroseconds else { return nil }
  return Task {
    while !Task.isCancelled {
      await service.proveAlive()
      manager.isAlive()
      try? await Task.sleep(for: .microseconds(Int64(clamping: interval)))
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
