/// A reference to one of the two slots of a page or page-table page. 16 bytes.
public struct PageReference: Equatable, Sendable {
  /// The checkpoint that wrote it; 0 when there is no such page.
  public var sequence: UInt64
  /// The checksum in its header.
  public var checksum: UInt32
  public var slot: UInt8

  public static let none = PageReference(sequence: 0, checksum: 0, slot: 0)
  public var isNone: Bool { sequence == 0 }
  /// Where the next version goes, without touching this one.
  public var otherSlot: UInt8 { isNone ? 0 : slot ^ 1 }

  public static let byteCount = 16

  func encode(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
    bytes.setLittle(sequence, at: offset)
    bytes.setLittle(checksum, at: offset + 8)
    bytes.setLittle(slot, at: offset + 12)
  }

  init(sequence: UInt64, checksum: UInt32, slot: UInt8) {
    self.sequence = sequence
    self.checksum = checksum
    self.slot = slot
  }

  init(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FormatError) {
    sequence = bytes.little(UInt64.self, at: offset)
    checksum = bytes.little(UInt32.self, at: offset + 8)
    slot = bytes.little(UInt8.self, at: offset + 12)
    guard slot <= 1 else { throw .invalid("slot") }
  }
}

/// The head of a checkpoint: 4096 bytes, in two places in turn (the sequence's lowest bit chooses). Everything the pool has committed up
/// to `applied` is in the pages below it; what came later is in the journal from `journalPosition` on.
public struct CheckpointRoot: Equatable, Sendable {
  /// The checkpoint's number.
  public var sequence: UInt64
  /// The owner that wrote it, and the only term of journal entries that may follow it.
  public var ownerTerm: UInt64
  /// The last journal entry whose changes are in the pages.
  public var applied: UInt64
  /// The last entry known to be durable on every voter when this was written. Below `applied` only in the first checkpoint of an opening,
  /// which may have adopted an entry that nobody was told of.
  public var committed: UInt64
  /// Offset in the journal where entry `applied + 1` is expected (or at 0, if it did not fit before the end).
  public var journalPosition: UInt64
  /// The chain value after entry `applied`.
  public var chain: UInt32
  public var pageCount: UInt32
  public var recordCount: UInt64
  public var epochNumber: UInt64
  public var tables: [PageReference]

  enum Offset {
    static let ownerTerm = 64
    static let applied = 72
    static let committed = 80
    static let journalPosition = 88
    static let chain = 96
    static let tableCount = 100
    static let pageCount = 104
    static let recordCount = 112
    static let epochNumber = 120
    static let tables = 256
  }

  static let byteCount = FormatLimits.blockByteCount
  var place: Int { Int(sequence & 1) }

  func encode(_ bytes: UnsafeMutableRawBufferPointer, owner: StructureOwner) {
    bytes.zero()
    bytes.setLittle(ownerTerm, at: Offset.ownerTerm)
    bytes.setLittle(applied, at: Offset.applied)
    bytes.setLittle(committed, at: Offset.committed)
    bytes.setLittle(journalPosition, at: Offset.journalPosition)
    bytes.setLittle(chain, at: Offset.chain)
    bytes.setLittle(UInt32(tables.count), at: Offset.tableCount)
    bytes.setLittle(pageCount, at: Offset.pageCount)
    bytes.setLittle(recordCount, at: Offset.recordCount)
    bytes.setLittle(epochNumber, at: Offset.epochNumber)
    for (index, table) in tables.enumerated() { table.encode(bytes, at: Offset.tables + index * PageReference.byteCount) }
    StructureHeader(
      magic: .root, pool: owner.pool, disk: owner.disk, sequence: sequence, coveredByteCount: CheckpointRoot.byteCount
    ).seal(bytes)
  }

