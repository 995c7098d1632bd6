/// How far a job has come on its walk through the rows of all virtual disks, in the order of their numbers. A walk sees each row once: so
/// a job's cost grows with the rows and not with their square, and nothing has to be remembered but this place.
struct RowWalk: Equatable {
  typealias Row = (owner: any RowOwner, row: Int)

  /// What comes next.
  private(set) var virtualDisk = VirtualDiskNumber(0)
  private(set) var row = 0

  init(virtualDisk: VirtualDiskNumber = VirtualDiskNumber(0), row: Int = 0) {
    self.virtualDisk = virtualDisk
    self.row = row
  }

  /// The next rows that are wanted, at most `limit`. None when there were none among the `JobLimits.rowsPerLook` that came next, so that
  /// a long way without work holds up nobody; nil when the walk is over.
  mutating func next(_ limit: Int, of owners: [any RowOwner], where isWanted: (any RowOwner, Int) -> Bool) -> [Row]? {
    var found: [Row] = []
    var seen = 0
    for owner in owners.sorted(by: { $0.virtualDisk < $1.virtualDisk }) where owner.virtualDisk >= virtualDisk {
      if owner.virtualDisk > virtualDisk { self = RowWalk(virtualDisk: owner.virtualDisk) }
      let rowCount = owner.rowCount
      while row < rowCount {
        if found.count == limit || seen == JobLimits.rowsPerLook { return found }
        if isWanted(owner, row) { found.append((owner, row)) }
        row += 1
        seen += 1
      }
    }
    return found.isEmpty ? nil : found
  }
}
