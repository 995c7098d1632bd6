import CLinux

/// Jobs that other threads hand to a reactor, and the eventfd that wakes its ring for them.
final class ForeignJobs: @unchecked Sendable {  // guarded by `mutex`: a pthread mutex, because the thread sanitizer understands it
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var jobs: [UnownedJob] = []
  /// True between a wake-up being written and the reactor's answer to it, so that a burst costs one write.
  private var isWakePending = false
  let wakeDescriptor: Int32

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC))
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    if wakeDescriptor >= 0 { close(wakeDescriptor) }
  }

  func append(_ job: UnownedJob) {
    pthread_mutex_lock(mutex)
    jobs.append(job)
    let mustWake = !isWakePending
    isWakePending = true
    pthread_mutex_unlock(mutex)
    if mustWake { wake() }
  }

  func wake() {
    var one: UInt64 = 1
    _ = write(wakeDescriptor, &one, 8)
  }

  /// Moves everything to the end of `list`, in the order it came.
  func drain(into list: inout [UnownedJob]) {
    pthread_mutex_lock(mutex)
    if !jobs.isEmpty {
      list.append(contentsOf: jobs)
      jobs.removeAll(keepingCapacity: true)
    }
    isWakePending = false
    pthread_mutex_unlock(mutex)
  }
}
