/// Where everything lies on one disk, in bytes from the disk's start. Kept in the superblock, so that nothing has to be computed again by
/// the rules of another program version.
///
///     0                GPT (not ours)
///     1 MiB            metadata partition: superblock places, roots, page tables, journal, record pages
///     metadata end     data partition: 1 MiB margin (signature), slabs, 1 MiB margin (superblock copies)
///     data end         backup GPT (not ours)
public struct DiskLayout: Equatable, Sendable, Codable {
  public var diskByteCount: UInt64
  public var metadataOffset: UInt64
  public var metadataByteCount: UInt64
  public var dataOffset: UInt64
  public var dataByteCount: UInt64
  /// The two places of the checkpoint's root.
  public var rootOffsets: [UInt64]
  /// Page-table pages, two slots each side by side.
  public var pageTableOffset: UInt64
  public var pageTableCount: Int
  public var journalOffset: UInt64
  public var journalByteCount: UInt64
  /// Record pages, two slots each side by side.
  public var pagesOffset: UInt64
  public var pageCount: Int
  public var slabByteCount: UInt64
  /// From one slab's start to the next one's: the slab and its trailer, rounded up to 4096.
  public var slabStride: UInt64
  /// Behind each slab, for checksums; 0 now.
  public var slabTrailerByteCount: UInt32
  /// Where slab 0 begins.
  public var slabsOffset: UInt64
  public var slabCount: Int

  /// Lays out a disk. Throws when the disk is too small or the sizes cannot be: the message is for the operator.
  public init(
    diskByteCount: UInt64, metadataByteCount: UInt64, journalByteCount: UInt64, slabByteCount: UInt64, slabTrailerByteCount: UInt32 = 0
  ) throws(MetadataError) {
    let unit = FormatLimits.alignmentByteCount
    let block = UInt64(FormatLimits.blockByteCount)
    guard slabByteCount.nonzeroBitCount == 1, (FormatLimits.slabSmallest...FormatLimits.slabLargest).contains(slabByteCount) else {
      throw MetadataError(
        .invalidArgument, "A slab of \(slabByteCount) bytes cannot be.", remedy: "Give a power of two from 1 MiB to 1 GiB.")
    }
    guard metadataByteCount % unit == 0, metadataByteCount >= unit, metadataByteCount <= LayoutLimits.metadataLargest,
      journalByteCount % block == 0, (FormatLimits.journalSmallest...FormatLimits.journalLargest).contains(journalByteCount)
    else {
      throw MetadataError(
        .invalidArgument, "A metadata area of \(metadataByteCount) bytes with a journal of \(journalByteCount) cannot be.",
        remedy: "Leave the sizes to the program.")
    }
    self.diskByteCount = diskByteCount
    metadataOffset = FormatLimits.metadataOffset
    self.metadataByteCount = metadataByteCount
    dataOffset = metadataOffset + metadataByteCount
    let stride = slabByteCount + roundUp(UInt64(slabTrailerByteCount), to: block)
    let dataEnd = DiskLayout.dataEnd(diskByteCount: diskByteCount)
    let needed = dataOffset + 2 * FormatLimits.dataMarginByteCount + stride
    guard dataEnd >= needed else {
      throw MetadataError(
        .diskTooSmall, "The disk's \(diskByteCount) bytes hold no slab of \(slabByteCount) beside \(metadataByteCount) of metadata.",
        remedy: "Use a disk of at least \(needed + unit + FormatLimits.endReserveByteCount) bytes, or a smaller slab size.")
    }
    dataByteCount = dataEnd - dataOffset
    self.slabByteCount = slabByteCount
    slabStride = stride
    self.slabTrailerByteCount = slabTrailerByteCount
    slabsOffset = dataOffset + FormatLimits.dataMarginByteCount
    slabCount = Int(min((dataByteCount - 2 * FormatLimits.dataMarginByteCount) / stride, UInt64(UInt32.max)))

    let spacing = FormatLimits.placeSpacingByteCount
    rootOffsets = [metadataOffset + 2 * spacing, metadataOffset + 3 * spacing]
    pageTableOffset = metadataOffset + 4 * spacing
    let metadataEnd = metadataOffset + metadataByteCount
    // As many pages as fit with their tables; a table serves 252 pages, so counting down from the upper bound is short.
    let rest = metadataEnd - pageTableOffset - journalByteCount.clamped(to: metadataEnd - pageTableOffset)
    let pagePair = UInt64(2 * FormatLimits.pageByteCount)
    let tablePair = UInt64(2 * FormatLimits.pageTableByteCount)
    var pages = min(rest / pagePair, UInt64(FormatLimits.pageCount))
    func tables(_ pages: UInt64) -> UInt64 {
      (pages + UInt64(FormatLimits.entriesPerPageTable) - 1) / UInt64(FormatLimits.entriesPerPageTable)
    }
    while pages > 0, pages * pagePair + tables(pages) * tablePair > rest { pages -= 1 }
    guard pages >= UInt64(4 * StoreLimits.reservedPageCountSmallest) else {
      throw MetadataError(
        .invalidArgument, "A metadata area of \(metadataByteCount) bytes is too small.", remedy: "Leave the sizes to the program.")
    }
    pageCount = Int(pages)
    pageTableCount = Int(tables(pages))
    journalOffset = pageTableOffset + tables(pages) * tablePair
    self.journalByteCount = journalByteCount
    pagesOffset = journalOffset + journalByteCount
  }

