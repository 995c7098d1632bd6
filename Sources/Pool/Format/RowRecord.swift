/// A slab row: one slab for each column and copy (key: row id).
public struct RowRecord: MetadataRecord {
  public static let kind = RecordKind.row

  /// What the slabs of a row are for. Numbers are on disk.
  public struct OwnerType: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let data = OwnerType(rawValue: 1)
    public static let metadata = OwnerType(rawValue: 2)
    public static let dirtyLog = OwnerType(rawValue: 3)
    public static let parityJournal = OwnerType(rawValue: 4)
    public static let checksums = OwnerType(rawValue: 5)
    public static let snapshotMap = OwnerType(rawValue: 6)
  }

  public struct CopyState: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let inSync = CopyState(rawValue: 1)
    /// Lacks the dirty regions of its row.
    public static let stale = CopyState(rawValue: 2)
    /// Good up to the cursor.
    public static let rebuilding = CopyState(rawValue: 3)
    public static let absent = CopyState(rawValue: 4)
  }

  public struct Slab: Equatable, Sendable {
    public var disk: DiskNumber
    public var number: SlabNumber
    /// Of this assignment.
    public var generation: SlabGeneration
    public var state: CopyState
    /// None defined yet.
    public var flags: UInt8
    /// How far the rebuilding came, in bytes from the slab's start; a multiple of 4096.
    public var cursorByteCount: UInt64

    public init(
      disk: DiskNumber, number: SlabNumber, generation: SlabGeneration, state: CopyState = .inSync, flags: UInt8 = 0,
      cursorByteCount: UInt64 = 0
    ) {
      self.disk = disk
      self.number = number
      self.generation = generation
      self.state = state
      self.flags = flags
      self.cursorByteCount = cursorByteCount
    }
  }

  public var id: RowID
  public var owner: OwnerType
  public var resiliency: ResiliencyKind
  public var columns: UInt16
  public var copies: UInt8
  public var parityCount: UInt8
  /// None defined yet.
  public var flags: UInt16
  /// Map entries that point here: 1 without snapshots.
  public var referenceCount: UInt32
  public var interleave: UInt32
  public var birthSequence: UInt64 = 0
  public var keyID: UInt64 = 0
  public var transformID: UInt32 = 0
  /// The virtual disk it was made for; 0 for the pool's own.
  public var virtualDisk: VirtualDiskNumber
  /// Column by column, the copies of each side by side: `column * copies + copy`.
  public var slabs: [Slab]
  public var trailing: [UInt8] = []

  public init(
    id: RowID, owner: OwnerType = .data, resiliency: ResiliencyKind, columns: UInt16, copies: UInt8, parityCount: UInt8 = 0,
    flags: UInt16 = 0, referenceCount: UInt32 = 1, interleave: UInt32, virtualDisk: VirtualDiskNumber, slabs: [Slab]
  ) {
    self.id = id
    self.owner = owner
    self.resiliency = resiliency
    self.columns = columns
    self.copies = copies
    self.parityCount = parityCount
    self.flags = flags
    self.referenceCount = referenceCount
    self.interleave = interleave
    self.virtualDisk = virtualDisk
    self.slabs = slabs
  }

  public static func key(_ id: RowID) -> RecordKey { RecordKey(.row, id.value) }
  public var key: RecordKey { RowRecord.key(id) }

  /// Offsets in the value, for patches.
  public enum Offset {
    public static let referenceCount = 8
    public static let slabs = 48
    public static let slabByteCount = 24
    /// In a slab's 24 bytes.
    public static let slabDisk = 0
    public static let slabNumber = 4
    public static let slabGeneration = 8
    public static let slabState = 16
    public static let slabCursor = 20

    public static func slab(_ index: Int) -> Int { slabs + index * slabByteCount }
  }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.integer(owner.rawValue)
    writer.integer(resiliency.rawValue)
    writer.integer(columns)
    writer.integer(copies)
    writer.integer(parityCount)
    writer.integer(flags)
    writer.integer(referenceCount)
    writer.integer(interleave)
    writer.number(virtualDisk)
    writer.integer(birthSequence)
    writer.integer(keyID)
    writer.integer(transformID)
    writer.integer(UInt16(slabs.count))
    writer.integer(UInt16(0))
    for slab in slabs {
      writer.number(slab.disk)
      writer.number(slab.number)
      writer.number(slab.generation)
      writer.integer(slab.state.rawValue)
      writer.integer(slab.flags)
      writer.integer(UInt16(0))
      writer.integer(UInt32(truncatingIfNeeded: slab.cursorByteCount / UInt64(FormatLimits.blockByteCount)))
    }
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.first < FormatLimits.numberLimit, key.second == 0 else { throw .invalid("row id") }
    id = RowID(key.first)
    owner = OwnerType(rawValue: try reader.integer())
    resiliency = ResiliencyKind(rawValue: try reader.integer())
    columns = try reader.integer()
    copies = try reader.integer()
    parityCount = try reader.integer()
    flags = try reader.integer()
    referenceCount = try reader.integer()
    interleave = try reader.integer()
    virtualDisk = try reader.number()
    birthSequence = try reader.integer()
    keyID = try reader.integer()
    transformID = try reader.integer()
    let count = Int(try reader.integer(UInt16.self))
    try reader.skip(2)
    guard count <= FormatLimits.slabsPerRow, count == Int(columns) * Int(copies) else { throw .invalid("number of slabs") }
    guard UInt16(parityCount) < columns || columns == 0 else { throw .invalid("number of parity columns") }
    slabs = []
    slabs.reserveCapacity(count)
    for _ in 0..<count {
      let disk: DiskNumber = try reader.number()
      let number: SlabNumber = try reader.number()
      let generation: SlabGeneration = try reader.number()
      guard generation.value < FormatLimits.numberLimit else { throw .invalid("slab generation") }
      let state = CopyState(rawValue: try reader.integer())
      let flags = try reader.integer(UInt8.self)
      try reader.skip(2)
      let cursor = UInt64(try reader.integer(UInt32.self)) * UInt64(FormatLimits.blockByteCount)
      slabs.append(Slab(disk: disk, number: number, generation: generation, state: state, flags: flags, cursorByteCount: cursor))
    }
    trailing = reader.rest()
  }
}

