import BlockDevice

/// A copy of a row of a virtual disk.
public struct CopyPlace: Hashable, Sendable {
  public var row: Int
  /// `column * copies + copy`.
  public var place: Int

  public init(row: Int, place: Int) {
    self.row = row
    self.place = place
  }
}

public enum MoveOutcome: Sendable {
  case moved
  /// The row is gone, or its place is as wanted already.
  case notNeeded
  /// No slab on a disk that has none of this row's yet.
  case noSpace
}

/// A stretch of a virtual disk of which not all copies were good.
public struct ScrubPlace: Sendable, Equatable {
  public enum Outcome: Sendable {
    /// The copies on `disks` could not be read, or differed from two others; they were written again.
    case repaired
    /// No copy could be read; they are on `disks`.
    case unreadable
    /// The copies on `disks` differ; clients read the one on the first of these.
    case differing
  }

  public var outcome: Outcome
  /// The virtual disk, by its name for persons.
  public var label: String
  /// In the virtual disk.
  public var byteOffset: UInt64
  public var byteCount: UInt64
  public var disks: [DiskNumber]

  public init(_ outcome: Outcome, label: String, byteOffset: UInt64, byteCount: UInt64, disks: [DiskNumber]) {
    self.outcome = outcome
    self.label = label
    self.byteOffset = byteOffset
    self.byteCount = byteCount
    self.disks = disks
  }
}

/// What a scrub found in one row.
public struct ScrubFinding: Sendable, Equatable {
  public var byteCount: UInt64 = 0
  /// Ranges that some copy could not read, and that were written again from another.
  public var repairedCount = 0
  /// Ranges that no copy could read.
  public var unreadableCount = 0
  /// Ranges in which two copies differ, so that nobody knows which is right.
  public var differenceCount = 0
  /// Where, as far as there is room for it.
  public private(set) var places: [ScrubPlace] = []

  public init() {}

  /// Whether something is left that nobody could repair.
  public var hasDamage: Bool { unreadableCount + differenceCount > 0 }

  public mutating func note(_ place: ScrubPlace) {
    switch place.outcome {
    case .repaired: repairedCount += 1
    case .unreadable: unreadableCount += 1
    case .differing: differenceCount += 1
    }
    if places.count < JobLimits.scrubPlaceCount { places.append(place) }
  }

  public mutating func add(_ other: ScrubFinding) {
    byteCount += other.byteCount
    repairedCount += other.repairedCount
    unreadableCount += other.unreadableCount
    differenceCount += other.differenceCount
    places += other.places.prefix(max(0, JobLimits.scrubPlaceCount - places.count))
  }
}

/// A device that has rows of the pool's slabs: a virtual disk. The pool's jobs work through it, because it has the rows' locks.
public protocol RowOwner: SpaceReclaimer {
  var virtualDisk: VirtualDiskNumber { get }
  /// Requests of clients, counted up: whether applications are at work.
  var requestCount: UInt64 { get }

  // Disks that leave and return.

  /// Whether the disk holds the only copy in sync of any of its rows, or of a part of one.
  func holdsLastCopy(on disk: DiskNumber) -> Bool
  /// Whether a copy on the disk lacks something.
  func hasStaleCopy(on disk: DiskNumber) -> Bool
  func diskLeft(_ disk: DiskNumber)
  /// The disk is there again, and lacks the dirty regions of its rows.
  func diskReturned(_ disk: DiskNumber)

  // What jobs do: they walk through the rows from 0 to `rowCount`, and never ask for a list of them.

  var rowCount: Int { get }
  var mappedRowCount: Int { get }
  var slabsPerRow: Int { get }
  var copyCount: Int { get }
  func isMapped(row: Int) -> Bool
  /// The slab of a copy; none where it has none, or the row is not mapped.
  func slab(row: Int, place: Int) -> SlabAssignment
  /// How many copies of mapped rows have their slab on a disk; of disk 0: how many have none.
  func copyCount(on disk: DiskNumber) -> Int
  /// Whether a column of a row has a copy that is there and lacks nothing: what others can be made from.
  func hasWholeCopy(row: Int, column: Int) -> Bool

  func wantsResynchronisation(row: Int) -> Bool
  var rowCountToResynchronise: Int { get }
  /// What of them differs, or may, in bytes of the virtual disk.
  var byteCountToResynchronise: UInt64 { get }
  func resynchronise(row: Int) async throws(BlockError)
  /// Gives a copy a new slab: on `destination`, or on the emptiest disk that has no slab of the row.
  func move(_ copy: CopyPlace, to destination: DiskNumber?) async throws(BlockError) -> MoveOutcome
  /// Reads all copies of a row, compares them, and repairs what can be repaired (rules R).
  func scrub(row: Int) async throws(BlockError) -> ScrubFinding
}
