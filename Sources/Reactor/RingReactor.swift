import CLinux

/// One thread with one io_uring: the executor of everything that lives on it.
///
/// A turn of the loop runs the ready tasks, submits what they queued and waits for completions in one system call; a completion resumes
/// the task that waits for it. Tasks get here by `spawn` (an executor preference); no actors are involved, because a task that resumes
/// inside an actor goes over the shared thread pool first.
public final class RingReactor: Reactor, @unchecked Sendable {  // reactor-confined, but for `foreign` and what `start` hands over
  public let clock = ReactorClock()
  public let buffers: BufferPool
  public let name: String

  let ring: OpaquePointer
  private let thread: pthread_t
  private let foreign: ForeignJobs
  // Whether accesses overlap is not checked while the program runs (`@exclusivity`), here and in the few other places that every request passes: all are
  // by this thread, and none calls anybody who could come back to the same variable. The checks took half of a hit of the read cache (1.4 us
  // with them, 0.7 without).
  @exclusivity(unchecked) private var ready: [UnownedJob] = []
  @exclusivity(unchecked) private var running: [UnownedJob] = []
  @exclusivity(unchecked) private var timers = TimerQueue()

  /// What the kernel has been asked, by user_data.
  @exclusivity(unchecked) var operations = OperationTable(capacity: RingLimits.operations)
  private var lastOwner: UInt32 = 0
  private static let wakeUserData = UInt64.max
  private var wakeCount: UnsafeMutablePointer<UInt64>
  private var isStopping = false
  /// Free places in the ring's table of registered files.
  var freeFileIndices = Array((0..<Int32(RingLimits.registeredFiles)).reversed())
  /// Said once by who logs: why payload buffers are not registered, nil when they are.
  public private(set) var unregisteredBuffersReason: String?
  /// The same of the read cache's pages.
  public private(set) var unregisteredPagesReason: String?
  /// Why the kernel was not told that this thread serves block I/O, nil when it was.
  public private(set) var notIOFlusherReason: String?

  /// Starts the thread and its ring, and returns when both are ready.
  public static func start(name: String, bufferLimits: BufferLimits = .standard) throws(ReactorStartError) -> RingReactor {
    let start = ReactorStart(name: name, bufferLimits: bufferLimits)
    return try start.run()
  }

  /// On the reactor's own thread.
  init(name: String, bufferLimits: BufferLimits, ring: OpaquePointer) {
    self.name = name
    self.ring = ring
    thread = pthread_self()
    foreign = ForeignJobs()
    buffers = BufferPool(limits: bufferLimits)
    wakeCount = .allocate(capacity: 1)
    ready.reserveCapacity(RingLimits.operations)
    running.reserveCapacity(RingLimits.operations)
    clock.advance(to: RingReactor.monotonicNow())
    registerBuffers()
    clinux_set_timer_slack(RingLimits.timerSlackNanoseconds)
    let result = clinux_set_io_flusher()
    if result != 0 {
      notIOFlusherReason =
        "the kernel could not be told that this thread serves block I/O (\(String(cString: strerror(-result)))): where memory is short, a volume "
        + "that is attached on this same machine may stall. Give the server CAP_SYS_RESOURCE, which root has unless its container lacks it, "
        + "or AmbientCapabilities= in the systemd unit. Clients on other machines do not need it."
    }
  }

  /// Registered memory is locked as well. Where the limit on locked memory has room for the payload buffers alone, the cache's pages do
  /// without.
  private func registerBuffers() {
    let small = buffers.registeredRegion
    let pages = buffers.pageRegion
    var pieces = [iovec(iov_base: small.baseAddress, iov_len: small.count)]
    for start in stride(from: 0, to: pages.count, by: RingLimits.registeredBufferByteCount) {
      let count = min(RingLimits.registeredBufferByteCount, pages.count - start)
      pieces.append(iovec(iov_base: pages.baseAddress.map { $0 + start }, iov_len: count))
    }
    var result = clinux_ring_register_buffers(ring, pieces, UInt32(pieces.count))
    buffers.arePagesRegistered = result == 0 && pages.count > 0
    if result != 0 && pages.count > 0 {
      unregisteredPagesReason =
        "the read cache's memory is not locked and not registered with the kernel (\(String(cString: strerror(-result)))): it may be paged "
        + "out, and costs a few percent of speed. Raise the limit on locked memory: `ulimit -l`, or LimitMEMLOCK= in the systemd unit."
      result = clinux_ring_register_buffers(ring, pieces, 1)
    }
    buffers.isRegistered = result == 0
    if result != 0 {
      unregisteredBuffersReason =
        "payload buffers are not registered with the kernel (\(String(cString: strerror(-result)))), which costs a few percent of speed. "
        + "Raise the limit on locked memory: `ulimit -l`, or LimitMEMLOCK= in the systemd unit."
    }
  }

