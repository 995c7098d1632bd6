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

  var isNothing: Bool { !wantsResynchronisation && move == nil }

  /// Its copies are to be brought together, or to be called whole in the metadata.
  public var wantsResynchronisation: Bool { !unsettled.isEmpty || !stale.isEmpty || !storedStale.isEmpty }

  /// The regions that differ, or may, between some of its copies.
  public var regionsToResynchronise: RegionSet {
    var regions = unsettled
    for stale in stale.values { regions.formUnion(stale) }
    return regions
  }
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

  // Kept up to date, so that nobody has to look at all rows to know.
  public private(set) var mappedRowCount = 0
  /// By disk number, 0 for none: the copies of mapped rows that have their slab there.
  private var copyCounts: [Int] = [0]
  /// Rows whose copies are to be brought together, and their regions.
  public private(set) var rowCountToResynchronise = 0
  public private(set) var regionCountToResynchronise = 0
  /// Counts the changes of slabs and conditions: who has looked at all rows compares.
  public private(set) var changeCount: UInt64 = 0

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

  /// Maps a row that is not mapped.
  public func setRow(_ row: Int, _ assignments: [SlabAssignment]) {
    assert(assignments.count == placeCount)
    setRow(row) { assignments[$0] }
  }

  /// The same, `slab` says which at each place.
  public func setRow(_ row: Int, _ slab: (Int) -> SlabAssignment) {
    for place in 0..<placeCount {
      let assignment = slab(place)
      slabs[row * placeCount + place] = assignment
      count(assignment, 1)
    }
    mappedRowCount += 1
    changeCount &+= 1
  }

  public func setSlab(_ slab: SlabAssignment, row: Int, place: Int) {
    count(slabs[row * placeCount + place], -1)
    count(slab, 1)
    slabs[row * placeCount + place] = slab
    changeCount &+= 1
  }

  /// Unmaps a row that is mapped, and says what it had.
  public func takeRow(_ row: Int) -> [SlabAssignment] {
    let taken = slabs(ofRow: row)
    for place in 0..<placeCount {
      count(taken[place], -1)
      slabs[row * placeCount + place] = .none
    }
    mappedRowCount -= 1
    setCondition(row, nil)
    return taken.filter { !$0.isNone }
  }

  private func count(_ slab: SlabAssignment, _ change: Int) {
    let disk = Int(slab.disk.value)
    if disk >= copyCounts.count { copyCounts.append(contentsOf: repeatElement(0, count: disk + 1 - copyCounts.count)) }
    copyCounts[disk] += change
  }

  /// How many copies have their slab on a disk; of disk 0: how many have none.
  public func copyCount(on disk: DiskNumber) -> Int { Int(disk.value) < copyCounts.count ? copyCounts[Int(disk.value)] : 0 }

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
    setCondition(row, condition.isNothing ? nil : condition)
  }

  private func setCondition(_ row: Int, _ condition: RowCondition?) {
    let old = conditions[row]
    if old == nil && condition == nil { return }
    conditions[row] = condition
    rowCountToResynchronise += (condition?.wantsResynchronisation == true ? 1 : 0) - (old?.wantsResynchronisation == true ? 1 : 0)
    regionCountToResynchronise += (condition?.regionsToResynchronise.memberCount ?? 0) - (old?.regionsToResynchronise.memberCount ?? 0)
    changeCount &+= 1
  }

  @inline(__always)
  public func isUnsettled(_ row: Int, _ start: UInt64, _ end: UInt64) -> Bool {
    if conditions.isEmpty { return false }
    guard let condition = conditions[row] else { return false }
    return condition.unsettled.overlaps(regions.regions(start, end))
  }
}

// MARK: - Over all rows

/// How well the rows of a virtual disk are protected.
public struct RowProtection: Equatable, Sendable {
  /// Of how many copies that are there and lack nothing the least protected data has.
  public var fewestWholeCopies: Int
  /// The lowest row of which some data has none.
  public var firstLostRow: Int?
}

extension RowTable {
  /// Nearly always there is nothing to look for; else this is one pass over the array, some milliseconds for a million slabs.
  public func protection(isUsable: (DiskNumber) -> Bool) -> RowProtection {
    let usable = usableDisks(isUsable)
    var found = RowProtection(fewestWholeCopies: copies, firstLostRow: nil)
    if !areAllSlabsThere(usable) {
      for row in 0..<rowCount where isMapped(row) { note(&found, row) { usable[Int(self[row, $0].disk.value)] } }
    }
    // What copies lack makes it worse, never better.
    for (row, condition) in conditions where !condition.stale.isEmpty {
      note(&found, row) { usable[Int(self[row, $0].disk.value)] && condition.stale[$0] == nil }
    }
    return found
  }

  @inline(__always)
  private func note(_ found: inout RowProtection, _ row: Int, _ isWhole: (Int) -> Bool) {
    for column in 0..<columns {
      var whole = 0
      for place in column * copies..<(column + 1) * copies where isWhole(place) { whole += 1 }
      if whole < found.fewestWholeCopies { found.fewestWholeCopies = whole }
      if whole == 0 { found.firstLostRow = min(found.firstLostRow ?? row, row) }
    }
  }

  /// Whether the disk, which is there, has the only whole copy of anything.
  public func hasLastCopy(on disk: DiskNumber, isUsable: (DiskNumber) -> Bool) -> Bool {
    if copyCount(on: disk) == 0 { return false }
    let usable = usableDisks(isUsable)
    if copies > 1 && areAllSlabsThere(usable) {
      return conditions.contains { row, condition in !condition.stale.isEmpty && isLast(row, disk, usable) }
    }
    return (0..<rowCount).contains { isLast($0, disk, usable) }
  }

  private func isLast(_ row: Int, _ disk: DiskNumber, _ usable: [Bool]) -> Bool {
    for place in 0..<placeCount where self[row, place].disk == disk {
      let stale = condition(row)?.stale
      if stale?[place] != nil { continue }
      let column = place / copies
      let others = column * copies..<(column + 1) * copies
      if !others.contains(where: { $0 != place && usable[Int(self[row, $0].disk.value)] && stale?[$0] == nil }) { return true }
    }
    return false
  }

  /// Of a copy whose disk was away: all others are on disks that left no later (`older`), so that nothing was written without it.
  public func isFreshest(_ row: Int, _ place: Int, _ older: Set<DiskNumber>) -> Bool {
    let column = place / copies
    return (column * copies..<(column + 1) * copies).allSatisfy { other in
      let slab = self[row, other]
      return other == place || slab.isNone || older.contains(slab.disk)
    }
  }

  /// Whether some copy on the disk lacks something.
  public func hasStaleCopy(on disk: DiskNumber) -> Bool {
    conditions.contains { row, condition in
      (0..<placeCount).contains { place in
        self[row, place].disk == disk && (condition.stale[place] != nil || condition.storedStale.contains(place))
      }
    }
  }

  @inline(__always)
  public func isMapped(_ row: Int) -> Bool {
    for place in 0..<placeCount where !self[row, place].isNone { return true }
    return false
  }

  private func usableDisks(_ isUsable: (DiskNumber) -> Bool) -> [Bool] {
    copyCounts.indices.map { $0 > 0 && copyCounts[$0] > 0 && isUsable(DiskNumber(UInt32($0))) }
  }

  /// Every copy has a slab, on a disk that is there.
  private func areAllSlabsThere(_ usable: [Bool]) -> Bool { copyCounts.indices.allSatisfy { copyCounts[$0] == 0 || usable[$0] } }
}
