import Management
import Synchronization
import UnixSignals

/// Ctrl-C and the like while a command with several steps is at work: the step that is under way ends, and what was done is undone.
final class Interruption: Sendable {
  private struct State {
    var isInterrupted = false
    /// The program under way, which is ended.
    var process: Int32?
  }

  private let state = Mutex(State())
  private let watcher: Mutex<Task<Void, Never>?> = Mutex(nil)

  /// From now on signals do not end this process.
  init() async {
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
    let task = Task { [weak self] in
      for await _ in signals { self?.interrupt() }
    }
    watcher.withLock { $0 = task }
  }

  func end() { watcher.withLock { $0?.cancel() } }

  private func interrupt() {
    let process = state.withLock { state in
      state.isInterrupted = true
      return state.process
    }
    if let process { ToolProcess.terminate(process) }
  }

  /// Between two steps.
  func check() throws(APIError) {
    if state.withLock({ $0.isInterrupted }) { throw APIError(.stopping, "Interrupted", remedy: "") }
  }

  /// Called with the program that is begun, and with nil when it has ended.
  func runs(_ process: Int32?) {
    let isInterrupted = state.withLock { state in
      state.process = process
      return state.isInterrupted
    }
    if isInterrupted, let process { ToolProcess.terminate(process) }
  }
}
