/// Which slabs have to move until the disks are equally full, with the least movement: from disks that have fewer free slabs than they
/// should in the end, to those that have more, and each slab once. Disks are compared by their free slabs, as the dealing does.
struct Rebalancing {
  /// Free slabs that a disk lacks until it is as full as the others: so many have to leave it.
  private var lacking: [DiskNumber: Int] = [:]
  /// Free slabs that a disk has too many: so many have to come. In the order of the numbers.
  private var surplus: [(disk: DiskNumber, count: Int)] = []
  /// Slabs that have to move, as far as rows allow.
  private(set) var moveCount = 0

  /// Of each disk that slabs are dealt from, how many it has and how many of them are free.
  init(_ disks: [(number: DiskNumber, slabCount: Int, freeCount: Int)]) {
    let targets = Rebalancing.targets(disks)
    for (disk, target) in zip(disks, targets) {
      if disk.freeCount < target { lacking[disk.number] = target - disk.freeCount }
      if disk.freeCount > target { surplus.append((disk.number, disk.freeCount - target)) }
    }
    moveCount = lacking.values.reduce(0, +)
  }

  func slabCountToLeave(_ disk: DiskNumber) -> Int { lacking[disk] ?? 0 }

  /// The free slabs each disk should have: all the same, or one more where they do not come out even, but no disk more than it has slabs.
  /// The odd ones stay with those that have the most free now.
  private static func targets(_ disks: [(number: DiskNumber, slabCount: Int, freeCount: Int)]) -> [Int] {
    var targets = [Int](repeating: 0, count: disks.count)
    var left = disks.reduce(0) { $0 + $1.freeCount }
    // The smallest first: what it cannot have is shared by the others.
    let order = disks.indices.sorted {
      (disks[$0].slabCount, disks[$0].freeCount, $0) < (disks[$1].slabCount, disks[$1].freeCount, $1)
    }
    var rest = order[...]
    while let first = rest.first, disks[first].slabCount <= left / rest.count {
      targets[first] = disks[first].slabCount
      left -= disks[first].slabCount
      rest.removeFirst()
    }
    if rest.isEmpty { return targets }
    let (share, odd) = left.quotientAndRemainder(dividingBy: rest.count)
    let fullestLast = rest.sorted { (disks[$1].freeCount, $0) < (disks[$0].freeCount, $1) }
    for (position, index) in fullestLast.enumerated() { targets[index] = share + (position < odd ? 1 : 0) }
    return targets
  }

  /// A move of one of the row's slabs that is among the least, counted as made; nil when there is none.
  mutating func takeMove(of owner: any RowOwner, row: Int) -> (place: Int, destination: DiskNumber)? {
    for place in 0..<owner.slabsPerRow {
      let source = owner.slab(row: row, place: place).disk
      guard let count = lacking[source], let index = destination(for: owner, row) else { continue }
      lacking[source] = count == 1 ? nil : count - 1
      surplus[index].count -= 1
      moveCount -= 1
      return (place, surplus[index].disk)
    }
    return nil
  }

  /// The disk with the largest surplus that the row has no slab on.
  private func destination(for owner: any RowOwner, _ row: Int) -> Int? {
    let possible = surplus.indices.filter { index in
      surplus[index].count > 0 && !(0..<owner.slabsPerRow).contains { owner.slab(row: row, place: $0).disk == surplus[index].disk }
    }
    return possible.max { (surplus[$0].count, $1) < (surplus[$1].count, $0) }
  }
}
