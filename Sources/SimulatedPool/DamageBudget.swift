/// Which disks are bad at present, so that never more is broken at once than the virtual disks promise to survive.
public struct DamageBudget: Sendable {
  /// Disks that may be bad at the same time.
  public let limit: Int
  /// Indices of disks in their machine. A disk is bad from when something may have happened to it until a power-on has found it whole.
  public private(set) var bad: Set<Int> = []
  /// Some rows lack a copy on any disk: nothing more may happen until they have it.
  public private(set) var lacksCopies = false

  /// `leastCopyCount`: of the virtual disk with the fewest.
  public init(leastCopyCount: Int) { limit = max(0, leastCopyCount - 1) }

  public func allowsHarm(to disk: Int) -> Bool { !lacksCopies && (bad.contains(disk) || bad.count < limit) }

  /// False when that would be too much.
  public mutating func harm(_ disk: Int) -> Bool {
    guard allowsHarm(to: disk) else { return false }
    bad.insert(disk)
    return true
  }

  /// What a power-on has found out.
  public mutating func found(bad disks: Set<Int>, lacksCopies: Bool = false) {
    bad = disks
    self.lacksCopies = lacksCopies
  }
}
