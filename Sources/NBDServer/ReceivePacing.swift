import Reactor

/// Whether the receiver rests for a moment before it takes the next requests, so that some gather.
///
/// A client with many requests in flight that are all answered at once, from the read cache, is itself what everything waits for: it works on
/// replies. A server that takes each of its requests as soon as it comes is awake all the time for one or two of them, each with a receive, a send
/// and a wake-up of the client. A rest that is short beside the client's own work costs nothing and makes one turn of ten such; fewer interruptions
/// make the client faster, too. Whether a client is of this kind is measured again and again, not guessed: it rests only while as many requests are
/// answered in a second as without. Never while a request waits for a disk, and never for who sends one request at a time.
struct ReceivePacing {
  private enum Phase {
    /// Without rests, to be compared with.
    case plain
    /// With rests, to see whether they pay.
    case trial
    /// They do.
    case resting
    /// They do not, for now.
    case pause
  }

  private var phase = Phase.plain
  private var receiveCount: UInt64 = 0
  private var requestCount: UInt64 = 0
  /// Receives whose requests were all answered at once.
  private var atOnceCount: UInt64 = 0
  private var beganAt = Instant.distantFuture
  private var pauseLength = PacingLimits.pauseReceives
  /// Nanoseconds a request without rests and with them, over the last phases of each: one alone is mostly chance. 0 before the first.
  private var plainCost: UInt64 = 0
  private var restingCost: UInt64 = 0
  /// Of the last plain phase: requests a receive, in sixteenths.
  private var plainBatch: UInt64 = 0

  /// To be told of each receive, once its requests are begun.
  /// - Parameter areAnswered: none of the connection's requests waits for anything but being sent its reply.
  /// - Returns: whether to rest before the next.
  mutating func rests(after requests: Int, areAnswered: Bool, at now: Instant) -> Bool {
    if requests == 0 { return false }
    if beganAt == .distantFuture { beganAt = now }
    receiveCount += 1
    requestCount += UInt64(requests)
    if areAnswered { atOnceCount += 1 }
    if receiveCount == length { decide(at: now) }
    return areAnswered && (phase == .trial || phase == .resting)
  }

  /// Of the phase. Receives.
  private var length: UInt64 {
    switch phase {
    case .plain: PacingLimits.plainReceives
    case .trial: PacingLimits.trialReceives
    case .resting: PacingLimits.restingReceives
    case .pause: pauseLength
    }
  }

  private mutating func decide(at now: Instant) {
    let cost = now.nanoseconds(since: beganAt) / requestCount
    let batch = requestCount * 16 / receiveCount
    switch phase {
    case .plain:
      ReceivePacing.average(&plainCost, cost)
      plainBatch = batch
      // One at a time gather to nothing, and large batches need no rest.
      let mayGain = batch > 16 && batch < PacingLimits.largeBatch * 16 && atOnceCount * 16 >= receiveCount * 15
      begin(mayGain ? .trial : .pause, at: now)
    case .trial:
      ReceivePacing.average(&restingCost, cost)
      let pays = batch >= plainBatch * 2 && restingCost <= plainCost + plainCost / PacingLimits.toleratedLoss
      pauseLength = pays ? PacingLimits.pauseReceives : min(pauseLength * 2, PacingLimits.longestPauseReceives)
      begin(pays ? .resting : .pause, at: now)
    case .resting:
      ReceivePacing.average(&restingCost, cost)
      begin(.plain, at: now)
    case .pause:
      begin(.plain, at: now)
    }
  }

  private static func average(_ mean: inout UInt64, _ value: UInt64) { mean = mean == 0 ? value : (mean + value) / 2 }

  private mutating func begin(_ next: Phase, at now: Instant) {
    phase = next
    receiveCount = 0
    requestCount = 0
    atOnceCount = 0
    beganAt = now
  }
}
