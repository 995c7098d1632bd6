/// A page of records: 16 KiB.
///
///      0  header           64 bytes; sequence: the checkpoint that wrote it, index: the page's number
///     64  used byte count  UInt32, from 96 on
///     68  record count     UInt32
///     72  reserved         24 bytes
///     96  records, one behind the other, each 8-aligned
///
/// A record:
///
///      0  kind             UInt16; 0: a gap, to be skipped
///      2  version          UInt8
///      3  reserved         UInt8
///      4  value byte count UInt32
///      8  key              two UInt64
///     24  value, and zeros up to a multiple of 8
enum RecordPage {
  static let byteCount = FormatLimits.pageByteCount
  /// Bytes for records, their headers included.
  static let capacity = FormatLimits.pageByteCount - FormatLimits.pageHeaderByteCount
  private static let usedOffset = 64
  private static let recordCountOffset = 68

  /// What a record takes in a page.
  @inline(__always)
  static func byteCount(ofValue byteCount: Int) -> Int {
    FormatLimits.recordHeaderByteCount + roundUp(byteCount, to: FormatLimits.recordAlignment)
  }

  /// Finishes the image for one disk. Returns the checksum.
  static func seal(
    _ bytes: UnsafeMutableRawBufferPointer, owner: StructureOwner, sequence: UInt64, page: Int, usedByteCount: Int, recordCount: Int
  ) -> UInt32 {
    UnsafeMutableRawBufferPointer(rebasing: bytes[64..<FormatLimits.pageHeaderByteCount]).zero()
    bytes.setLittle(UInt32(usedByteCount), at: usedOffset)
    bytes.setLittle(UInt32(recordCount), at: recordCountOffset)
    let end = FormatLimits.pageHeaderByteCount + usedByteCount
    UnsafeMutableRawBufferPointer(rebasing: bytes[end...]).zero()
    return StructureHeader(
      magic: .recordPage, pool: owner.pool, disk: owner.disk, sequence: sequence, coveredByteCount: byteCount, index: UInt32(page)
    ).seal(bytes)
  }

  /// Checks the page that `reference` names, and every record header in it. Returns the used byte count.
  static func check(_ bytes: UnsafeRawBufferPointer, _ reference: PageReference, owner: StructureOwner, page: Int) throws(FormatError)
    -> Int
  {
    let header = try StructureHeader(bytes, expecting: .recordPage, byteCounts: byteCount...byteCount, of: owner, index: UInt32(page))
    guard header.sequence == reference.sequence, StructureHeader.storedChecksum(bytes) == reference.checksum else { throw .misplaced }
    let used = Int(bytes.little(UInt32.self, at: usedOffset))
    guard used <= capacity, used % FormatLimits.recordAlignment == 0 else { throw .invalid("fill of a page") }
    var offset = FormatLimits.pageHeaderByteCount
    let end = offset + used
    while offset < end {
      guard end - offset >= FormatLimits.recordHeaderByteCount else { throw .invalid("record") }
      let valueByteCount = Int(bytes.little(UInt32.self, at: offset + 4))
      // A gap may be longer than any record.
      let limit = bytes.little(UInt16.self, at: offset) == 0 ? capacity : FormatLimits.recordValueByteCount
      guard valueByteCount <= limit, byteCount(ofValue: valueByteCount) <= end - offset else { throw .invalid("record length") }
      offset += byteCount(ofValue: valueByteCount)
    }
    return used
  }
}

/// A look at a record where it lies in memory. Only for pages that `RecordPage.check` has passed, or that the store wrote itself.
struct RecordView {
  let start: UnsafeMutableRawPointer

  @inline(__always) private func field<Value: FixedWidthInteger>(_ offset: Int, _ type: Value.Type = Value.self) -> Value {
    Value(littleEndian: start.load(fromByteOffset: offset, as: Value.self))
  }

  var kind: UInt16 { field(0) }
  var isGap: Bool { kind == 0 }
  var version: UInt8 { field(2) }
  var valueByteCount: Int { Int(field(4, UInt32.self)) }
  var first: UInt64 { field(8) }
  var second: UInt64 { field(16) }
  var key: RecordKey { RecordKey(RecordKind(rawValue: kind), first, second) }
  var value: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: start + FormatLimits.recordHeaderByteCount, count: valueByteCount)
  }
  /// In the page, header and padding included.
  var byteCount: Int { RecordPage.byteCount(ofValue: valueByteCount) }

  func write(_ key: RecordKey, version: UInt8, value: UnsafeRawBufferPointer) {
    start.storeBytes(of: key.kind.rawValue.littleEndian, as: UInt16.self)
    start.storeBytes(of: version, toByteOffset: 2, as: UInt8.self)
    start.storeBytes(of: 0, toByteOffset: 3, as: UInt8.self)
    start.storeBytes(of: UInt32(value.count).littleEndian, toByteOffset: 4, as: UInt32.self)
    start.storeBytes(of: key.first.littleEndian, toByteOffset: 8, as: UInt64.self)
    start.storeBytes(of: key.second.littleEndian, toByteOffset: 16, as: UInt64.self)
    let padded = UnsafeMutableRawBufferPointer(
      start: start + FormatLimits.recordHeaderByteCount, count: roundUp(value.count, to: FormatLimits.recordAlignment))
    padded.copyMemory(from: value)
    UnsafeMutableRawBufferPointer(rebasing: padded[value.count...]).zero()
  }

  /// Turns the record into a gap of the same length.
  func erase() { start.storeBytes(of: 0, as: UInt16.self) }
}
