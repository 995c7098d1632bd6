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

/// A number of places; who finds none free waits for one, in the order of coming.
public final class Places: @unchecked Sendable {  // reactor-confined
  private var freeCount: Int
  private var waiters = WaitQueue()

  public init(_ count: Int) { freeCount = count }

  public func enter() async {
    if freeCount > 0 {
      freeCount -= 1
    } else {
      await withUnsafeContinuation { waiters.append($0) }
    }
  }

  /// The place goes to who has waited longest.
  public func leave() { if waiters.isEmpty { freeCount += 1 } else { waiters.wakeFirst() } }
}
