/// How a partition is known again when the table has changed.
public enum PartitionIdentity: Hashable, Sendable {
  /// By its unique GUID.
  case gpt(GUID)
  /// By the disk signature and its number, as Linux does, and by its start: numbers go to others when a logical partition is deleted, and there is
  /// nothing else to know it by.
  case mbr(diskSignature: UInt32, number: Int, offsetBytes: UInt64)
}

/// A partition that data can be read from and written to.
public struct UsablePartition: Hashable, Sendable {
  public var number: Int
  public var identity: PartitionIdentity
  /// The name in the table; empty for MBR partitions.
  public var label: String
  /// Bytes from the start of the disk.
  public var offsetBytes: UInt64
  /// In bytes, above 0.
  public var byteCount: UInt64

  public init(number: Int, identity: PartitionIdentity, label: String, offsetBytes: UInt64, byteCount: UInt64) {
    self.number = number
    self.identity = identity
    self.label = label
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
  }

  /// First byte behind it; within the disk, so it does not overflow.
  public var endBytes: UInt64 { offsetBytes + byteCount }
}

extension PartitionTableScan {
  /// The partitions, if the table is one to go by: sound, read as a whole, no partition over another or over what the table itself lies on, and no
  /// file system over it. nil where it is not, which may be the state between two writes of a tool. Empty where there is no table.
  public var usablePartitions: [UsablePartition]? {
    switch kind {
    case .none, .bootSector: return isWiped ? [] : nil
    case .damagedGPT, .mbrOverGPT: return nil
    case .mbr:
      guard let mbr, findings.isEmpty else { return nil }
      return checked(
        mbr.partitions.filter { !$0.isExtended }.map {
          UsablePartition(
            number: $0.number, identity: mbr.identity(of: $0, sectorSize), label: "", offsetBytes: $0.firstLBA.value * sectorSize.wide,
            byteCount: $0.sectorCount * sectorSize.wide)
        })
    case .gpt, .hybrid:
      if isBackupLeftOver || findings.contains(.bootSectorOverGPT) { return nil }
      return gpt?.usablePartitions.flatMap(checked)
    }
  }

  /// nil when one of them leaves the disk, or holds anything that the scan went by.
  private func checked(_ partitions: [UsablePartition]) -> [UsablePartition]? {
    for partition in partitions {
      let (end, overflow) = partition.offsetBytes.addingReportingOverflow(partition.byteCount)
      guard !overflow, end <= diskByteCount else { return nil }
      if consultedRanges.contains(where: { $0.offsetBytes < end && $0.offsetBytes + UInt64($0.byteCount) > partition.offsetBytes }) {
        return nil
      }
    }
    return partitions
  }
}

extension MBR {
  public func identity(of partition: MBRPartition, _ sectorSize: SectorSize) -> PartitionIdentity {
    .mbr(
      diskSignature: diskSignature, number: partition.number, offsetBytes: partition.firstLBA.value * sectorSize.wide)
  }
}

extension GPT {
  /// The partitions of a sound table; nil for any other.
  public var usablePartitions: [UsablePartition]? {
    guard problems().isEmpty else { return nil }
    var usable: [UsablePartition] = []
    for partition in partitions {
      guard let range = partition.byteRange(sectorSize: sectorSize) else { return nil }
      usable.append(
        UsablePartition(
          number: partition.number, identity: .gpt(partition.uniqueGUID), label: partition.name, offsetBytes: range.offsetBytes,
          byteCount: range.byteCount))
    }
    return usable
  }
}

extension UsablePartition {
  /// Whether one of these is the same partition, at the same place and at least as long.
  public func isBorneOut(by partitions: [UsablePartition]) -> Bool {
    partitions.contains { $0.identity == identity && $0.offsetBytes == offsetBytes && $0.byteCount >= byteCount }
  }
}
