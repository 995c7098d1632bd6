import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// The management API: HTTP with JSON over a Unix socket that only root, its owner and, if one was named, a group can use. It runs on a thread of its own and only sends
/// messages to the storage, so it can't delay I/O.
public struct ManagementServer: Sendable {
  /// How long calls may take, in seconds, and how much they may carry.
  public struct CallLimits: Sendable {
    public var callTimeoutSeconds: Double
    public var slowCallTimeoutSeconds: Double
    public var stopTimeoutSeconds: Double
    public var requestBodyByteCount: Int

    public init(
      callTimeoutSeconds: Double = Limits.callTimeoutSeconds, slowCallTimeoutSeconds: Double = Limits.slowCallTimeoutSeconds,
      stopTimeoutSeconds: Double = Limits.stopTimeoutSeconds, requestBodyByteCount: Int = Limits.requestBodyByteCount
    ) {
      self.callTimeoutSeconds = callTimeoutSeconds
      self.slowCallTimeoutSeconds = slowCallTimeoutSeconds
      self.stopTimeoutSeconds = stopTimeoutSeconds
      self.requestBodyByteCount = requestBodyByteCount
    }
  }

  let claim: ControlSocketClaim
  let backend: any StorageBackend
  let limits: CallLimits
  let logger: Logger

  /// - Parameter claim: the right to the control socket's path.
  public init(claim: ControlSocketClaim, backend: any StorageBackend, limits: CallLimits = CallLimits(), logger: Logger) {
    self.claim = claim
    self.backend = backend
    self.limits = limits
    self.logger = logger
  }

  /// Serves until `stop` returns, then lets the calls under way finish for at most `stopTimeoutSeconds`, and removes the socket.
  /// No signals are handled here. When the calling task is cancelled, so is `stop`, and it has to return then.
  /// - Parameter onListening: called once the socket answers.
  /// - Throws: `APIError` when there can't be a socket at the path.
  public func run(
    onListening: @escaping @Sendable () async -> Void = {}, until stop: @escaping @Sendable () async -> Void
  ) async throws(APIError) {
    try claim.prepareToBind()
    let outcome: Result<Void, APIError>
    do {
      try await serve(onListening: onListening, until: stop)
      outcome = .success(())
    } catch let error as APIError {
      outcome = .failure(error)
    } catch {
      outcome = .failure(
        APIError(.ioError, "The control socket \(claim.path) can't be served: \(error)", remedy: "Choose another one with --control"))
    }
    claim.withdraw()
    try outcome.get()
  }

  private func serve(
    onListening: @escaping @Sendable () async -> Void, until stop: @escaping @Sendable () async -> Void
  ) async throws {
    let listening = FirstAnswer<Result<Void, APIError>>()
    let services = serviceGroup(listening: listening)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask {
        // When the listener can't be bound, the other task must not wait for it for ever. After success this does nothing.
        defer { listening.give(.failure(APIError(.ioError, "The control socket could not be bound", remedy: ""))) }
        do {
          try await services.run()
        } catch is CancellationError {
          // Calls that outlast the time for stopping are cancelled; that is an orderly end too.
        }
      }
      let published = await withTaskCancellationHandler {
        await listening.wait()
      } onCancel: {
        listening.give(.failure(APIError(.stopping, "The server was stopped while it started", remedy: "")))
      }
      if case .success = published {
        logger.info("Control socket ready", metadata: ["path": "\(claim.path)"])
        tasks.addTask {
          await onListening()
          await stop()
          claim.withdraw()
          await services.triggerGracefulShutdown()
        }
      } else {
        await services.triggerGracefulShutdown()
      }
      // Whichever ends first, the stop or a failing listener, ends the other.
      do {
        while try await tasks.next() != nil {}
      } catch {
        tasks.cancelAll()
        throw error
      }
      // Not `try published.get()`: the 6.3.1 compiler crashes on it here when it optimises.
      if case .failure(let error) = published { throw error }
    }
  }

  private func serviceGroup(listening: FirstAnswer<Result<Void, APIError>>) -> ServiceGroup {
    // What the libraries report at level info (each start and stop) is theirs, not the operator's.
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    let channel = FirstAnswer<HTTP1Channel?>()
    let application = Application(
      router: Routes(
        backend: backend, limits: limits, access: ControlAccess(ownUser: geteuid(), group: claim.group), logger: logger
      ).makeRouter(),
      server: HTTPServerBuilder { responder in
        let http = HTTP1Channel(responder: responder, configuration: .init(idleTimeout: .seconds(Limits.idleConnectionSeconds)))
        channel.give(http)
        return http
      },
      configuration: ApplicationConfiguration(
        address: .unixDomainSocket(path: claim.bindPath), serverName: "spaceport/\(spaceportVersion)",
        availableConnectionsDelegate: .maximum(Limits.connectionCount, logger: quiet)),
      onServerRunning: { _ in
        do throws(APIError) {
          try claim.publish()
          listening.give(.success(()))
        } catch {
          listening.give(.failure(error))
        }
      },
      eventLoopGroupProvider: .shared(ManagementThread.group), logger: quiet)
    var services: [any Service] = [application]
    if let descriptor = claim.inherited {
      services.append(InheritedListener(descriptor: descriptor, channel: channel, logger: quiet))
    }
    var configuration = ServiceGroupConfiguration(services: services, logger: quiet)
    configuration.maximumGracefulShutdownDuration = .seconds(limits.stopTimeoutSeconds)
    return ServiceGroup(configuration: configuration)
  }
}