  /// Where the data partition ends on a disk of this size: found without reading anything.
  public static func dataEnd(diskByteCount: UInt64) -> UInt64 {
    diskByteCount < FormatLimits.endReserveByteCount
      ? 0 : roundDown(diskByteCount - FormatLimits.endReserveByteCount, to: FormatLimits.alignmentByteCount)
  }

  public var dataEnd: UInt64 { dataOffset + dataByteCount }

  /// The four places of the superblock: for each of the two generations, the head's and the tail's.
  public static func superblockOffsets(dataEnd: UInt64) -> [[UInt64]] {
    let head = FormatLimits.metadataOffset
    let tail = dataEnd - FormatLimits.dataMarginByteCount
    return [[head, tail], [head + FormatLimits.placeSpacingByteCount, tail + FormatLimits.placeSpacingByteCount]]
  }

  public var superblockOffsets: [[UInt64]] { DiskLayout.superblockOffsets(dataEnd: dataEnd) }

  /// Our own signature, at the head of the data partition.
  public var dataSignatureOffset: UInt64 { dataOffset }

  /// Where the slot 0 or 1 of a page-table page lies.
  public func pageTableOffset(_ table: Int, slot: Int) -> UInt64 {
    pageTableOffset + UInt64((2 * table + slot) * FormatLimits.pageTableByteCount)
  }

  public func pageOffset(_ page: Int, slot: Int) -> UInt64 { pagesOffset + UInt64((2 * page + slot) * FormatLimits.pageByteCount) }

  public func slabOffset(_ slab: SlabNumber) -> UInt64 { slabsOffset + UInt64(slab.value) * slabStride }

  /// Whether disks with these layouts can be voters of one pool: the same metadata fits on each.
  func holdsSameMetadata(as other: DiskLayout) -> Bool {
    pageCount == other.pageCount && pageTableCount == other.pageTableCount && journalByteCount == other.journalByteCount
      && slabByteCount == other.slabByteCount && slabStride == other.slabStride
  }

  // MARK: On disk

  /// 136 bytes from `start` on, see docs/on-disk-format.md.
  func encode(_ bytes: UnsafeMutableRawBufferPointer, at start: Int) {
    bytes.setLittle(diskByteCount, at: start)
    bytes.setLittle(metadataOffset, at: start + 8)
    bytes.setLittle(metadataByteCount, at: start + 16)
    bytes.setLittle(dataOffset, at: start + 24)
    bytes.setLittle(dataByteCount, at: start + 32)
    bytes.setLittle(rootOffsets[0], at: start + 40)
    bytes.setLittle(rootOffsets[1], at: start + 48)
    bytes.setLittle(pageTableOffset, at: start + 56)
    bytes.setLittle(UInt32(pageTableCount), at: start + 64)
    bytes.setLittle(UInt32(FormatLimits.pageByteCount), at: start + 68)
    bytes.setLittle(journalOffset, at: start + 72)
    bytes.setLittle(journalByteCount, at: start + 80)
    bytes.setLittle(pagesOffset, at: start + 88)
    bytes.setLittle(UInt32(pageCount), at: start + 96)
    bytes.setLittle(slabTrailerByteCount, at: start + 100)
    bytes.setLittle(slabByteCount, at: start + 104)
    bytes.setLittle(slabStride, at: start + 112)
    bytes.setLittle(slabsOffset, at: start + 120)
    bytes.setLittle(UInt64(slabCount), at: start + 128)
  }

