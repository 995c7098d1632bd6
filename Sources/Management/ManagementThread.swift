import NIOPosix

/// The one thread on which control sockets are served and called. It lives as long as the process: the HTTP library schedules work
/// on it until after its server has returned, so there is no moment at which it could be ended safely.
enum ManagementThread {
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
}
