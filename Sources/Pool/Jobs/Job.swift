import Reactor

/// Work of the pool's own on its data, in the background.
public final class Job: @unchecked Sendable {  // reactor-confined
  public enum State: String, Sendable, Codable {
    case waiting, running
    /// Cannot go on for now; `message` says why, and what would help.
    case suspended
    case completed, cancelled
  }

  public internal(set) var record: JobRecord
  public internal(set) var state = State.waiting
  public internal(set) var message = ""
  /// Bytes a second, over the last seconds.
  public private(set) var byteRate: UInt64 = 0
  /// Of a scrub.
  public internal(set) var finding = ScrubFinding()
  /// How far it is through the rows, and what became of those it has seen on this walk.
  var walk = RowWalk()
  var outcome = WalkOutcome()
  /// The membership when it was suspended, what was free, and when that was: it goes on when disks or room have come.
  var stuckAt: (membership: Int, freeByteCount: UInt64, instant: Instant)?
  var errorCount = 0
  /// It was begun before the pool was opened: what was done since its record was saved shows in the rows.
  var isResumed = false
  private var windowBegan: Instant
  private var windowByteCount: UInt64 = 0

  init(_ record: JobRecord, now: Instant) {
    self.record = record
    windowBegan = now
  }

  public var number: UInt64 { record.number }
  public var kind: JobRecord.Kind { record.jobKind }
  public var isEnded: Bool { state == .completed || state == .cancelled }
  /// Per cent that is done, 0 to 100.
  public var percent: Double {
    if state == .completed { return 100 }
    return record.totalByteCount == 0 ? 0 : min(100, 100 * Double(record.doneByteCount) / Double(record.totalByteCount))
  }
  /// Seconds that are left at the present rate; nil when nobody can tell.
  public var secondsLeft: UInt64? {
    guard state == .running, byteRate > 0, record.totalByteCount >= record.doneByteCount else { return nil }
    return (record.totalByteCount - record.doneByteCount) / byteRate
  }

  func progressed(_ byteCount: UInt64, now: Instant) {
    record.doneByteCount &+= byteCount
    windowByteCount &+= byteCount
    let elapsed = now.nanoseconds - windowBegan.nanoseconds
    guard elapsed >= Job.windowNanoseconds else { return }
    byteRate = UInt64(Double(windowByteCount) * 1e9 / Double(elapsed))
    windowBegan = now
    windowByteCount = 0
  }

  private static let windowNanoseconds: UInt64 = 2_000_000_000
}

/// What became of the copies that a job wanted to move on one walk through the rows.
struct WalkOutcome {
  var movedCount = 0
  /// No disk had room for it.
  var noSpaceCount = 0
  /// Nothing is there that it could be copied from.
  var noSourceCount = 0
}
