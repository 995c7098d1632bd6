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
  /// Copies that could not be moved, and the membership at that time: they are tried again when it has changed.
  var stuck: Set<CopyKey> = []
  var stuckAtMembership = -1
  var errorCount = 0
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

/// A copy of a row, over all virtual disks.
struct CopyKey: Hashable {
  var virtualDisk: VirtualDiskNumber
  var copy: CopyPlace
}
