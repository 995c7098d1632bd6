import Logging
import Management
import Service
import UnixSignals

/// Runs the server until SIGTERM or SIGINT: the control socket's claim first, so that a second server is refused before any disk is touched;
/// then the pools and the NBD listeners; the control socket answers last, when clients can be served.
func runServer(configuration: ServeConfiguration) async throws {
  let logger = configuration.makeLogger()
  // Caught from here on, so that a signal during the start stops the server in good order too.
  let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
  let claim = try ControlSocketClaim(path: configuration.controlSocket)
  let service = try await StorageService.start(
    stateDirectory: configuration.stateDirectory, tuning: configuration.tuning, logger: logger)
  do {
    try await service.listen(at: configuration.listeners)
    try await ManagementServer(claim: claim, backend: service, logger: logger).run {
      for await signal in signals {
        logger.info("Stopping", metadata: ["signal": "\(signal)"])
        return
      }
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

extension ServeConfiguration {
  /// The server's log goes to standard error, where a service manager collects it.
  func makeLogger() -> Logger {
    var logger = Logger(label: "spaceport") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = logLevel
    return logger
  }
}
