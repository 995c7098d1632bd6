extension GPT {
  /// A run of sectors that no partition uses.
  public struct FreeRange: Hashable, Sendable {
    /// First sector, aligned as asked for.
    public var firstLBA: LBA
    /// Last sector, inclusive.
    public var lastLBA: LBA
    /// Length in sectors.
    public var sectorCount: UInt64 { lastLBA.value - firstLBA.value + 1 }
  }

  /// The free ranges in disk order, each begun at the next multiple of the alignment; ranges too short for that are left out. In a
  /// damaged table what any partition claims counts as used.
  /// - Parameter alignmentByteCount: a multiple of the sector size above 0.
  /// - Throws: `alignmentInvalid`.
  public func freeRanges(
    alignmentByteCount: UInt64 = PartitionLimits.defaultAlignmentByteCount
  ) throws(GPTError) -> [FreeRange] {
    guard alignmentByteCount > 0, alignmentByteCount % sectorSize.wide == 0 else {
      throw .alignmentInvalid(byteCount: alignmentByteCount, sectorSize: sectorSize)
    }
    let alignment = alignmentByteCount / sectorSize.wide
    var ranges: [FreeRange] = []
    func append(from first: UInt64, through last: UInt64) {
      let remainder = first % alignment
      let (aligned, overflow) = first.addingReportingOverflow(remainder == 0 ? 0 : alignment - remainder)
      if !overflow, aligned <= last { ranges.append(FreeRange(firstLBA: LBA(aligned), lastLBA: LBA(last))) }
    }
    var next = firstUsableLBA.value
    for partition in partitions.sorted(by: { $0.firstLBA < $1.firstLBA }) where partition.lastLBA >= partition.firstLBA {
      guard partition.firstLBA <= lastUsableLBA else { break }
      if partition.firstLBA.value > next { append(from: next, through: partition.firstLBA.value - 1) }
      // A partition that claims the last sector there can be leaves nothing behind it.
      guard partition.lastLBA.value < lastUsableLBA.value else { return ranges }
      next = max(next, partition.lastLBA.value + 1)
    }
    if next <= lastUsableLBA.value { append(from: next, through: lastUsableLBA.value) }
    return ranges
  }

  /// Adds a partition in the first free range that is large enough (a share of the free space: in the largest), its start aligned.
  /// - Parameters:
  ///   - number: nil for the lowest free one.
  ///   - alignmentByteCount: of the start, in bytes; a multiple of the sector size.
  /// - Returns: the partition as placed.
  /// - Throws: `noSpace`, `tableFull`, `alignmentInvalid`, `sizeIsZero`, and whatever `validate` finds.
  @discardableResult
  public mutating func addPartition(
    type: GUID, uniqueGUID: GUID, size: PartitionSize, name: String = "", attributes: GPTAttributes = [], number: Int? = nil,
    alignmentByteCount: UInt64 = PartitionLimits.defaultAlignmentByteCount
  ) throws(GPTError) -> GPTPartition {
    let (chosen, wanted) = try place(size, alignmentByteCount: alignmentByteCount)
    guard let freeNumber = number ?? lowestFreeNumber() else { throw .tableFull(entryCount: entryCount) }
    let partition = GPTPartition(
      number: freeNumber, type: type, uniqueGUID: uniqueGUID, firstLBA: chosen,
      lastLBA: LBA(chosen.value + wanted - 1), attributes: attributes, name: name)
    try addPartition(partition)
    return partition
  }

  /// Adds a partition with exactly these bounds, aligned or not.
  /// - Throws: `numberInUse`, and whatever `validate` finds.
  public mutating func addPartition(_ partition: GPTPartition) throws(GPTError) {
    guard self.partition(number: partition.number) == nil else { throw .numberInUse(partition.number) }
    try replace(partitions: partitions + [partition], sectorCount: sectorCount, lastUsableLBA: lastUsableLBA)
  }

  /// Puts a changed partition (bounds, type, name, attributes) in the place of the one with its number.
  /// - Throws: `noSuchPartition`, and whatever `validate` finds.
  public mutating func updatePartition(_ partition: GPTPartition) throws(GPTError) {
    guard self.partition(number: partition.number) != nil else { throw .noSuchPartition(partition.number) }
    let others = partitions.filter { $0.number != partition.number }
    try replace(partitions: others + [partition], sectorCount: sectorCount, lastUsableLBA: lastUsableLBA)
  }

  /// Removes a partition; its number becomes free and no other's changes.
  /// - Throws: `noSuchPartition`; and what `validate` finds in the rest, so in a damaged table remove the faulty ones together.
  public mutating func removePartitions(numbers: Set<Int>) throws(GPTError) {
    for number in numbers.sorted() where partition(number: number) == nil { throw .noSuchPartition(number) }
    let rest = partitions.filter { !numbers.contains($0.number) }
    try replace(partitions: rest, sectorCount: sectorCount, lastUsableLBA: lastUsableLBA)
  }

  private func lowestFreeNumber() -> Int? {
    let used = Set(partitions.map(\.number))
    return (1...entryCount).first { !used.contains($0) }
  }
}