  /// Whatever the bytes are, a layout that decodes lies within its disk, in order and without overlap.
  init(_ bytes: UnsafeRawBufferPointer, at start: Int) throws(FormatError) {
    func field(_ offset: Int) -> UInt64 { bytes.little(UInt64.self, at: start + offset) }
    func short(_ offset: Int) -> UInt32 { bytes.little(UInt32.self, at: start + offset) }
    let size = field(0)
    // No disk is larger than this; below it none of the sums here can overflow.
    guard size <= 1 << 60 else { throw .invalid("disk size") }
    diskByteCount = size
    metadataOffset = field(8)
    metadataByteCount = field(16)
    dataOffset = field(24)
    dataByteCount = field(32)
    rootOffsets = [field(40), field(48)]
    pageTableOffset = field(56)
    journalOffset = field(72)
    journalByteCount = field(80)
    pagesOffset = field(88)
    slabTrailerByteCount = short(100)
    slabByteCount = field(104)
    slabStride = field(112)
    slabsOffset = field(120)
    let tables = short(64)
    let pages = short(96)
    let slabs = field(128)
    guard short(68) == UInt32(FormatLimits.pageByteCount) else { throw .invalid("page size") }
    let entries = UInt32(FormatLimits.entriesPerPageTable)
    guard tables <= UInt32(FormatLimits.pageTablesPerRoot), pages > 0, pages <= tables * entries, pages > (tables - 1) * entries else {
      throw .invalid("page count")
    }
    guard slabs <= UInt64(UInt32.max) else { throw .invalid("slab count") }
    pageTableCount = Int(tables)
    pageCount = Int(pages)
    slabCount = Int(slabs)
    try checkRegions()
  }

  private func checkRegions() throws(FormatError) {
    let block = UInt64(FormatLimits.blockByteCount)
    guard metadataOffset == FormatLimits.metadataOffset else { throw .invalid("metadata offset") }
    var end = metadataOffset + 2 * FormatLimits.placeSpacingByteCount
    // In the order they lie on the disk: each begins where the one before has ended, or later.
    let regions: [(offset: UInt64, byteCount: UInt64)] = [
      (rootOffsets[0], block), (rootOffsets[1], block),
      (pageTableOffset, UInt64(2 * pageTableCount * FormatLimits.pageTableByteCount)),
      (journalOffset, journalByteCount), (pagesOffset, UInt64(2 * pageCount * FormatLimits.pageByteCount)),
    ]
    for region in regions {
      guard region.offset >= end, region.offset % block == 0, region.offset <= diskByteCount, region.byteCount <= diskByteCount else {
        throw .invalid("metadata layout")
      }
      end = region.offset + region.byteCount
    }
    guard journalByteCount % block == 0, (FormatLimits.journalSmallest...FormatLimits.journalLargest).contains(journalByteCount) else {
      throw .invalid("journal size")
    }
    guard metadataByteCount <= diskByteCount, end <= metadataOffset + metadataByteCount, dataOffset >= metadataOffset + metadataByteCount,
      dataOffset <= diskByteCount, dataByteCount <= diskByteCount - dataOffset, dataOffset % block == 0, dataByteCount % block == 0,
      dataByteCount >= 2 * FormatLimits.dataMarginByteCount
    else { throw .invalid("data partition") }
    guard slabByteCount.nonzeroBitCount == 1, (FormatLimits.slabSmallest...FormatLimits.slabLargest).contains(slabByteCount),
      slabStride % block == 0, slabStride >= slabByteCount, slabStride <= 2 * slabByteCount,
      UInt64(slabTrailerByteCount) <= slabStride - slabByteCount
    else { throw .invalid("slab size") }
    guard slabsOffset >= dataOffset + FormatLimits.dataMarginByteCount, slabsOffset % block == 0, slabsOffset <= dataEnd,
      UInt64(slabCount) <= (dataEnd - slabsOffset) / slabStride,
      dataEnd - (slabsOffset + UInt64(slabCount) * slabStride) >= FormatLimits.dataMarginByteCount
    else { throw .invalid("slab area") }
  }
}

extension UInt64 {
  func clamped(to limit: UInt64) -> UInt64 { Swift.min(self, limit) }
}
