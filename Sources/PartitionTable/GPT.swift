/// A GUID partition table (UEFI 2.10, chapter 5) on a disk of known size. A value: changing it touches no disk. Methods that change it
/// either succeed wholly or throw and leave it as it was.
public struct GPT: Hashable, Sendable {
  /// Logical sector size of the disk.
  public let sectorSize: SectorSize
  /// Whole sectors on the disk; bytes beyond the last whole one are not used.
  public private(set) var sectorCount: UInt64
  /// Identity of the disk.
  public var diskGUID: GUID
  /// Entries that the array has room for.
  public let entryCount: Int
  /// Bytes of each entry: 128 times a power of two.
  public let entryByteCount: Int
  /// Where the primary entry array begins: 2, unless another tool moved it.
  public let primaryEntriesLBA: LBA
  /// First sector that a partition may use.
  public let firstUsableLBA: LBA
  /// Last sector that a partition may use.
  public private(set) var lastUsableLBA: LBA
  /// The partitions, by rising number. Numbers need not be dense, nor follow the order on the disk.
  public private(set) var partitions: [GPTPartition]

  /// An empty table.
  /// - Parameters:
  ///   - diskByteCount: size of the disk in bytes; a last partial sector is left out.
  ///   - entryCount: entries in the array, 1 to 32768.
  /// - Throws: `entryCountInvalid`, `diskTooSmall`.
  public init(
    diskGUID: GUID, diskByteCount: UInt64, sectorSize: SectorSize, entryCount: Int = PartitionLimits.defaultEntryCount
  ) throws(GPTError) {
    let maximum = PartitionLimits.maximumEntryArrayByteCount / PartitionLimits.entryByteCount
    guard (1...maximum).contains(entryCount) else { throw .entryCountInvalid(entryCount, maximum: maximum) }
    let arraySectors = Self.arraySectorCount(entryCount, PartitionLimits.entryByteCount, sectorSize)
    let reserved = UInt64(PartitionLimits.reservedEntryArrayByteCount) / sectorSize.wide
    // MBR, both headers, both arrays, and one usable sector.
    let neededSectors = 3 + 2 * max(arraySectors, reserved) + 1
    guard diskByteCount / sectorSize.wide >= neededSectors else {
      throw .diskTooSmall(diskByteCount: diskByteCount, neededByteCount: neededSectors * sectorSize.wide)
    }
    self.init(
      sectorSize: sectorSize, sectorCount: diskByteCount / sectorSize.wide, diskGUID: diskGUID, entryCount: entryCount,
      entryByteCount: PartitionLimits.entryByteCount, primaryEntriesLBA: 2,
      firstUsableLBA: LBA(2 + max(arraySectors, reserved)), lastUsableLBA: 0, partitions: [])
    lastUsableLBA = defaultLastUsableLBA
  }

  /// A table as found on a disk. The caller has checked entry count and size against the limits and the ranges against the disk.
  init(
    sectorSize: SectorSize, sectorCount: UInt64, diskGUID: GUID, entryCount: Int, entryByteCount: Int, primaryEntriesLBA: LBA,
    firstUsableLBA: LBA, lastUsableLBA: LBA, partitions: [GPTPartition]
  ) {
    self.sectorSize = sectorSize
    self.sectorCount = sectorCount
    self.diskGUID = diskGUID
    self.entryCount = entryCount
    self.entryByteCount = entryByteCount
    self.primaryEntriesLBA = primaryEntriesLBA
    self.firstUsableLBA = firstUsableLBA
    self.lastUsableLBA = lastUsableLBA
    self.partitions = partitions
  }

  /// Where the backup header belongs: the last sector.
  public var backupHeaderLBA: LBA { LBA(sectorCount - 1) }

  /// Where the backup entry array belongs: right before the backup header.
  public var backupEntriesLBA: LBA { LBA(sectorCount - 1 - arraySectorCount) }

  /// Sectors that one entry array takes.
  var arraySectorCount: UInt64 { Self.arraySectorCount(entryCount, entryByteCount, sectorSize) }

  /// The last sector that the backup leaves free, which is as far as a table of ours uses the disk.
  var defaultLastUsableLBA: LBA {
    let reserved = UInt64(PartitionLimits.reservedEntryArrayByteCount) / sectorSize.wide
    return LBA(sectorCount - 2 - max(arraySectorCount, reserved))
  }

  static func arraySectorCount(_ entryCount: Int, _ entryByteCount: Int, _ sectorSize: SectorSize) -> UInt64 {
    (UInt64(entryCount) * UInt64(entryByteCount) + sectorSize.wide - 1) / sectorSize.wide
  }

  /// The partition of this number.
  public func partition(number: Int) -> GPTPartition? {
    partitions.first { $0.number == number }
  }

  /// Replaces the partitions and the disk's size together, if the outcome is sound.
  mutating func replace(partitions: [GPTPartition], sectorCount: UInt64, lastUsableLBA: LBA) throws(GPTError) {
    var changed = self
    changed.partitions = partitions.sorted { $0.number < $1.number }
    changed.sectorCount = sectorCount
    changed.lastUsableLBA = lastUsableLBA
    try changed.validate()
    self = changed
  }
}
