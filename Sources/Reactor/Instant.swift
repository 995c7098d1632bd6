/// A point in monotonic time, in nanoseconds since an origin that only the reactor knows. Never wall-clock time.
public struct Instant: Comparable, Hashable, Sendable {
  public var nanoseconds: UInt64

  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Later than every time a reactor can show: "no deadline".
  public static let distantFuture = Instant(nanoseconds: .max)

  public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

  /// This instant moved by `milliseconds`, held at `distantFuture` instead of overflowing.
  public func advanced(milliseconds: UInt64) -> Instant {
    let (duration, tooLong) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return tooLong ? .distantFuture : advanced(nanoseconds: duration)
  }

  public func advanced(nanoseconds duration: UInt64) -> Instant {
    let (sum, tooLate) = nanoseconds.addingReportingOverflow(duration)
    return tooLate ? .distantFuture : Instant(nanoseconds: sum)
  }

  /// Nanoseconds from `earlier` to here; 0 when `earlier` is later.
  public func nanoseconds(since earlier: Instant) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
  }
}

/// The reactor's clock as the layers read it: refreshed every turn of the loop and every few jobs, so that reading it costs a load and
/// not a system call. Latencies are therefore exact to a few microseconds.
public final class ReactorClock: @unchecked Sendable {  // reactor-confined: see Reactor
  public internal(set) var now = Instant(nanoseconds: 0)

  public init() {}

  /// For the reactor that owns this clock (the ring's, or the simulator's).
  public func advance(to instant: Instant) {
    assert(instant >= now, "the clock never runs backwards")
    now = instant
  }
}
