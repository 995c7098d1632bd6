/// One change to the records: idempotent, so that replaying it twice is the same as once.
public enum MetadataChange: Equatable, Sendable {
  /// Adds the record or replaces it.
  case put(Record)
  /// Removes it; no error when it is not there.
  case delete(RecordKey)
  /// Overwrites bytes within the value of a record that is there.
  case patch(RecordKey, byteOffset: Int, bytes: [UInt8])
  /// Sets the bits that are set in `bytes`: presence bits set by several at a time need no reading first.
  case setBits(RecordKey, byteOffset: Int, bytes: [UInt8])
  /// Clears the bits that are set in `bytes`.
  case clearBits(RecordKey, byteOffset: Int, bytes: [UInt8])

  public static func put(_ record: some MetadataRecord) -> MetadataChange { .put(record.record) }

  public var key: RecordKey {
    switch self {
    case .put(let record): record.key
    case .delete(let key), .patch(let key, _, _), .setBits(let key, _, _), .clearBits(let key, _, _): key
    }
  }

  /// Bytes in a journal entry.
  var encodedByteCount: Int { FormatLimits.changeHeaderByteCount + roundUp(payload.count, to: FormatLimits.recordAlignment) }

  private var payload: [UInt8] {
    switch self {
    case .put(let record): record.value
    case .delete: []
    case .patch(_, _, let bytes), .setBits(_, _, let bytes), .clearBits(_, _, let bytes): bytes
    }
  }

  private var code: UInt8 {
    switch self {
    case .put: 1
    case .delete: 2
    case .patch: 3
    case .setBits: 4
    case .clearBits: 5
    }
  }

  /// A change on disk: code UInt8, record version UInt8, kind UInt16, byte offset UInt32, byte count UInt32, reserved UInt32, key two
  /// UInt64, then the bytes, and zeros up to a multiple of 8. Returns the offset behind it.
  func encode(_ bytes: UnsafeMutableRawBufferPointer, at start: Int) -> Int {
    let payload = payload
    var version: UInt8 = 0
    var byteOffset = 0
    switch self {
    case .put(let record): version = record.version
    case .delete: break
    case .patch(_, let offset, _), .setBits(_, let offset, _), .clearBits(_, let offset, _): byteOffset = offset
    }
    let key = key
    bytes.setLittle(code, at: start)
    bytes.setLittle(version, at: start + 1)
    bytes.setLittle(key.kind.rawValue, at: start + 2)
    bytes.setLittle(UInt32(byteOffset), at: start + 4)
    bytes.setLittle(UInt32(payload.count), at: start + 8)
    bytes.setLittle(UInt32(0), at: start + 12)
    bytes.setLittle(key.first, at: start + 16)
    bytes.setLittle(key.second, at: start + 24)
    bytes.setBytes(payload, at: start + FormatLimits.changeHeaderByteCount)
    let end = start + FormatLimits.changeHeaderByteCount + payload.count
    let padded = roundUp(end, to: FormatLimits.recordAlignment)
    for index in end..<padded { bytes[index] = 0 }
    return padded
  }

  /// From bytes that may be anything.
  init(_ reader: inout ByteReader) throws(FormatError) {
    let code = try reader.integer(UInt8.self)
    let version = try reader.integer(UInt8.self)
    let kind = try reader.integer(UInt16.self)
    let byteOffset = try reader.integer(UInt32.self)
    let byteCount = try reader.integer(UInt32.self)
    try reader.skip(4)
    let first = try reader.integer(UInt64.self)
    let second = try reader.integer(UInt64.self)
    guard kind != 0 else { throw .invalid("kind of record") }
    guard byteCount <= UInt32(FormatLimits.recordValueByteCount), byteOffset <= UInt32(FormatLimits.recordValueByteCount) else {
      throw .invalid("change length")
    }
    let key = RecordKey(RecordKind(rawValue: kind), first, second)
    let bytes = Array(try reader.take(Int(byteCount)))
    let padding = roundUp(bytes.count, to: FormatLimits.recordAlignment) - bytes.count
    try reader.skip(padding)
    switch code {
    case 1: self = .put(Record(key: key, version: version, value: bytes))
    case 2: self = .delete(key)
    case 3: self = .patch(key, byteOffset: Int(byteOffset), bytes: bytes)
    case 4: self = .setBits(key, byteOffset: Int(byteOffset), bytes: bytes)
    case 5: self = .clearBits(key, byteOffset: Int(byteOffset), bytes: bytes)
    default: throw .invalid("kind of change")
    }
  }
}

