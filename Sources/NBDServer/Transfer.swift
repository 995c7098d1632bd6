import Reactor

/// How a payload or a batch of replies gets on that is on its way from or to a client.
struct Transfer {
  private var beganAt = Instant.distantFuture
  private var lastMovedAt = Instant.distantFuture
  private var byteCount: UInt64 = 0

  mutating func begin(at now: Instant) {
    beganAt = now
    lastMovedAt = now
    byteCount = 0
  }

  var isBegun: Bool { beganAt != .distantFuture }

  mutating func end() {
    beganAt = .distantFuture
    lastMovedAt = .distantFuture
  }

  /// `count`: bytes, or what a failed operation returned.
  mutating func moved(_ count: Int, at now: Instant) {
    guard count > 0 else { return }
    lastMovedAt = now
    byteCount &+= UInt64(count)
  }

  func hasStoodStill(at now: Instant, _ milliseconds: UInt64) -> Bool { lastMovedAt.advanced(milliseconds: milliseconds) < now }

  /// Slower than transfers may be while others wait.
  func isSlow(at now: Instant, _ limits: NBDLimits) -> Bool {
    guard beganAt.advanced(milliseconds: limits.pressedMilliseconds) < now else { return false }
    let least = Double(now.nanoseconds(since: beganAt)) / 1e9 * Double(limits.pressedBytesPerSecond)
    return Double(byteCount) < least
  }
}
