extension GPT {
  /// How long a partition is to be.
  public enum PartitionSize: Hashable, Sendable {
    /// This many bytes, rounded up to whole sectors.
    case bytes(UInt64)
    /// All of the largest free range; of a partition that is resized, all the room behind it.
    case largestFree
    /// 1 to 100 per cent of the usable disk, rounded down to the alignment; 100 is `largestFree`.
    case percentOfDisk(Int)
    /// 1 to 100 per cent of the largest free range, rounded down to the alignment; of a partition that is resized, its length and so much of
    /// the room behind it.
    case percentOfFree(Int)
  }

  /// The alignment, in bytes, at which a partition's start is a multiple of the usual 1 MiB and of the stripe of the disk below.
  /// - Parameter stripeByteCount: interleave times columns; 0 where there is none.
  public static func alignmentByteCount(stripeByteCount: UInt64) -> UInt64 {
    let usual = PartitionLimits.defaultAlignmentByteCount
    guard stripeByteCount > 0 else { return usual }
    var (left, right) = (usual, stripeByteCount)
    while right != 0 { (left, right) = (right, left % right) }
    let (common, overflow) = (usual / left).multipliedReportingOverflow(by: stripeByteCount)
    return overflow ? usual : common
  }

  /// The longest of the free ranges; of equals the first, so that the same call always gives the same table.
  public func largestFreeRange(
    alignmentByteCount: UInt64 = PartitionLimits.defaultAlignmentByteCount
  ) throws(GPTError) -> FreeRange? {
    try freeRanges(alignmentByteCount: alignmentByteCount).reduce(into: FreeRange?.none) { best, range in
      if range.sectorCount > best?.sectorCount ?? 0 { best = range }
    }
  }

  /// Where a new partition of this size goes, and its length in sectors.
  func place(_ size: PartitionSize, alignmentByteCount: UInt64) throws(GPTError) -> (firstLBA: LBA, sectorCount: UInt64) {
    let ranges = try freeRanges(alignmentByteCount: alignmentByteCount)
    let largest = try largestFreeRange(alignmentByteCount: alignmentByteCount)
    let wanted: UInt64
    switch size {
    case .largestFree, .percentOfDisk(100), .percentOfFree(100):
      guard let largest else { throw .noSpace(neededSectors: 1, largestFreeSectors: 0, sectorSize) }
      return (largest.firstLBA, largest.sectorCount)
    case .percentOfFree(let percent):
      guard let largest else { throw .noSpace(neededSectors: 1, largestFreeSectors: 0, sectorSize) }
      return (largest.firstLBA, try share(percent, of: largest.sectorCount, alignmentByteCount))
    case .percentOfDisk(let percent): wanted = try share(percent, of: usableSectorCount, alignmentByteCount)
    case .bytes(let byteCount): wanted = try sectors(in: byteCount)
    }
    guard let range = ranges.first(where: { $0.sectorCount >= wanted }) else {
      throw .noSpace(neededSectors: wanted, largestFreeSectors: largest?.sectorCount ?? 0, sectorSize)
    }
    return (range.firstLBA, wanted)
  }

  /// Changes a partition's length; its start stays.
  /// - Returns: the partition as it is now.
  /// - Throws: `noSuchPartition`, `noRoomBehind`, `sizeIsZero`, `percentInvalid`, `alignmentInvalid`, and whatever `validate` finds.
  @discardableResult
  public mutating func resizePartition(
    number: Int, to size: PartitionSize, alignmentByteCount: UInt64 = PartitionLimits.defaultAlignmentByteCount
  ) throws(GPTError) -> GPTPartition {
    try validate()  // the room behind a partition of a damaged table may be another's
    guard var partition = partition(number: number) else { throw .noSuchPartition(number) }
    let room = roomBehind(partition)
    let wanted: UInt64
    switch size {
    case .largestFree, .percentOfDisk(100), .percentOfFree(100): wanted = partition.sectorCount + room
    case .percentOfFree(let percent): wanted = partition.sectorCount + (try share(percent, of: room, alignmentByteCount))
    case .percentOfDisk(let percent): wanted = try share(percent, of: usableSectorCount, alignmentByteCount)
    case .bytes(let byteCount): wanted = try sectors(in: byteCount)
    }
    guard wanted <= partition.sectorCount + room else {
      throw .noRoomBehind(number: number, neededSectors: wanted, availableSectors: partition.sectorCount + room, sectorSize)
    }
    partition.lastLBA = LBA(partition.firstLBA.value + wanted - 1)
    try updatePartition(partition)
    return partition
  }

  /// Free sectors that follow a partition of a sound table.
  private func roomBehind(_ partition: GPTPartition) -> UInt64 {
    let next = partitions.map(\.firstLBA).filter { $0 > partition.lastLBA }.min()
    return (next?.value ?? lastUsableLBA.value + 1) - partition.lastLBA.value - 1
  }

  /// Sectors from the first usable to the last.
  public var usableSectorCount: UInt64 { lastUsableLBA.value - firstUsableLBA.value + 1 }

  private func sectors(in byteCount: UInt64) throws(GPTError) -> UInt64 {
    guard byteCount > 0 else { throw .sizeIsZero }
    return byteCount / sectorSize.wide + (byteCount % sectorSize.wide == 0 ? 0 : 1)
  }

  /// Rounded down to the alignment, so that the next partition begins where this one ends.
  private func share(_ percent: Int, of sectorCount: UInt64, _ alignmentByteCount: UInt64) throws(GPTError) -> UInt64 {
    guard (1...100).contains(percent) else { throw .percentInvalid(percent) }
    guard alignmentByteCount > 0, alignmentByteCount % sectorSize.wide == 0 else {
      throw .alignmentInvalid(byteCount: alignmentByteCount, sectorSize: sectorSize)
    }
    let alignment = alignmentByteCount / sectorSize.wide
    // Apart for whole hundreds and the rest, so that nothing overflows.
    let part = sectorCount / 100 * UInt64(percent) + sectorCount % 100 * UInt64(percent) / 100
    let rounded = part / alignment * alignment
    guard rounded > 0 else { throw .sizeIsZero }
    return rounded
  }

  /// Fits the table to a disk that has grown or shrunk: the backup's place and the usable range follow the new size.
  /// - Throws: `diskTooSmall`, or `partitionOutOfBounds` when a partition would lie beyond the new end.
  public mutating func fit(toDiskByteCount diskByteCount: UInt64) throws(GPTError) {
    var changed = self
    let newCount = diskByteCount / sectorSize.wide
    let reserved = UInt64(PartitionLimits.reservedEntryArrayByteCount) / sectorSize.wide
    let needed = firstUsableLBA.value + 1 + max(arraySectorCount, reserved) + 1
    guard newCount >= needed else {
      throw .diskTooSmall(diskByteCount: diskByteCount, neededByteCount: needed * sectorSize.wide)
    }
    let newLast = LBA(newCount - 2 - max(arraySectorCount, reserved))
    try changed.replace(partitions: partitions, sectorCount: newCount, lastUsableLBA: newLast)
    self = changed
  }
}