/// The head of a journal entry: 128 bytes; the changes follow, and zeros up to a multiple of 4096. The checksum covers header and changes.
struct JournalEntryHeader: Equatable {
  /// The entry's number: one more than the entry before.
  var sequence: UInt64
  /// Of the owner that wrote it. A checkpoint names the only term that may follow it.
  var term: UInt64
  /// The last entry that was durable on every voter when this one was made. So any valid entry proves those up to there were promised.
  var committed: UInt64
  /// Where in the journal it lies.
  var position: UInt64
  /// The chain value before this entry. The same on all voters, unlike checksums, which cover the disk's UUID.
  var chainBefore: UInt32
  var changesByteCount: Int
  var changeCount: Int
  var epochNumber: UInt64

  enum Offset {
    static let term = 64
    static let committed = 72
    static let position = 80
    static let chainBefore = 88
    static let changesByteCount = 92
    static let changeCount = 96
    static let flags = 100
    static let epochNumber = 104
    // 112 to 128 reserved.
  }

  static let byteCount = FormatLimits.journalHeaderByteCount
  var coveredByteCount: Int { JournalEntryHeader.byteCount + changesByteCount }
  /// What it takes in the journal.
  var paddedByteCount: Int { JournalEntryHeader.paddedByteCount(changes: changesByteCount) }

  static func paddedByteCount(changes: Int) -> Int { roundUp(byteCount + changes, to: FormatLimits.blockByteCount) }

  /// Over the changes already encoded behind it.
  func seal(_ bytes: UnsafeMutableRawBufferPointer, owner: StructureOwner) {
    UnsafeMutableRawBufferPointer(rebasing: bytes[StructureHeader.byteCount..<JournalEntryHeader.byteCount]).zero()
    bytes.setLittle(term, at: Offset.term)
    bytes.setLittle(committed, at: Offset.committed)
    bytes.setLittle(position, at: Offset.position)
    bytes.setLittle(chainBefore, at: Offset.chainBefore)
    bytes.setLittle(UInt32(changesByteCount), at: Offset.changesByteCount)
    bytes.setLittle(UInt32(changeCount), at: Offset.changeCount)
    bytes.setLittle(epochNumber, at: Offset.epochNumber)
    StructureHeader(
      magic: .journalEntry, pool: owner.pool, disk: owner.disk, sequence: sequence, coveredByteCount: coveredByteCount
    ).seal(bytes)
  }

  /// Reads the entry at `position` from bytes that begin there and may be anything.
  init(_ bytes: UnsafeRawBufferPointer, owner: StructureOwner, position: UInt64) throws(FormatError) {
    guard bytes.count >= JournalEntryHeader.byteCount else { throw .truncated }
    let header = try StructureHeader(
      bytes, expecting: .journalEntry, byteCounts: JournalEntryHeader.byteCount...FormatLimits.journalEntryByteCount, of: owner, index: 0)
    sequence = header.sequence
    guard sequence < FormatLimits.numberLimit else { throw .invalid("journal sequence") }
    term = bytes.little(UInt64.self, at: Offset.term)
    committed = bytes.little(UInt64.self, at: Offset.committed)
    self.position = bytes.little(UInt64.self, at: Offset.position)
    guard self.position == position else { throw .misplaced }
    guard committed < sequence else { throw .invalid("committed sequence") }
    chainBefore = bytes.little(UInt32.self, at: Offset.chainBefore)
    changesByteCount = Int(bytes.little(UInt32.self, at: Offset.changesByteCount))
    guard header.coveredByteCount == JournalEntryHeader.byteCount + changesByteCount else { throw .invalid("journal entry length") }
    changeCount = Int(bytes.little(UInt32.self, at: Offset.changeCount))
    epochNumber = bytes.little(UInt64.self, at: Offset.epochNumber)
  }

  init(
    sequence: UInt64, term: UInt64, committed: UInt64, position: UInt64, chainBefore: UInt32, changesByteCount: Int, changeCount: Int,
    epochNumber: UInt64
  ) {
    self.sequence = sequence
    self.term = term
    self.committed = committed
    self.position = position
    self.chainBefore = chainBefore
    self.changesByteCount = changesByteCount
    self.changeCount = changeCount
    self.epochNumber = epochNumber
  }

  /// The chain value after this entry: covers everything that is the same on all voters, and so the whole history before it.
  func chainAfter(changes: UnsafeRawBufferPointer) -> UInt32 {
    let fields: [UInt64] = [sequence.littleEndian, term.littleEndian, UInt64(chainBefore).littleEndian]
    return crc32c(changes, seed: fields.withUnsafeBytes { crc32c($0) })
  }

  /// The changes of an entry whose header was checked.
  func changes(_ bytes: UnsafeRawBufferPointer) throws(FormatError) -> [MetadataChange] {
    var reader = ByteReader(bytes.part(from: JournalEntryHeader.byteCount, byteCount: changesByteCount))
    var changes: [MetadataChange] = []
    changes.reserveCapacity(min(changeCount, changesByteCount / FormatLimits.changeHeaderByteCount))
    while reader.remaining > 0 { changes.append(try MetadataChange(&reader)) }
    guard changes.count == changeCount else { throw .invalid("number of changes") }
    return changes
  }
}
