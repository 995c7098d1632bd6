import CLinux

/// The hand-over between who starts a reactor and its new thread.
final class ReactorStart: @unchecked Sendable {  // one side writes before `semaphore` is posted, the other reads after
  private let name: String
  private let bufferLimits: BufferLimits
  private var result: Result<RingReactor, ReactorStartError>?
  private let semaphore: UnsafeMutablePointer<sem_t>

  init(name: String, bufferLimits: BufferLimits) {
    self.name = name
    self.bufferLimits = bufferLimits
    semaphore = .allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  func run() throws(ReactorStartError) -> RingReactor {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(self).toOpaque()
    let error = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ReactorStart>.fromOpaque(argument!).takeRetainedValue().threadMain()
        return nil
      }, argument)
    guard error == 0 else {
      Unmanaged<ReactorStart>.fromOpaque(argument).release()
      throw ReactorStartError(
        errorNumber: error, description: "No thread for reactor \(name): \(String(cString: strerror(error))). Raise the limit on processes."
      )
    }
    while sem_wait(semaphore) != 0 {}
    guard let result else { preconditionFailure("the thread posts only after its result") }
    return try result.get()
  }

  private func threadMain() {
    clinux_set_thread_name(name)
    switch makeRing() {
    case .failure(let error):
      result = .failure(error)
      sem_post(semaphore)
    case .success(let ring):
      let reactor = RingReactor(name: name, bufferLimits: bufferLimits, ring: ring)
      result = .success(reactor)
      sem_post(semaphore)
      reactor.runLoop()
    }
  }
}
