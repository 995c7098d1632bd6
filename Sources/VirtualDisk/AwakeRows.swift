/// The rows of a virtual disk that have an object, by index; in groups, because where all sleep there is nothing to keep.
struct AwakeRows: RandomAccessCollection {
  private static let groupShift = 8
  private static let groupCount = 1 << groupShift

  /// Empty where no row of the group was ever awake.
  private var groups: [[MappedRow?]]
  private(set) var count: Int

  init(count: Int) {
    self.count = count
    groups = Array(repeating: [], count: AwakeRows.groups(count))
  }

  private static func groups(_ count: Int) -> Int { (count + groupCount - 1) >> groupShift }

  var startIndex: Int { 0 }
  var endIndex: Int { count }

  subscript(index: Int) -> MappedRow? {
    @inline(__always)
    get {
      let group = index >> AwakeRows.groupShift
      return groups[group].isEmpty ? nil : groups[group][index & (AwakeRows.groupCount - 1)]
    }
    set {
      let group = index >> AwakeRows.groupShift
      if groups[group].isEmpty { groups[group] = Array(repeating: nil, count: AwakeRows.groupCount) }
      groups[group][index & (AwakeRows.groupCount - 1)] = newValue
    }
  }

  /// Rows at the end come, or go. Who still asks for one that went finds none: a job may have chosen it before.
  mutating func resize(to newCount: Int) {
    let groupCount = AwakeRows.groups(newCount)
    if groupCount > groups.count { groups.append(contentsOf: repeatElement([], count: groupCount - groups.count)) }
    if newCount < count { for index in newCount..<count where self[index] != nil { self[index] = nil } }
    count = newCount
  }
}
