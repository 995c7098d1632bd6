import CLinux
import DequeModule

/// One thread that makes the system calls which the ring cannot (ioctl, libblkid, opening a device that spins up), so that a reactor never
/// waits for them. Calls are made one after the other, in the order they were asked for.
///
/// The thread ends when the last reference is gone and its queue is empty.
public final class BlockingCalls: Sendable {
  private let queue: BlockingCallQueue

  private init(queue: BlockingCallQueue) { self.queue = queue }

  deinit { queue.end() }

  public static func start(name: String) throws(ReactorStartError) -> BlockingCalls {
    let queue = BlockingCallQueue(name: name)
    try queue.startThread()
    return BlockingCalls(queue: queue)
  }

  /// Runs `body` on the thread; the caller is suspended meanwhile and resumes on its own executor.
  public func perform<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    let value = await withUnsafeContinuation { (continuation: UnsafeContinuation<Value, Never>) in
      queue.append { [queue] in
        let value = body()
        queue.handOver()
        continuation.resume(returning: value)
      }
    }
    queue.handOver()
    return value
  }
}

/// What the thread and those who ask share. Apart from `BlockingCalls`, so that the thread does not keep that one alive.
private final class BlockingCallQueue: @unchecked Sendable {  // guarded by `mutex`
  private let name: String
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var calls = Deque<@Sendable () -> Void>()
  private var isEnding = false

  init(name: String) {
    self.name = name
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func startThread() throws(ReactorStartError) {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(self).toOpaque()
    let error = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<BlockingCallQueue>.fromOpaque(argument!).takeRetainedValue().threadMain()
        return nil
      }, argument)
    guard error == 0 else {
      Unmanaged<BlockingCallQueue>.fromOpaque(argument).release()
      throw ReactorStartError(
        errorNumber: error, description: "No thread for \(name): \(String(cString: strerror(error))). Raise the limit on processes.")
    }
    pthread_detach(thread)
  }

  func append(_ call: @escaping @Sendable () -> Void) {
    pthread_mutex_lock(mutex)
    calls.append(call)
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(condition)
  }

  /// What was done before this on one thread has happened for who calls it later on another. The runtime sees to that as well, but where a
  /// continuation is resumed before its task is suspended it does so by an atomic that the thread sanitizer does not see.
  func handOver() {
    pthread_mutex_lock(mutex)
    pthread_mutex_unlock(mutex)
  }

  func end() {
    pthread_mutex_lock(mutex)
    isEnding = true
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(condition)
  }

  private func threadMain() {
    clinux_set_thread_name(name)
    while let call = next() { call() }
  }

  private func next() -> (@Sendable () -> Void)? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while calls.isEmpty {
      if isEnding { return nil }
      pthread_cond_wait(condition, mutex)
    }
    return calls.popFirst()
  }
}