  public var isCurrent: Bool { pthread_equal(thread, pthread_self()) != 0 }

  public func random() -> UInt64 { UInt64.random(in: .min ... .max) }

  public func sleep(until deadline: Instant) async {
    assertIsCurrent()
    await withUnsafeContinuation { timers.insert(deadline, $0) }
  }

  /// From any thread.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent { ready.append(job) } else { foreign.append(job) }
  }

  /// Ends the loop after the jobs that are ready now, and waits for its thread. Close what lives here first: tasks that still wait are
  /// abandoned. From any thread but the reactor's own.
  public func stop() {
    assert(!isCurrent, "a reactor cannot wait for its own end")
    spawn { [self] in isStopping = true }
    pthread_join(thread, nil)
  }

  // MARK: The loop

  func runLoop() {
    let executor = asUnownedTaskExecutor()
    armWake()
    while true {
      foreign.drain(into: &ready)
      for _ in 0..<RingLimits.jobTurnsPerEnter where !ready.isEmpty { runReadyJobs(on: executor) }
      if isStopping { break }
      clock.advance(to: RingReactor.monotonicNow())
      timers.fire(at: clock.now)
      enter()
      clock.advance(to: RingReactor.monotonicNow())
      reap()
    }
    clinux_ring_destroy(ring)
  }

  private func runReadyJobs(on executor: UnownedTaskExecutor) {
    swap(&ready, &running)
    var untilClockReading = RingLimits.jobsPerClockReading
    for job in running {
      job.runSynchronously(on: executor)
      untilClockReading -= 1
      if untilClockReading == 0 {
        clock.advance(to: RingReactor.monotonicNow())
        untilClockReading = RingLimits.jobsPerClockReading
      }
    }
    running.removeAll(keepingCapacity: true)
  }

  /// Submits everything queued; waits for a completion only when there is nothing else to do.
  private func enter() {
    if !ready.isEmpty {
      clinux_ring_poll(ring)
    } else if let deadline = timers.nextDeadline {
      clinux_ring_wait_nanoseconds(ring, deadline.nanoseconds(since: clock.now))
    } else {
      clinux_ring_wait(ring)
    }
  }

  private func reap() {
    var userData: UInt64 = 0
    var result: Int32 = 0
    while clinux_ring_next(ring, &userData, &result) {
      if userData == RingReactor.wakeUserData {
        armWake()
        continue
      }
      operations.end(userData, result, buffers)  // who is resumed lands in `ready`
    }
  }

  private func armWake() {
    let wake = clinux_file(number: foreign.wakeDescriptor, is_registered: false, may_block: false)
    clinux_ring_read(ring, RingReactor.wakeUserData, wake, wakeCount, 8, 0, -1)
  }

  // MARK: Operations

  /// Suspends until the operation that `queue` puts into the ring, with the number it is given, has completed; its result is a count or
  /// -errno. Memory named in the operation must stay alive until then. A suspended caller's does; where the caller can be sent away
  /// (`owner`), the memory is a buffer of the pool, which is then kept, or lives for ever.
  @inline(__always)
  func complete(
    _ owner: OperationOwner = .none, _ buffer: BufferID = .unpooled, _ queue: (_ userData: UInt64) -> Void
  ) async -> Int32 {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Int32, Never>) in
      assertIsCurrent()
      queue(operations.begin(continuation, owner, buffer, at: clock.now))
    }
  }

  /// A new owner for the operations of one file.
  func makeOwner() -> OperationOwner {
    lastOwner &+= 1
    return OperationOwner(number: lastOwner)
  }

  /// Puts `descriptor` into the ring's table at `index` (-1 takes it out).
  func updateRegisteredFile(at index: Int32, to descriptor: Int32) -> Int32 { clinux_ring_set_file(ring, UInt32(index), descriptor) }

  private static func monotonicNow() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }
}
