/// Why a table is not changed or repaired: what is the matter, and what to do.
public struct PartitionTableRefusal: Error, Hashable, Sendable {
  /// One sentence without a full stop at its end.
  public var message: String
  /// The same.
  public var remedy: String

  public init(_ message: String, remedy: String) {
    self.message = message
    self.remedy = remedy
  }
}

extension [PartitionTableFinding] {
  /// They in words, as part of a sentence. A guest chooses how many there are, and whoever is refused reads them: the first few.
  public var sentence: String {
    let shown = prefix(PartitionLimits.findingsInSentence).map(\.description).joined(separator: "; ")
    let rest = count - PartitionLimits.findingsInSentence
    return rest > 0 ? "\(shown); and \(rest) more" : shown
  }
}
