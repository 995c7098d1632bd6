import PartitionTable

/// The bytes of a disk that its partition table is made of, so that a write there is noticed. Nearly always they lie at both ends; extended boot
/// records lie between.
struct TableAreas {
  /// Everything from 0 to here is looked at.
  private var headEnd: UInt64 = 0
  /// Everything from here on is.
  private var tailStart = UInt64.max
  private var between: [Range<UInt64>] = []

  /// None.
  init() {}

  /// Those that a scan has looked at.
  init(_ ranges: [DiskByteRange], diskByteCount: UInt64) {
    for range in ranges { add(range, diskByteCount: diskByteCount) }
  }

  /// Too much does no harm: the head and the tail are each taken as one piece.
  mutating func add(_ range: DiskByteRange, diskByteCount: UInt64) {
    let end = range.offsetBytes + UInt64(range.byteCount)
    if range.offsetBytes <= headEnd {
      headEnd = max(headEnd, end)
    } else if end >= min(tailStart, diskByteCount) {
      tailStart = min(tailStart, range.offsetBytes)
    } else if !between.contains(where: { $0.lowerBound <= range.offsetBytes && end <= $0.upperBound }) {
      between.append(range.offsetBytes..<end)
    }
  }

  /// Whether any byte of the range is one of them. The range lies on the disk.
  @inline(__always)
  func overlap(_ offset: UInt64, _ byteCount: UInt64) -> Bool {
    if offset < headEnd || offset &+ byteCount > tailStart { return true }
    return between.isEmpty ? false : overlapBetween(offset, byteCount)
  }

  private func overlapBetween(_ offset: UInt64, _ byteCount: UInt64) -> Bool {
    between.contains { $0.lowerBound < offset &+ byteCount && offset < $0.upperBound }
  }
}
