extension GPT {
  /// Number of the metadata partition on a pooled disk.
  public static let pooledMetadataNumber = 1
  /// Number of the data partition on a pooled disk.
  public static let pooledDataNumber = 2

  /// The table of a pooled disk: partition 1 holds the pool's metadata and starts at 1 MiB, partition 2 holds its data and follows at
  /// once, both starting and ending on a multiple of 1 MiB, so that they lie the same on disks of either sector size. Both carry the
  /// pool's name, cut to what an entry holds.
  /// - Parameters:
  ///   - diskByteCount: size of the disk in bytes.
  ///   - metadataByteCount: size of the metadata partition in bytes: a multiple of 1 MiB above 0.
  /// - Throws: `metadataSizeInvalid`; `diskTooSmall` when less than 3 MiB would be left for data; `nameHoldsNUL`, `uniqueGUIDTwice`
  ///   and `uniqueGUIDIsZero` when the arguments are so.
  public static func pooledDisk(
    diskByteCount: UInt64, sectorSize: SectorSize, metadataByteCount: UInt64, poolName: String, diskGUID: GUID, metadataGUID: GUID,
    dataGUID: GUID
  ) throws(GPTError) -> GPT {
    let alignment = PartitionLimits.defaultAlignmentByteCount
    guard metadataByteCount > 0, metadataByteCount % alignment == 0 else {
      throw .metadataSizeInvalid(byteCount: metadataByteCount)
    }
    var table = try GPT(diskGUID: diskGUID, diskByteCount: diskByteCount, sectorSize: sectorSize)
    let (metadataEnd, overflow) = alignment.addingReportingOverflow(metadataByteCount)
    let usableEnd = (table.lastUsableLBA.value + 1) * sectorSize.wide
    let dataEnd = usableEnd - usableEnd % alignment
    guard !overflow, dataEnd >= metadataEnd, dataEnd - metadataEnd >= PartitionLimits.pooledDataMinimumByteCount else {
      // What lies behind the data partition at the least: the backup.
      let tail = table.sectorCount * sectorSize.wide - usableEnd
      let (needed, tooMuch) = metadataEnd.addingReportingOverflow(PartitionLimits.pooledDataMinimumByteCount + tail)
      throw .diskTooSmall(diskByteCount: diskByteCount, neededByteCount: overflow || tooMuch ? .max : needed)
    }
    let name = GPTPartition.nameCutToFit(poolName)
    try table.addPartition(
      GPTPartition(
        number: pooledMetadataNumber, type: .spaceportMetadata, uniqueGUID: metadataGUID,
        firstLBA: LBA(alignment / sectorSize.wide), lastLBA: LBA(metadataEnd / sectorSize.wide - 1), name: name))
    try table.addPartition(
      GPTPartition(
        number: pooledDataNumber, type: .spaceportData, uniqueGUID: dataGUID,
        firstLBA: LBA(metadataEnd / sectorSize.wide), lastLBA: LBA(dataEnd / sectorSize.wide - 1), name: name))
    return table
  }

  /// The byte ranges to overwrite with zeros to destroy any GPT and MBR on a disk, whichever sector size it was written under: MBR,
  /// header and entries at the head, entries and header at the tail. Ranges are multiples of 4096 bytes in offset and, but for the
  /// end of a disk of odd size, in length; they do not overlap, and lie on the disk.
  public static func wipeRanges(diskByteCount: UInt64) -> [DiskByteRange] {
    let page: UInt64 = 4096
    let array = UInt64(PartitionLimits.reservedEntryArrayByteCount)
    // Under 4096-byte sectors the table takes the most room: 2 + 4 sectors at the head, 4 + 1 at the tail. Under 512 the last sectors
    // may lie behind the last whole 4096, so the tail reaches to the very end. No more than this: what lies between may be wanted.
    let headEnd = min(diskByteCount, array + 2 * page)
    let wholePages = diskByteCount / page * page
    let tailStart = wholePages - min(wholePages, array + page)
    return [(0, headEnd), (max(headEnd, tailStart), diskByteCount)].filter { $0.0 < $0.1 }.map {
      DiskByteRange(offsetBytes: $0.0, byteCount: Int($0.1 - $0.0))
    }
  }
}
