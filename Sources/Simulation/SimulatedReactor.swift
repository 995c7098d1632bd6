import CLinux
import Reactor
import Synchronization

/// In which order jobs that are ready at the same time run.
public enum JobOrder: Sendable {
  /// Drawn from the seed: finds code that relies on an order nobody promised.
  case seeded
  /// As they became ready, as the ring's reactor does it.
  case firstComeFirstServed
}

/// A reactor without a kernel: virtual time, jobs in an order drawn from a seed, run by the thread that calls `runToCompletion`, `run`
/// or `runUntilIdle`. One seed, one run, always the same, so long as the code above keeps to what `Reactor` hands it. The order of the
/// standard library's sets and dictionaries is not part of that: see `isHashingDeterministic`.
public final class SimulatedReactor: Reactor, @unchecked Sendable {  // reactor-confined, but for `owner` and `foreignJobCount`
  public let clock = ReactorClock()
  public let buffers: BufferPool
  public let seed: UInt64
  /// Jobs that one call may run before it fails with `stepLimit`.
  public var stepLimit = SimulationLimits.steps
  /// Jobs run since the start.
  public private(set) var stepCount: UInt64 = 0
  /// Says what is in flight, for the report of a deadlock.
  public var describePending: () -> String = { "" }

  private let jobOrder: JobOrder
  private var schedule: SeededRandom
  private var layersRandom: SeededRandom
  private var ready: [UnownedJob] = []
  private var timers = TimerQueue()
  private var violations: [String] = []
  /// pthread_self() of the thread that made this reactor or runs it.
  private let owner: Atomic<UInt>
  private let foreignJobCount = Atomic<Int>(0)

  public init(
    seed: UInt64, jobOrder: JobOrder = .seeded, startingAt start: Instant = Instant(nanoseconds: 1_000_000_000),
    bufferLimits: BufferLimits = SimulationLimits.buffers
  ) {
    self.seed = seed
    self.jobOrder = jobOrder
    schedule = SeededRandom(seed: seed, stream: 1)
    layersRandom = SeededRandom(seed: seed, stream: 2)
    buffers = BufferPool(limits: bufferLimits)
    owner = Atomic(UInt(pthread_self()))
    clock.advance(to: start)
  }

  /// Whether sets and dictionaries have the same order in every run. Only the environment can say so, before the process starts
  /// (SWIFT_DETERMINISTIC_HASHING=1): set it where a seed is to be replayed in another process.
  public static var isHashingDeterministic: Bool { HashOrder.isDeterministic }

  // MARK: Reactor

  public var isCurrent: Bool { owner.load(ordering: .acquiring) == UInt(pthread_self()) }

  public func random() -> UInt64 { layersRandom.next() }

  public func sleep(until deadline: Instant) async {
    assertIsCurrent()
    await withUnsafeContinuation { timers.insert(deadline, $0) }
  }

