/// A slab that belongs to a row: which one, and which of its assignments this is.
public struct SlabAssignment: Equatable, Sendable {
  public var disk: DiskNumber
  public var slab: SlabNumber
  public var generation: SlabGeneration

  public init(disk: DiskNumber, slab: SlabNumber, generation: SlabGeneration) {
    self.disk = disk
    self.slab = slab
    self.generation = generation
  }

  /// No slab: disk numbers start at 1.
  public static let none = SlabAssignment(disk: DiskNumber(0), slab: SlabNumber(0), generation: SlabGeneration(0))
  public var isNone: Bool { disk.value == 0 }
}

/// What is not as it should be with the copies of one row. A place is a slab's position in its row: `column * copies + copy`.
public struct RowCondition: Sendable {
  /// The copies may differ here: after a crash, or a write that failed on some of them.
  public var unsettled: RegionSet
  /// By place: the regions that this copy lacks.
  public var stale: [Int: RegionSet] = [:]
  /// Places that the metadata calls stale: their disk stays, because it has the last copy of something else.
  public var storedStale: Set<Int> = []
  /// The copy that is being made of a place; writes go there too.
  public var move: (place: Int, slab: SlabAssignment)?

  public init(regionCount: Int) { unsettled = RegionSet(count: regionCount) }

  var isNothing: Bool { unsettled.isEmpty && stale.isEmpty && storedStale.isEmpty && move == nil }
}

/// Which slabs each of a virtual disk's rows has: one flat array, because the data path looks here for every request; and the condition
/// of the few rows that are not whole. The VirtualDisk fills it, the resiliency reads it.
public final class RowTable: @unchecked Sendable {  // reactor-confined
  public let columns: Int
  public let copies: Int
  public let regions: RegionLayout
  public private(set) var rowCount: Int
  private var slabs: [SlabAssignment]
  private var conditions: [Int: RowCondition] = [:]

  public init(columns: Int, copies: Int, regions: RegionLayout, rowCount: Int) {
    self.columns = columns
    self.copies = copies
    self.regions = regions
    self.rowCount = rowCount
    slabs = Array(repeating: .none, count: columns * copies * rowCount)
  }

  public var placeCount: Int { columns * copies }

  /// The slab at a place of a row; none where the row has no copy there, or is not mapped.
  @inline(__always)
  public subscript(row: Int, place: Int) -> SlabAssignment { slabs[row * (columns * copies) + place] }

  /// Whether a copy of the row has no slab.
  public func hasEmptyPlace(_ row: Int) -> Bool { (0..<placeCount).contains { self[row, $0].isNone } }

  public func slabs(ofRow row: Int) -> [SlabAssignment] { Array(slabs[row * placeCount..<(row + 1) * placeCount]) }

  public func setRow(_ row: Int, _ assignments: [SlabAssignment]) {
    assert(assignments.count == placeCount)
    for place in 0..<placeCount { slabs[row * placeCount + place] = assignments[place] }
  }

  public func setSlab(_ slab: SlabAssignment, row: Int, place: Int) { slabs[row * placeCount + place] = slab }

  /// Unmaps the row and says what it had.
  public func takeRow(_ row: Int) -> [SlabAssignment] {
    let taken = slabs(ofRow: row)
    for place in 0..<placeCount { slabs[row * placeCount + place] = .none }
    conditions[row] = nil
    return taken.filter { !$0.isNone }
  }

  /// More rows at the end, unmapped.
  public func grow(toRowCount count: Int) {
    guard count > rowCount else { return }
    slabs.append(contentsOf: repeatElement(.none, count: (count - rowCount) * placeCount))
    rowCount = count
  }

  // MARK: Rows that are not whole

  @inline(__always)
  public var areAllWhole: Bool { conditions.isEmpty }

  @inline(__always)
  public func condition(_ row: Int) -> RowCondition? { conditions.isEmpty ? nil : conditions[row] }

  /// The rows that are not whole, in the order of their numbers.
  public var rowsWithCondition: [Int] { conditions.keys.sorted() }

  public func change(_ row: Int, _ body: (inout RowCondition) -> Void) {
    var condition = conditions[row] ?? RowCondition(regionCount: regions.regionCount)
    body(&condition)
    condition.stale = condition.stale.filter { !$0.value.isEmpty }
    conditions[row] = condition.isNothing ? nil : condition
  }

  @inline(__always)
  public func isUnsettled(_ row: Int, _ start: UInt64, _ end: UInt64) -> Bool {
    if conditions.isEmpty { return false }
    guard let condition = conditions[row] else { return false }
    return condition.unsettled.overlaps(regions.regions(start, end))
  }
}
