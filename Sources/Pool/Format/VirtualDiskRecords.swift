/// A virtual disk (key: its number).
public struct VirtualDiskRecord: MetadataRecord {
  public static let kind = RecordKind.virtualDisk

  public struct State: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let active = State(rawValue: 1)
    /// Its rows are being freed; it is not served any more, and its name is free.
    public static let deleting = State(rawValue: 2)
    /// Being made: a fixed disk whose rows are not all there. Removed when the pool is opened.
    public static let creating = State(rawValue: 3)
  }

  public struct Provisioning: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let thin = Provisioning(rawValue: 1)
    public static let fixed = Provisioning(rawValue: 2)
  }

  public var number: VirtualDiskNumber
  public var id: VirtualDiskUUID
  public var name: String
  public var byteCount: UInt64
  /// 512 or 4096.
  public var logicalSector: UInt32
  public var provisioning: Provisioning
  public var resiliency: ResiliencyKind
  public var columns: UInt16
  public var copies: UInt8
  /// Parity columns among `columns`.
  public var parityCount: UInt8
  /// Bytes in one column before the next one's turn.
  public var interleave: UInt32
  /// What one presence bit stands for, in bytes: 64 KiB to 1 MiB. Never changes.
  public var presenceChunkByteCount: UInt32
  public var state: State
  public var features: FeatureFlags
  /// Snapshots: the virtual disk and the map a clear presence bit asks; 0 now.
  public var parent: VirtualDiskNumber = VirtualDiskNumber(0)
  public var parentMap: UInt64 = 0
  /// Snapshots: grows with each; rows born later than a snapshot do not belong to it.
  public var birthSequence: UInt64 = 0
  public var keyID: UInt64 = 0
  public var transformID: UInt32 = 0
  /// Quality of service: 0 is "no limit", "an even share".
  public var ioLimitPerSecond: UInt32 = 0
  public var byteLimitPerSecond: UInt64 = 0
  public var share: UInt32 = 0
  public var createdSeconds: UInt64
  public var ownerNode: NodeID = .none
  public var trailing: [UInt8] = []

  public init(
    number: VirtualDiskNumber, id: VirtualDiskUUID, name: String, byteCount: UInt64, logicalSector: UInt32, provisioning: Provisioning,
    resiliency: ResiliencyKind, columns: UInt16, copies: UInt8, parityCount: UInt8 = 0, interleave: UInt32, presenceChunkByteCount: UInt32,
    state: State = .active, features: FeatureFlags = FeatureFlags(), createdSeconds: UInt64
  ) {
    self.number = number
    self.id = id
    self.name = name
    self.byteCount = byteCount
    self.logicalSector = logicalSector
    self.provisioning = provisioning
    self.resiliency = resiliency
    self.columns = columns
    self.copies = copies
    self.parityCount = parityCount
    self.interleave = interleave
    self.presenceChunkByteCount = presenceChunkByteCount
    self.state = state
    self.features = features
    self.createdSeconds = createdSeconds
  }

  public static func key(_ number: VirtualDiskNumber) -> RecordKey { RecordKey(.virtualDisk, number.value) }
  public var key: RecordKey { VirtualDiskRecord.key(number) }

  /// Offsets in the value, for patches.
  public enum Offset {
    public static let byteCount = 16
    public static let state = 24
  }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.identifier(id)
    writer.integer(byteCount)
    writer.integer(state.rawValue)
    writer.integer(provisioning.rawValue)
    writer.integer(resiliency.rawValue)
    writer.integer(copies)
    writer.integer(columns)
    writer.integer(parityCount)
    writer.integer(UInt8(0))
    writer.integer(interleave)
    writer.integer(presenceChunkByteCount)
    writer.integer(logicalSector)
    writer.integer(transformID)
    writer.integer(features.incompatible)
    writer.integer(features.readOnlyCompatible)
    writer.integer(features.compatible)
    writer.number(parent)
    writer.integer(parentMap)
    writer.integer(birthSequence)
    writer.integer(keyID)
    writer.integer(byteLimitPerSecond)
    writer.integer(ioLimitPerSecond)
    writer.integer(share)
    writer.integer(createdSeconds)
    writer.identifier(ownerNode)
    writer.zeros(48)
    writer.text(name, limit: FormatLimits.virtualDiskNameByteCount)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.first < FormatLimits.numberLimit, key.second == 0 else { throw .invalid("virtual disk number") }
    number = VirtualDiskNumber(key.first)
    id = try reader.identifier()
    byteCount = try reader.integer()
    state = State(rawValue: try reader.integer())
    provisioning = Provisioning(rawValue: try reader.integer())
    resiliency = ResiliencyKind(rawValue: try reader.integer())
    copies = try reader.integer()
    columns = try reader.integer()
    parityCount = try reader.integer()
    try reader.skip(1)
    interleave = try reader.integer()
    presenceChunkByteCount = try reader.integer()
    logicalSector = try reader.integer()
    transformID = try reader.integer()
    let incompatible = try reader.integer(UInt64.self)
    let readOnlyCompatible = try reader.integer(UInt64.self)
    let compatible = try reader.integer(UInt64.self)
    features = FeatureFlags(incompatible: incompatible, readOnlyCompatible: readOnlyCompatible, compatible: compatible)
    parent = try reader.number()
    parentMap = try reader.integer()
    birthSequence = try reader.integer()
    keyID = try reader.integer()
    byteLimitPerSecond = try reader.integer()
    ioLimitPerSecond = try reader.integer()
    share = try reader.integer()
    createdSeconds = try reader.integer()
    ownerNode = try reader.identifier()
    try reader.skip(48)
    name = try reader.text(limit: FormatLimits.virtualDiskNameByteCount, "virtual disk name")
    guard logicalSector == 512 || logicalSector == 4096, byteCount % UInt64(logicalSector) == 0 else { throw .invalid("sector size") }
    guard columns > 0, copies > 0, Int(columns) * Int(copies) <= FormatLimits.slabsPerRow, UInt16(parityCount) < columns else {
      throw .invalid("number of columns")
    }
    guard interleave >= 4096, interleave.nonzeroBitCount == 1 else { throw .invalid("interleave") }
    guard presenceChunkByteCount >= 4096, presenceChunkByteCount.nonzeroBitCount == 1 else { throw .invalid("presence chunk") }
    trailing = reader.rest()
  }
}

