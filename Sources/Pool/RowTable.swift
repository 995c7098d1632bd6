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
  static let none = SlabAssignment(disk: DiskNumber(0), slab: SlabNumber(0), generation: SlabGeneration(0))
}

/// Which slab each column of each of a virtual disk's rows lies on: one flat array, because the data path looks here for every request.
/// The VirtualDisk fills it, the resiliency reads it.
public final class RowTable: @unchecked Sendable {  // reactor-confined
  public let columns: Int
  public private(set) var rowCount: Int
  private var slabs: [SlabAssignment]

  public init(columns: Int, rowCount: Int) {
    self.columns = columns
    self.rowCount = rowCount
    slabs = Array(repeating: .none, count: columns * rowCount)
  }

  /// The slab of a mapped row. The resiliency asks for no other.
  @inline(__always)
  public subscript(row: Int, column: Int) -> SlabAssignment {
    let slab = slabs[row * columns + column]
    assert(slab != .none, "an unmapped row was asked for")
    return slab
  }

  public func slabs(ofRow row: Int) -> [SlabAssignment] { Array(slabs[row * columns..<(row + 1) * columns]) }

  public func setRow(_ row: Int, _ assignments: [SlabAssignment]) {
    assert(assignments.count == columns)
    for column in 0..<columns { slabs[row * columns + column] = assignments[column] }
  }

  /// Unmaps the row and says what it had.
  public func takeRow(_ row: Int) -> [SlabAssignment] {
    let taken = slabs(ofRow: row)
    for column in 0..<columns { slabs[row * columns + column] = .none }
    return taken
  }

  /// More rows at the end, unmapped.
  public func grow(toRowCount count: Int) {
    guard count > rowCount else { return }
    slabs.append(contentsOf: repeatElement(.none, count: (count - rowCount) * columns))
    rowCount = count
  }
}