  /// A job from another thread is counted and never run: the next turn of the loop reports it.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent { ready.append(job) } else { foreignJobCount.add(1, ordering: .acquiringAndReleasing) }
  }

  // MARK: Running

  /// Runs `body` as a task of this reactor until it is finished, time jumping ahead whenever nothing is ready. Throws what `body` throws,
  /// or `SimulationError`. Other tasks that it started may still be waiting then: `runUntilIdle` goes on with them.
  public func runToCompletion<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    adoptThread()
    let outcome = Outcome<Value>()
    Task(executorPreference: self) {
      do { outcome.result = .success(try await body()) } catch { outcome.result = .failure(error) }
    }
    try loop(until: .distantFuture) { outcome.result != nil }
    guard let result = outcome.result else { throw deadlock() }
    try checkViolations()
    return try result.get()
  }

  /// Runs until `task`, which lives here, has ended.
  public func runToCompletion(_ task: Task<Void, Never>) throws { try runToCompletion { await task.value } }

  /// Runs everything that is due up to `deadline`; the clock stands there afterwards.
  public func run(until deadline: Instant) throws {
    adoptThread()
    try loop(until: deadline) { false }
    if clock.now < deadline { clock.advance(to: deadline) }
    try checkViolations()
  }

  /// Runs until no job is ready and nothing sleeps. `limit`: the virtual time at which to give up with `timeLimit`, for layers with
  /// timers that come again and again.
  public func runUntilIdle(limit: Instant = .distantFuture) throws {
    adoptThread()
    try loop(until: limit) { false }
    try checkViolations()
    if !ready.isEmpty || timers.nextDeadline != nil {
      throw SimulationError(.timeLimit, "tasks still run or sleep at \(Trace.microseconds(limit)). \(describePending())")
    }
  }

  /// Like `runToCompletion`, for a machine whose power was cut: hands back nil when `body` is not finished `seconds` later or waits for
  /// something that never comes.
  package func runAsFarAsPossible(
    seconds: UInt64, isDead: () -> Bool, _ body: @escaping @Sendable () async throws -> Void
  ) throws(SimulationError) -> Result<Void, any Error>? {
    adoptThread()
    let outcome = Outcome<Void>()
    Task(executorPreference: self) {
      do { outcome.result = .success(try await body()) } catch { outcome.result = .failure(error) }
    }
    try loop(until: .distantFuture) { outcome.result != nil || isDead() }
    if outcome.result == nil && isDead() {
      try loop(until: clock.now.advanced(milliseconds: seconds * 1000)) { outcome.result != nil }
    } else if outcome.result == nil {
      throw deadlock()
    }
    try checkViolations()
    return outcome.result
  }

  /// Lets what still runs go on for so long, without asking that it ends.
  package func unwind(seconds: UInt64) throws(SimulationError) {
    try loop(until: clock.now.advanced(milliseconds: seconds * 1000)) { false }
    try checkViolations()
  }

  /// A rule of the border that the layers broke; the run that is under way fails with it.
  public func report(violation: String) { violations.append(violation) }

  private final class Outcome<Value: Sendable>: @unchecked Sendable {  // reactor-confined
    var result: Result<Value, any Error>?
  }

  /// Tests are free to make a reactor on one thread and run it on another, one after the other.
  private func adoptThread() { owner.store(UInt(pthread_self()), ordering: .releasing) }

  private func loop(until deadline: Instant, _ isFinished: () -> Bool) throws(SimulationError) {
    let executor = asUnownedTaskExecutor()
    let lastStep = stepCount.addingReportingOverflow(stepLimit)
    while !isFinished() {
      try checkForeignJobs()
      if !ready.isEmpty {
        stepCount += 1
        if !lastStep.overflow && stepCount > lastStep.partialValue {
          throw SimulationError(.stepLimit, "\(stepLimit) jobs at \(Trace.microseconds(clock.now)) without an end. \(describePending())")
        }
        takeReady().runSynchronously(on: executor)
      } else if let next = timers.nextDeadline, next <= deadline {
        if next > clock.now { clock.advance(to: next) }
        timers.fire(at: clock.now)
      } else {
        break
      }
    }
    try checkForeignJobs()
  }

  private func takeReady() -> UnownedJob {
    switch jobOrder {
    case .firstComeFirstServed: return ready.removeFirst()
    case .seeded:
      let index = ready.count == 1 ? 0 : schedule.index(below: ready.count)
      ready.swapAt(index, ready.count - 1)
      return ready.removeLast()
    }
  }

  private func checkForeignJobs() throws(SimulationError) {
    let count = foreignJobCount.exchange(0, ordering: .acquiringAndReleasing)
    if count > 0 {
      throw SimulationError(
        .foreignJob,
        "\(count) jobs came from other threads. Something in the run used Task.init, Task.detached, an actor or a thread of its own; "
          + "start tasks with `reactor.spawn` or as child tasks.")
    }
  }

  private func checkViolations() throws(SimulationError) {
    if violations.isEmpty { return }
    let text = violations.joined(separator: "; ")
    violations.removeAll()
    throw SimulationError(.violation, text)
  }

  private func deadlock() -> SimulationError {
    SimulationError(
      .deadlock,
      "at \(Trace.microseconds(clock.now)), after \(stepCount) jobs, nothing is ready and nothing sleeps, but the run is not finished: a "
        + "continuation is never resumed. \(describePending())")
  }
}
