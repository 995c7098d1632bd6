import HeapModule

/// Sleeping tasks, soonest first; equal deadlines wake in the order they were asked for.
public struct TimerQueue {
  private struct Entry: Comparable {
    var deadline: Instant
    var sequence: UInt64
    var continuation: UnsafeContinuation<Void, Never>

    static func < (left: Entry, right: Entry) -> Bool { (left.deadline, left.sequence) < (right.deadline, right.sequence) }
    static func == (left: Entry, right: Entry) -> Bool { left.sequence == right.sequence }
  }

  private var entries = Heap<Entry>()
  private var nextSequence: UInt64 = 0

  public init() {}

  public var nextDeadline: Instant? { entries.min?.deadline }

  public mutating func insert(_ deadline: Instant, _ continuation: UnsafeContinuation<Void, Never>) {
    entries.insert(Entry(deadline: deadline, sequence: nextSequence, continuation: continuation))
    nextSequence += 1
  }

  /// Wakes everything that is due at `now`.
  public mutating func fire(at now: Instant) {
    while let first = entries.min, first.deadline <= now {
      entries.removeMin().continuation.resume()
    }
  }
}
