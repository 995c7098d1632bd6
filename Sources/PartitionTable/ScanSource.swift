/// Thrown by the decoder when it needs bytes that were not fetched yet. The driver fetches them and lets the decoder go on: so one
/// decoder, which is plain code, serves callers that read at once and callers that await.
struct BytesNeeded: Error {
  var range: DiskByteRange
}

/// The parts of a disk fetched so far.
struct ScanSource {
  let diskByteCount: UInt64
  let sectorSize: SectorSize
  /// Fetched ahead: the head and the tail, which hold all there is to a table in good order.
  private var ahead: [(offsetBytes: UInt64, bytes: [UInt8])] = []
  /// Fetched because asked for; nil where reading failed.
  private var onDemand: [DiskByteRange: [UInt8]?] = [:]
  /// What the decoder looked at, in the order of its asking. What it found depends on these bytes and no others.
  private(set) var consulted: [DiskByteRange] = []
  /// The first of those that could not be read.
  private(set) var unreadable: DiskByteRange?

  init(diskByteCount: UInt64, sectorSize: SectorSize) {
    self.diskByteCount = diskByteCount
    self.sectorSize = sectorSize
  }

  var sectorCount: UInt64 { diskByteCount / sectorSize.wide }

  /// What to fetch before the first run.
  var rangesAhead: [DiskByteRange] {
    let arraySectors = UInt64(PartitionLimits.reservedEntryArrayByteCount) / sectorSize.wide
    let head = min(sectorCount, arraySectors + 2)
    let tail = min(sectorCount - head, arraySectors + 1)
    return [(0, head), (sectorCount - tail, tail)].filter { $0.1 > 0 }.map {
      DiskByteRange(offsetBytes: $0.0 * sectorSize.wide, byteCount: Int($0.1) * sectorSize.byteCount)
    }
  }

  /// Takes what was fetched ahead. A failure is forgotten: one bad sector must not hide its neighbours, which are asked for singly.
  mutating func addAhead(_ bytes: [UInt8]?, at range: DiskByteRange) {
    if let bytes, bytes.count == range.byteCount { ahead.append((range.offsetBytes, bytes)) }
  }

  /// Takes what the decoder asked for. A wrong count of bytes is as good as a failed read.
  mutating func add(_ bytes: [UInt8]?, at range: DiskByteRange) {
    onDemand[range] = .some(bytes?.count == range.byteCount ? bytes : nil)
  }

  /// Whole sectors; nil when they lie off the disk or cannot be read.
  mutating func sectors(_ first: LBA, count: UInt64 = 1) throws(BytesNeeded) -> ArraySlice<UInt8>? {
    guard count > 0, count <= sectorCount, first.value <= sectorCount - count else { return nil }
    // Counts are bounded by the entry array's limit, so the product fits.
    let range = DiskByteRange(offsetBytes: first.value * sectorSize.wide, byteCount: Int(count) * sectorSize.byteCount)
    // A step that needed more bytes asks again for those it had.
    if !consulted.contains(range) { consulted.append(range) }
    for piece in ahead where range.offsetBytes >= piece.offsetBytes {
      let start = range.offsetBytes - piece.offsetBytes
      if start + UInt64(range.byteCount) <= UInt64(piece.bytes.count) {
        return piece.bytes[Int(start)..<(Int(start) + range.byteCount)]
      }
    }
    guard let fetched = onDemand[range] else { throw BytesNeeded(range: range) }
    if fetched == nil && unreadable == nil { unreadable = range }
    return fetched?[...]
  }
}
