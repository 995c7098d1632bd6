import BlockDevice
import CLinux
import Reactor

/// How a disk fares, since it was opened.
public struct DiskHealth: Sendable {
  public enum State: Int, Comparable, Sendable {
    case ok
    /// Errors that a retry cured.
    case transientErrors
    /// Requests have failed; the disk answers others.
    case ioErrors
    /// A flush failed: what was written since the last good one may be lost, and no flush succeeds until the disk is reopened.
    case flushFailed
    /// It did not answer in time and was given up: nothing succeeds until it is reopened.
    case stalled
    /// Gone, or no longer what it was.
    case failed

    public static func < (left: State, right: State) -> Bool { left.rawValue < right.rawValue }
  }

  /// Only ever gets worse.
  public private(set) var state = State.ok
  /// Tries that failed and were repeated.
  public private(set) var transientErrors: UInt64 = 0
  /// Requests that failed for good. A full disk is not an error of the disk and counted apart.
  public private(set) var failedRequests: UInt64 = 0
  public private(set) var fullErrors: UInt64 = 0
  /// The last error, in words: what failed, where, and what the system said.
  public private(set) var lastError: String?

  mutating func worsen(to state: State) { self.state = max(self.state, state) }

  mutating func countTransient(_ operation: BlockOperation, at offset: UInt64, _ result: Int32) {
    transientErrors &+= 1
    worsen(to: .transientErrors)
    lastError = DiskHealth.describe(operation, at: offset, result) + "; repeated"
  }

  mutating func countFailure(_ operation: BlockOperation, at offset: UInt64, _ error: BlockError) {
    if error.cause == .noSpace {
      fullErrors &+= 1
      return
    }
    failedRequests &+= 1
    worsen(to: operation == .flush ? .flushFailed : error.saysDeviceIsGone ? .failed : .ioErrors)
    lastError = DiskHealth.describe(operation, at: offset, -error.errorNumber)
  }

  /// `age` is how long the oldest request had been waiting, in nanoseconds.
  mutating func countStall(age: UInt64) {
    if state >= .ioErrors { return }  // given up for that: the error is what there is to tell
    worsen(to: .stalled)
    let tenths = age / 100_000_000
    lastError = "it did not answer for \(tenths / 10).\(tenths % 10) s and was given up"
  }

  mutating func count(_ fault: DiskFault) {
    failedRequests &+= 1
    worsen(to: .failed)
    lastError = fault.description
  }

  private static func describe(_ operation: BlockOperation, at offset: UInt64, _ result: Int32) -> String {
    let place = operation == .flush ? "" : " at byte \(offset)"
    return "\(operation)\(place): \(String(cString: strerror(-result)))"
  }

  /// Errors that another try may cure: a path that fails over, memory that comes free, a bus that was reset. Not those that say for sure
  /// that the sector or the disk is bad (ENODATA, EILSEQ, ENODEV) or full.
  static func mayPass(_ result: Int32) -> Bool {
    switch -result {
    case EAGAIN, EINTR, ENOMEM, EBUSY, ETIMEDOUT, ENOLINK, EREMOTEIO, EIO: true
    default: false
    }
  }
}
