/// A set of regions of one slab row. A region is what is marked as dirty, resynchronised and remembered as stale in one piece.
public struct RegionSet: Equatable, Sendable {
  /// Regions of the row.
  public let count: Int
  private var words: [UInt64]

  /// The empty set.
  public init(count: Int) {
    self.count = count
    words = [UInt64](repeating: 0, count: (count + 63) / 64)
  }

  /// From the bytes of a record, lowest region in the lowest bit. Bits beyond the last region are ignored.
  public init(count: Int, bytes: [UInt8]) {
    self.init(count: count)
    for (index, byte) in bytes.enumerated() where byte != 0 {
      for bit in 0..<8 where byte & (1 << bit) != 0 && index * 8 + bit < count { insert(index * 8 + bit) }
    }
  }

  public var isEmpty: Bool { words.allSatisfy { $0 == 0 } }
  public var memberCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  @inline(__always)
  public func contains(_ region: Int) -> Bool { words[region >> 6] & (1 << UInt64(region & 63)) != 0 }

  @inline(__always)
  public func containsAll(_ regions: Range<Int>) -> Bool { regions.allSatisfy { contains($0) } }

  @inline(__always)
  public func overlaps(_ regions: Range<Int>) -> Bool { regions.contains { contains($0) } }

  @inline(__always)
  public mutating func insert(_ region: Int) { words[region >> 6] |= 1 << UInt64(region & 63) }

  @inline(__always)
  public mutating func insert(_ regions: Range<Int>) { for region in regions { insert(region) } }

  public mutating func remove(_ regions: Range<Int>) { for region in regions { words[region >> 6] &= ~(1 << UInt64(region & 63)) } }

  public mutating func formUnion(_ other: RegionSet) { for index in words.indices { words[index] |= other.words[index] } }

  public mutating func subtract(_ other: RegionSet) { for index in words.indices { words[index] &= ~other.words[index] } }

  public mutating func removeAll() { for index in words.indices { words[index] = 0 } }

  public var first: Int? {
    for index in words.indices where words[index] != 0 { return index * 64 + words[index].trailingZeroBitCount }
    return nil
  }

  /// The first members that lie side by side, `start` or higher: at most `limit` of them, which counts as at least 1. Nil when there are none.
  public func run(from start: Int, limit: Int) -> Range<Int>? {
    guard let first = (start..<max(start, count)).first(where: { contains($0) }) else { return nil }
    var end = first + 1
    while end < count && end - first < limit && contains(end) { end += 1 }
    return first..<end
  }

  /// As a record holds it.
  public var bytes: [UInt8] { (0..<(count + 7) / 8).map { UInt8(truncatingIfNeeded: words[$0 >> 3] >> UInt64(($0 & 7) * 8)) } }
}

/// How a slab row is cut into regions.
public struct RegionLayout: Equatable, Sendable {
  public let rowByteCount: UInt64
  public let regionByteCount: UInt64

  /// The size for rows of `rowByteCount` bytes whose presence chunks have `chunkByteCount`: small enough that a hot spot does not make
  /// much to resynchronise, large enough that a row has few.
  public init(rowByteCount: UInt64, chunkByteCount: UInt64) {
    var size = chunkByteCount
    while size < PoolLimits.largestRegionByteCount && rowByteCount / size > PoolLimits.regionsPerRowAimed { size *= 2 }
    self.rowByteCount = rowByteCount
    regionByteCount = size
  }

  public var regionCount: Int { Int((rowByteCount + regionByteCount - 1) / regionByteCount) }

  /// The regions that a range of the row, which is not empty, touches.
  @inline(__always)
  public func regions(_ start: UInt64, _ end: UInt64) -> Range<Int> {
    Int(start / regionByteCount)..<Int((end + regionByteCount - 1) / regionByteCount)
  }

  /// The bytes of a region; the last one may be short.
  public func bytes(of region: Int) -> Range<UInt64> {
    let start = UInt64(region) * regionByteCount
    return start..<min(start + regionByteCount, rowByteCount)
  }

  /// The bytes of regions that lie side by side.
  public func bytes(of run: Range<Int>) -> Range<UInt64> {
    UInt64(run.lowerBound) * regionByteCount..<min(UInt64(run.upperBound) * regionByteCount, rowByteCount)
  }

  /// The set that a record stores, in regions of this layout: of another size it is taken for all that it touches.
  public func set(_ record: DirtyRegionsRecord) -> RegionSet {
    if record.regionByteCount == regionByteCount { return RegionSet(count: regionCount, bytes: record.regions) }
    var set = RegionSet(count: regionCount)
    for (index, byte) in record.regions.enumerated() where byte != 0 {
      for bit in 0..<8 where byte & (1 << bit) != 0 {
        let (start, overflow) = UInt64(index * 8 + bit).multipliedReportingOverflow(by: record.regionByteCount)
        if overflow || start >= rowByteCount { continue }
        set.insert(regions(start, min(start + min(record.regionByteCount, rowByteCount), rowByteCount)))
      }
    }
    return set
  }
}
