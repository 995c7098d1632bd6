import Synchronization

/// A value that is given once and waited for by one task. Giving it a second time does nothing.
final class FirstAnswer<Value: Sendable>: Sendable {
  private enum State {
    case empty
    case waiting(CheckedContinuation<Value, Never>)
    case given(Value)
    case taken
  }

  private let state = Mutex<State>(.empty)

  func give(_ value: Value) {
    let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
      switch state {
      case .empty:
        state = .given(value)
        return nil
      case .waiting(let continuation):
        state = .taken
        return continuation
      case .given, .taken:
        return nil
      }
    }
    waiting?.resume(returning: value)
  }

  /// Waits for the value. To be called once.
  func wait() async -> Value {
    await withCheckedContinuation { continuation in
      let value: Value? = state.withLock { state in
        guard case .given(let value) = state else {
          state = .waiting(continuation)
          return nil
        }
        state = .taken
        return value
      }
      if let value { continuation.resume(returning: value) }
    }
  }
}

/// Bounds how long a caller waits.
enum TimeLimit {
  /// Runs an operation and waits for it at most so long. An operation that passes its limit is cancelled and, if it takes no notice,
  /// left alone: a storage layer that hangs must not take the management plane with it.
  /// - Throws: what the operation throws, or `late` when the limit passes, or an `APIError` with code `stopping` when the calling task is
  ///   cancelled.
  static func run<Value: Sendable>(
    seconds: Double, late: APIError, _ operation: @escaping @Sendable () async throws(APIError) -> Value
  ) async throws(APIError) -> Value {
    let answer = FirstAnswer<Result<Value, APIError>>()
    let work = Task {
      do throws(APIError) {
        answer.give(.success(try await operation()))
      } catch {
        answer.give(.failure(error))
      }
    }
    let timer = Task {
      // Sleeping ends early only by the cancellation below, when the answer is there already.
      try await Task.sleep(for: .seconds(seconds))
      answer.give(.failure(late))
    }
    let result = await withTaskCancellationHandler {
      await answer.wait()
    } onCancel: {
      let stopping = APIError(.stopping, "The server stopped before the call was done", remedy: "Try again when the server runs")
      answer.give(.failure(stopping))
    }
    work.cancel()
    timer.cancel()
    return try result.get()
  }
}
