/// The regions of a slab row whose copies may differ after a crash, or lack what was written while a copy was away (key: row id). Absent:
/// all copies that are there agree. It is durable before a write to one of the regions is sent to any copy (rules W).
public struct DirtyRegionsRecord: MetadataRecord {
  public static let kind = RecordKind.dirtyRegions

  public var row: RowID
  /// Bytes of the row in one region; a power of two.
  public var regionByteCount: UInt64
  /// Bit `n` (of byte n / 8, counted from the lowest) is set when region n is dirty.
  public var regions: [UInt8]
  public var trailing: [UInt8] = []

  public init(row: RowID, regionByteCount: UInt64, regions: [UInt8]) {
    self.row = row
    self.regionByteCount = regionByteCount
    self.regions = regions
  }

  /// What putting such a record takes in a commit, at most.
  public static func changeByteCount(regionCount: Int) -> Int {
    FormatLimits.changeHeaderByteCount + roundUp(16 + (regionCount + 7) / 8, to: FormatLimits.recordAlignment)
  }

  public static func key(_ row: RowID) -> RecordKey { RecordKey(.dirtyRegions, row.value) }
  public var key: RecordKey { DirtyRegionsRecord.key(row) }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.integer(regionByteCount)
    writer.integer(UInt16(regions.count))
    writer.zeros(6)
    writer.append(regions)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.second == 0 else { throw .invalid("row id") }
    row = RowID(key.first)
    regionByteCount = try reader.integer()
    guard regionByteCount.nonzeroBitCount == 1, regionByteCount >= UInt64(FormatLimits.blockByteCount) else {
      throw .invalid("size of a dirty region")
    }
    let byteCount = Int(try reader.integer(UInt16.self))
    guard byteCount <= FormatLimits.presenceByteCount else { throw .invalid("dirty regions") }
    try reader.skip(6)
    regions = Array(try reader.take(byteCount))
    trailing = reader.rest()
  }
}
