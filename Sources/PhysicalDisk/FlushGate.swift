import BlockDevice
import Reactor

/// Decides which disk flush answers which FLUSH. A FLUSH may be answered by a disk flush only if that was submitted after the FLUSH
/// arrived; so at most one is in flight and one is to follow, which all who arrive meanwhile share.
///
/// What must be flushed is counted: a change (write, discard, zeroing) counts when it has completed, well or badly. A disk flush covers
/// the changes that had completed when it was submitted; those in flight then may or may not be covered and count when they complete.
struct FlushGate {
  /// Changes that have completed. Whoever had the disk before may have answered writes that were never flushed, and their clients are
  /// still there: so a disk begins with one change, and the first FLUSH is always sent.
  private var completedChanges: UInt64 = 1
  /// Of these, the ones that a good flush covers.
  private var durableChanges: UInt64 = 0
  private var submitted: UInt64 = 0
  /// The last flush that succeeded; 0 before the first.
  private(set) var succeeded: UInt64 = 0
  private(set) var isInFlight = false
  private(set) var hasFailed = false
  private var changesAtSubmission: UInt64 = 0
  var waiters = WaitQueue()

  mutating func changeCompleted() { completedChanges &+= 1 }

  /// Everything that has been answered is on stable storage.
  var isClean: Bool { durableChanges == completedChanges }

  /// The first flush that a FLUSH which arrives now may be answered by.
  var nextNumber: UInt64 { submitted + 1 }

  mutating func begin() {
    assert(!isInFlight)
    isInFlight = true
    submitted += 1
    changesAtSubmission = completedChanges
  }

  /// Ends the flush in flight and wakes who waits: for it, or for the turn to start the next.
  mutating func end(succeeded isGood: Bool) {
    isInFlight = false
    if isGood && !hasFailed {
      succeeded = submitted
      durableChanges = changesAtSubmission
    } else {
      hasFailed = true
    }
    waiters.wakeAll()
  }

  /// A disk that was given up: who waits looks again, and learns of it.
  mutating func abandon() {
    hasFailed = true
    waiters.wakeAll()
  }

  /// A disk that is no longer what it was: no flush of it is believed.
  mutating func fail() { hasFailed = true }
}