/// Numbers are on disk.
public struct ResiliencyKind: RawRepresentable, Hashable, Sendable, Codable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let simple = ResiliencyKind(rawValue: 1)
  public static let mirror = ResiliencyKind(rawValue: 2)
  public static let parity = ResiliencyKind(rawValue: 3)
}

/// One entry of a virtual disk's map (key: virtual disk number, index of the row in the virtual disk).
public struct MapRecord: MetadataRecord {
  public static let kind = RecordKind.map

  public var virtualDisk: VirtualDiskNumber
  /// From 0 on: the stretch of addresses `index * row size ..< (index + 1) * row size`.
  public var index: UInt64
  public var row: RowID
  /// None defined yet.
  public var flags: UInt16
  /// Bit `n` (of byte n / 8, counted from the lowest) is set when chunk n has data. At most 4096 bytes.
  public var presence: [UInt8]
  public var trailing: [UInt8] = []

  public init(virtualDisk: VirtualDiskNumber, index: UInt64, row: RowID, flags: UInt16 = 0, presence: [UInt8]) {
    self.virtualDisk = virtualDisk
    self.index = index
    self.row = row
    self.flags = flags
    self.presence = presence
  }

  public static func key(_ virtualDisk: VirtualDiskNumber, _ index: UInt64) -> RecordKey { RecordKey(.map, virtualDisk.value, index) }
  public var key: RecordKey { MapRecord.key(virtualDisk, index) }

  /// Offsets in the value, for patches.
  public enum Offset {
    public static let row = 0
    public static let flags = 8
    /// The first byte of the bitmap.
    public static let presence = 16
  }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.number(row)
    writer.integer(flags)
    writer.integer(UInt16(presence.count))
    writer.zeros(4)
    writer.append(presence)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0 else { throw .invalid("virtual disk number") }
    virtualDisk = VirtualDiskNumber(key.first)
    index = key.second
    row = try reader.number()
    flags = try reader.integer()
    let byteCount = Int(try reader.integer(UInt16.self))
    guard byteCount <= FormatLimits.presenceByteCount else { throw .invalid("presence bitmap") }
    try reader.skip(4)
    presence = Array(try reader.take(byteCount))
    trailing = reader.rest()
  }
}

extension MapRecord {
  /// A look at a stored map entry where it lies; checked like the record.
  struct View {
    let row: RowID
    let presence: UnsafeRawBufferPointer

    init(version: UInt8, value: UnsafeRawBufferPointer) throws(FormatError) {
      guard version == MapRecord.version else { throw .unsupportedVersion(UInt16(version)) }
      guard value.count >= Offset.presence else { throw .truncated }
      row = RowID(value.little(UInt64.self, at: Offset.row))
      let byteCount = Int(value.little(UInt16.self, at: Offset.flags + 2))
      guard byteCount <= FormatLimits.presenceByteCount else { throw .invalid("presence bitmap") }
      guard value.count >= Offset.presence + byteCount else { throw .truncated }
      presence = value.part(from: Offset.presence, byteCount: byteCount)
    }
  }
}