extension RowRecord {
  /// A look at a stored row where it lies, for who opens a pool with millions of them: nothing is allocated. Checked like the record.
  struct View {
    private let bytes: UnsafeRawBufferPointer
    let id: RowID
    let slabCount: Int

    init(key: RecordKey, version: UInt8, value: UnsafeRawBufferPointer) throws(FormatError) {
      guard version == RowRecord.version else { throw .unsupportedVersion(UInt16(version)) }
      guard key.first > 0, key.first < FormatLimits.numberLimit, key.second == 0 else { throw .invalid("row id") }
      guard value.count >= Offset.slabs else { throw .truncated }
      bytes = value
      id = RowID(key.first)
      let columns = Int(value.little(UInt16.self, at: 2))
      slabCount = Int(value.little(UInt16.self, at: Offset.slabs - 4))
      guard slabCount <= FormatLimits.slabsPerRow, slabCount == columns * Int(value[4]) else { throw .invalid("number of slabs") }
      guard UInt16(value[5]) < columns || columns == 0 else { throw .invalid("number of parity columns") }
      guard value.count >= Offset.slab(slabCount) else { throw .truncated }
      for index in 0..<slabCount where generation(index).value >= FormatLimits.numberLimit { throw .invalid("slab generation") }
    }

    @inline(__always)
    private func field<Value: FixedWidthInteger>(_ index: Int, _ offset: Int, _ type: Value.Type) -> Value {
      bytes.little(type, at: Offset.slab(index) + offset)
    }

    func disk(_ index: Int) -> DiskNumber { DiskNumber(field(index, Offset.slabDisk, UInt32.self)) }
    func number(_ index: Int) -> SlabNumber { SlabNumber(field(index, Offset.slabNumber, UInt32.self)) }
    func generation(_ index: Int) -> SlabGeneration { SlabGeneration(field(index, Offset.slabGeneration, UInt64.self)) }
    func state(_ index: Int) -> CopyState { CopyState(rawValue: field(index, Offset.slabState, UInt8.self)) }

    /// As the pool's layers know it: none where the copy has no slab.
    func assignment(_ index: Int) -> SlabAssignment {
      state(index) == .absent ? .none : SlabAssignment(disk: disk(index), slab: number(index), generation: generation(index))
    }
  }
}