  init(_ bytes: UnsafeRawBufferPointer, owner: StructureOwner, layout: DiskLayout, place: Int) throws(FormatError) {
    let length = CheckpointRoot.byteCount
    let header = try StructureHeader(bytes, expecting: .root, byteCounts: length...length, of: owner, index: 0)
    sequence = header.sequence
    guard Int(sequence & 1) == place, sequence > 0 else { throw .misplaced }
    ownerTerm = bytes.little(UInt64.self, at: Offset.ownerTerm)
    applied = bytes.little(UInt64.self, at: Offset.applied)
    committed = bytes.little(UInt64.self, at: Offset.committed)
    guard applied < FormatLimits.numberLimit, committed <= applied, sequence < FormatLimits.numberLimit else {
      throw .invalid("journal sequence")
    }
    journalPosition = bytes.little(UInt64.self, at: Offset.journalPosition)
    guard journalPosition < layout.journalByteCount, journalPosition % UInt64(FormatLimits.blockByteCount) == 0 else {
      throw .invalid("journal position")
    }
    chain = bytes.little(UInt32.self, at: Offset.chain)
    let tableCount = bytes.little(UInt32.self, at: Offset.tableCount)
    guard Int(tableCount) == layout.pageTableCount else { throw .invalid("page table count") }
    pageCount = bytes.little(UInt32.self, at: Offset.pageCount)
    recordCount = bytes.little(UInt64.self, at: Offset.recordCount)
    epochNumber = bytes.little(UInt64.self, at: Offset.epochNumber)
    tables = []
    tables.reserveCapacity(Int(tableCount))
    for index in 0..<Int(tableCount) { tables.append(try PageReference(bytes, at: Offset.tables + index * PageReference.byteCount)) }
  }

  init(
    sequence: UInt64, ownerTerm: UInt64, applied: UInt64, committed: UInt64, journalPosition: UInt64, chain: UInt32, pageCount: UInt32,
    recordCount: UInt64, epochNumber: UInt64, tables: [PageReference]
  ) {
    self.sequence = sequence
    self.ownerTerm = ownerTerm
    self.applied = applied
    self.committed = committed
    self.journalPosition = journalPosition
    self.chain = chain
    self.pageCount = pageCount
    self.recordCount = recordCount
    self.epochNumber = epochNumber
    self.tables = tables
  }
}

/// A page of the page table: 4096 bytes, 252 references to record pages behind a header of 64.
enum PageTablePage {
  static let byteCount = FormatLimits.pageTableByteCount

  /// Returns the checksum.
  static func encode(
    _ bytes: UnsafeMutableRawBufferPointer, _ entries: ArraySlice<PageReference>, owner: StructureOwner, sequence: UInt64, index: Int
  )
    -> UInt32
  {
    bytes.zero()
    for (position, entry) in entries.enumerated() {
      entry.encode(bytes, at: StructureHeader.byteCount + position * PageReference.byteCount)
    }
    return StructureHeader(
      magic: .pageTable, pool: owner.pool, disk: owner.disk, sequence: sequence, coveredByteCount: byteCount, index: UInt32(index)
    ).seal(bytes)
  }

  /// The first `count` references, from a page that must be the very one `reference` names.
  static func decode(_ bytes: UnsafeRawBufferPointer, _ reference: PageReference, owner: StructureOwner, index: Int, count: Int)
    throws(FormatError) -> [PageReference]
  {
    let header = try StructureHeader(bytes, expecting: .pageTable, byteCounts: byteCount...byteCount, of: owner, index: UInt32(index))
    guard header.sequence == reference.sequence, StructureHeader.storedChecksum(bytes) == reference.checksum else { throw .misplaced }
    var entries: [PageReference] = []
    let count = max(0, min(count, FormatLimits.entriesPerPageTable))
    entries.reserveCapacity(count)
    for position in 0..<count {
      entries.append(try PageReference(bytes, at: StructureHeader.byteCount + position * PageReference.byteCount))
    }
    return entries
  }
}
