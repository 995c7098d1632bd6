import Pool
import Reactor

/// A slab row that a virtual disk has: its presence bits, its range lock, and what of it the metadata does not know yet.
final class MappedRow: @unchecked Sendable {  // reactor-confined
  enum State {
    /// Slabs are being found and prepared; reads see zeros, writers wait.
    case allocating
    case mapped
    /// Taken out of the map; who waited for its lock looks the row up again.
    case freed
  }

  let index: Int
  /// Slabs that it has, or could have.
  let placeCount: Int
  var state = State.allocating
  var id = RowID(0)
  var presence: PresenceBitmap
  var lock = RangeLock()
  /// The metadata may have this row: a commit that brings it was begun. When it is freed, its records must be deleted.
  var mayBeInMetadata = false
  /// A commit has brought it into the metadata for certain (or taken it out): its row record need not be written again, and the pool
  /// holds no room there for it any more.
  var isSettled = false
  /// Chunks that somebody zeroed who wants to keep their space, and nobody has trimmed since: the row is not given back for want of data.
  var keptChunks: PresenceBitmap?
  /// On the virtual disk's list of rows whose map record must be committed.
  var isPending = false
  /// Of a mirror: the regions whose copies may differ after a crash. They are in the metadata, or come there with the row itself.
  var dirty: RegionSet
  /// Commits of marks under way: until they are durable, a region that is marked already must be waited for too.
  var uncommittedMarks = 0
  /// Regions that were written since the last look for ones to clear.
  var touched: RegionSet
  /// On the virtual disk's list of rows with dirty regions.
  var isListedDirty = false
  /// Writers that wait for `allocating` to end.
  var allocationWaiters = WaitQueue(reservedCapacity: 0)

  init(index: Int, presence: PresenceBitmap, placeCount: Int, regionCount: Int) {
    self.index = index
    self.placeCount = placeCount
    self.presence = presence
    dirty = RegionSet(count: regionCount)
    touched = dirty
  }

  /// What the records of a row and its dirty regions take in a commit, at most.
  var byteCountOfNewRecords: Int {
    FormatLimits.changeHeaderByteCount + RowRecord.Offset.slab(placeCount) + DirtyRegionsRecord.changeByteCount(regionCount: dirty.count)
  }

  /// Nothing is lost when it is given back.
  var isUnused: Bool { presence.isEmpty && keptChunks?.isEmpty ?? true }

  @inline(__always)
  func acquire(_ range: Range<UInt64>, _ mode: RangeLock.Mode) async -> RangeLock.Ticket {
    if let ticket = lock.tryAcquire(range.lowerBound, range.upperBound, mode) { return ticket }
    return await wait(range, mode)
  }

  private func wait(_ range: Range<UInt64>, _ mode: RangeLock.Mode) async -> RangeLock.Ticket {
    var ticket: RangeLock.Ticket?
    await withUnsafeContinuation { ticket = lock.enqueue(range.lowerBound, range.upperBound, mode, $0) }
    guard let ticket else { preconditionFailure("enqueue hands out a ticket before it suspends") }
    return ticket
  }
}
