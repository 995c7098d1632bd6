import Logging
import Management
import TestSupport
import Synchronization

/// Where tasks wait until it is opened, whether they are cancelled or not.
final class Gate: Sendable {
  private struct State {
    var isOpen = false
    var waiting: [CheckedContinuation<Void, Never>] = []
    var arrivals = 0
  }

  private let state = Mutex(State())

  /// How many tasks have come to the gate.
  var arrivals: Int { state.withLock(\.arrivals) }

  func wait() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        state.arrivals += 1
        if !state.isOpen { state.waiting.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }

  func open() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}

/// A management server on a socket in a directory of its own.
struct ServerHarness {
  let socketPath: String
  let client: ManagementClient
  /// Opened to stop the server.
  let stop: Gate
  /// Open once the server has returned.
  let stopped: Gate

  static func quietLogger() -> Logger {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
  }

  /// Runs the body beside a server, and stops the server.
  static func run(
    _ backend: any StorageBackend, limits: ManagementServer.CallLimits = .init(), socketPath: String? = nil,
    group: String? = nil, inherited: Int32? = nil,
    _ body: (ServerHarness) async throws -> Void
  ) async throws {
    let place = try TemporaryDirectory()
    let path = socketPath ?? place.file("control.sock")
    let claim = try ControlSocketClaim(path: path, group: group, inherited: inherited)
    let server = ManagementServer(claim: claim, backend: backend, limits: limits, logger: quietLogger())
    let harness = ServerHarness(socketPath: path, client: ManagementClient(socketPath: path), stop: Gate(), stopped: Gate())
    let listening = Gate()
    let failure = Mutex<APIError?>(nil)
    let task = Task {
      do throws(APIError) {
        try await server.run(onListening: { listening.open() }, until: { await harness.stop.wait() })
      } catch {
        failure.withLock { $0 = error }
        listening.open()
      }
      harness.stopped.open()
    }
    await listening.wait()
    if let error = failure.withLock({ $0 }) { throw error }
    do {
      try await body(harness)
    } catch {
      harness.stop.open()
      await task.value
      throw error
    }
    harness.stop.open()
    await task.value
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

/// Waits until a condition holds, for at most so long.
func eventually(seconds: Double = 10, _ condition: () -> Bool) async throws -> Bool {
  let end = ContinuousClock.now + .seconds(seconds)
  while !condition() {
    if ContinuousClock.now > end { return false }
    try await Task.sleep(for: .milliseconds(2))
  }
  return true
}
