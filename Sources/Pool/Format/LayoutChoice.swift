/// The sizes that a new pool's disks share, chosen from their capacities.
public struct LayoutChoice: Equatable, Sendable {
  public var slabByteCount: UInt64
  public var metadataByteCount: UInt64
  public var journalByteCount: UInt64

  /// What holds for every disk, of a new pool or an old one.
  static func checkSize(diskByteCount: UInt64) throws(MetadataError) {
    guard diskByteCount >= LayoutLimits.diskSmallest else {
      throw MetadataError(
        .diskTooSmall, "A disk of \(diskByteCount) bytes is too small for a pool.",
        remedy: "Use disks of at least \(LayoutLimits.diskSmallest >> 20) MiB.")
    }
  }

  /// - Parameter slabByteCount: nil to choose: the power of two that deals the pool into 8,192 to 16,384 slabs, from 1 MiB to 1 GiB.
  public init(diskByteCounts: [UInt64], slabByteCount: UInt64? = nil) throws(MetadataError) {
    guard let smallest = diskByteCounts.min() else {
      throw MetadataError(.invalidArgument, "A pool needs a disk.", remedy: "Name at least one.")
    }
    try LayoutChoice.checkSize(diskByteCount: smallest)
    let capacity = diskByteCounts.reduce(UInt64(0)) { sum, size in
      let (total, overflow) = sum.addingReportingOverflow(size)
      return overflow ? .max : total
    }
    let slab = slabByteCount ?? LayoutChoice.slabByteCount(capacity: capacity)
    guard slab.nonzeroBitCount == 1, (FormatLimits.slabSmallest...FormatLimits.slabLargest).contains(slab) else {
      throw MetadataError(
        .invalidArgument, "A slab size of \(slab) bytes cannot be.", remedy: "Give a power of two from 1 MiB to 1 GiB.")
    }
    self.slabByteCount = slab
    let slabs = min(capacity / slab + 1, 1 << 32)
    let wanted = slabs * LayoutLimits.metadataBytesPerSlab
    // Growth is given where it is cheap; what the pool needs as it is, is given in any case.
    let grown = min(wanted * LayoutLimits.growthFactor, max(smallest / LayoutLimits.metadataFraction, wanted))
    let unit = FormatLimits.alignmentByteCount
    let metadata = roundUp(min(max(grown, LayoutLimits.metadataSmallest), LayoutLimits.metadataLargest), to: unit)
    metadataByteCount = metadata
    journalByteCount = roundDown(
      min(max(metadata / LayoutLimits.journalFraction, LayoutLimits.journalSmallest), LayoutLimits.journalLargest),
      to: UInt64(FormatLimits.blockByteCount))
  }

  static func slabByteCount(capacity: UInt64) -> UInt64 {
    var slab = FormatLimits.slabSmallest
    while slab < FormatLimits.slabLargest, capacity / slab > LayoutLimits.slabCountAimed { slab <<= 1 }
    return slab
  }

  /// The layout of one disk of the pool.
  public func layout(diskByteCount: UInt64) throws(MetadataError) -> DiskLayout {
    try DiskLayout(
      diskByteCount: diskByteCount, metadataByteCount: metadataByteCount, journalByteCount: journalByteCount, slabByteCount: slabByteCount)
  }
}
