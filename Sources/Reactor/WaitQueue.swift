import DequeModule

/// Tasks of one reactor that wait for a condition, first come first served. It holds no condition of its own: who is woken checks again.
public struct WaitQueue {
  private var waiters = Deque<UnsafeContinuation<Void, Never>>()

  public init(reservedCapacity: Int = 8) { waiters.reserveCapacity(reservedCapacity) }

  public var isEmpty: Bool { waiters.isEmpty }
  public var count: Int { waiters.count }

  /// For use inside `withUnsafeContinuation`.
  public mutating func append(_ continuation: UnsafeContinuation<Void, Never>) { waiters.append(continuation) }

  public mutating func wakeFirst() { waiters.popFirst()?.resume() }

  public mutating func wakeAll() {
    while let waiter = waiters.popFirst() { waiter.resume() }
  }
}
