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
  private let remedy: String

  /// From now on signals do not end this process.
  /// - Parameter remedy: what can be done after one.
  init(remedy: String) async {
    self.remedy = remedy
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
    let task = Task { [weak self] in
      for await _ in signals { self?.interrupt() }
    }
    watcher.withLock { $0 = task }
  }

  func end() { watcher.withLock { $0?.cancel() } }

  func interrupt() {
    state.withLock { state in
      state.isInterrupted = true
      // With the lock held: the program's end waits for it, and until then the number is its own.
      if let process = state.process { ToolProcess.terminate(process) }
    }
  }

  /// Between two steps.
  func check() throws(APIError) {
    if state.withLock({ $0.isInterrupted }) { throw APIError(.stopping, "Interrupted", remedy: remedy) }
  }

  /// Called with the program that is begun, and with nil when it has ended, before it is reaped.
  func runs(_ process: Int32?) {
    state.withLock { state in
      state.process = process
      if state.isInterrupted, let process { ToolProcess.terminate(process) }
    }
  }
}
