/// What a layer may ask of the thread it lives on: the time, sleep, randomness, buffers, and tasks that stay here. Nothing above this
/// line calls the system, reads a clock or draws a random number in any other way, so that the simulator can stand in for the kernel.
///
/// **Reactor-confined classes.** Sessions and layers are shared by several tasks of one reactor, so Swift wants them `Sendable`. They are
/// marked `@unchecked Sendable` with the comment "reactor-confined": every access is from a task of their one reactor, which runs one
/// job at a time on one thread, so there are no locks. `assertIsCurrent()` traps in debug builds where that is not so.
public protocol Reactor: TaskExecutor {
  var clock: ReactorClock { get }
  /// Buffers for the payloads of requests, registered with the kernel where that is possible.
  var buffers: BufferPool { get }
  /// True on the reactor's own thread.
  var isCurrent: Bool { get }
  /// 64 random bits: from the kernel, or from the simulator's seed.
  func random() -> UInt64
  /// Suspends until `deadline` has passed. Not cancellable: sleep in steps where a task must end early.
  func sleep(until deadline: Instant) async
}

extension Reactor {
  public var now: Instant { clock.now }

  /// Starts a task that lives on this reactor. Child tasks inherit that; a plain `Task {}` inside would not.
  @discardableResult
  public func spawn(_ body: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
    Task(executorPreference: self) { await body() }
  }

  /// Runs `body` on this reactor and hands back its result: how other threads (Management, tests) ask something of a layer.
  public func run<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () async throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let task = Task(executorPreference: self) { () async -> Result<Value, Failure> in
      do throws(Failure) { return .success(try await body()) } catch { return .failure(error) }
    }
    return try await task.value.get()
  }

  public func sleep(milliseconds: UInt64) async { await sleep(until: now.advanced(milliseconds: milliseconds)) }

  public func assertIsCurrent() { assert(isCurrent, "reactor-confined state touched from another thread") }
}
