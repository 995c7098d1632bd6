/// The names that partitions can be opened by, made once for a table and then looked up: a guest may make 32,768 partitions, and open them one by
/// one.
public struct PartitionNames: Sendable {
  public let partitions: [UsablePartition]
  /// Places in `partitions`.
  private var byNumber: [Int: Int] = [:]
  private var byGUID: [GUID: Int] = [:]
  /// Labels that can only mean one partition.
  private var byLabel: [String: Int] = [:]

  public init(_ partitions: [UsablePartition]) {
    self.partitions = partitions
    byNumber.reserveCapacity(partitions.count)
    var twins: Set<String> = []
    for (index, partition) in partitions.enumerated() {
      byNumber[partition.number] = index
      if case .gpt(let guid) = partition.identity { byGUID[guid] = index }
      guard PartitionNames.isName(partition.label) else { continue }
      if byLabel.updateValue(index, forKey: partition.label) != nil { twins.insert(partition.label) }
    }
    for label in twins { byLabel[label] = nil }
  }

  /// Every number, then every label that can only mean one partition: it is no number and no GUID, has no twin, and neither a slash nor anything that
  /// does not print.
  /// - Parameter limit: so many partitions are named, from the table's front.
  public func listed(limit: Int = .max) -> [(name: String, partition: UsablePartition)] {
    let named = partitions.prefix(limit)
    return named.map { ("\($0.number)", $0) } + named.filter { label(of: $0) != nil }.map { ($0.label, $0) }
  }

  /// The label, where the partition can be opened by it.
  public func label(of partition: UsablePartition) -> String? {
    byLabel[partition.label].map { partitions[$0].number } == partition.number ? partition.label : nil
  }

  /// The partition of that name: one under which it is listed, or its unique GUID, which goes with it whatever number and label it gets.
  public subscript(name: String) -> UsablePartition? {
    let index =
      if let number = PartitionNames.number(name) { byNumber[number] } else { byLabel[name] ?? GUID(name).flatMap { byGUID[$0] } }
    return index.map { partitions[$0] }
  }

  /// As it is listed: decimal digits, and no zero in front.
  private static func number(_ name: String) -> Int? { Int(name).flatMap { "\($0)" == name ? $0 : nil } }

  private static func isName(_ label: String) -> Bool {
    guard !label.isEmpty, !label.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), GUID(label) == nil else {
      return false
    }
    return label.unicodeScalars.allSatisfy { scalar in
      scalar != "/" && scalar != "\u{FFFD}" && scalar.properties.generalCategory != .control && scalar.properties.generalCategory != .format
    }
  }
}
