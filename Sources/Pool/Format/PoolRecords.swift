/// The pool itself (key 0).
public struct PoolRecord: MetadataRecord {
  public static let kind = RecordKind.pool
  public static let key = RecordKey(.pool)

  public var id: PoolID
  public var name: String
  /// Seconds since 1970, UTC.
  public var createdSeconds: UInt64
  public var slabByteCount: UInt64
  public var slabStride: UInt64
  public var slabTrailerByteCount: UInt32
  // The next number of each kind; never goes back.
  public var nextRow: RowID
  public var nextGeneration: SlabGeneration
  public var nextVirtualDisk: VirtualDiskNumber
  public var nextDisk: DiskNumber
  public var ownerNode: NodeID
  public var ownerTerm: UInt64
  public var fencingKey: UInt64
  /// What a new virtual disk gets where nothing is said; 0: as the program likes.
  public var defaultResiliency: UInt8 = 0
  public var defaultProvisioning: UInt8 = 0
  public var defaultColumns: UInt16 = 0
  public var defaultInterleave: UInt32 = 0
  /// Percent of capacity at which the pool warns.
  public var capacityAlertPercent: UInt8 = 0
  public var trailing: [UInt8] = []

  public init(
    id: PoolID, name: String, createdSeconds: UInt64, slabByteCount: UInt64, slabStride: UInt64, slabTrailerByteCount: UInt32,
    nextRow: RowID = RowID(1), nextGeneration: SlabGeneration = SlabGeneration(1),
    nextVirtualDisk: VirtualDiskNumber = VirtualDiskNumber(1),
    nextDisk: DiskNumber = DiskNumber(1), ownerNode: NodeID = .none, ownerTerm: UInt64 = 0, fencingKey: UInt64 = 0
  ) {
    self.id = id
    self.name = name
    self.createdSeconds = createdSeconds
    self.slabByteCount = slabByteCount
    self.slabStride = slabStride
    self.slabTrailerByteCount = slabTrailerByteCount
    self.nextRow = nextRow
    self.nextGeneration = nextGeneration
    self.nextVirtualDisk = nextVirtualDisk
    self.nextDisk = nextDisk
    self.ownerNode = ownerNode
    self.ownerTerm = ownerTerm
    self.fencingKey = fencingKey
  }

  public var key: RecordKey { PoolRecord.key }

  /// Offsets in the value, for patches: a counter is raised without writing the record again.
  public enum Offset {
    public static let nextRow = 0
    public static let nextGeneration = 8
    public static let nextVirtualDisk = 16
    public static let nextDisk = 24
    public static let ownerTerm = 32
  }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.number(nextRow)
    writer.number(nextGeneration)
    writer.number(nextVirtualDisk)
    writer.number(nextDisk)
    writer.integer(UInt32(0))
    writer.integer(ownerTerm)
    writer.identifier(ownerNode)
    writer.integer(fencingKey)
    writer.identifier(id)
    writer.integer(createdSeconds)
    writer.integer(slabByteCount)
    writer.integer(slabStride)
    writer.integer(slabTrailerByteCount)
    writer.integer(defaultResiliency)
    writer.integer(defaultProvisioning)
    writer.integer(defaultColumns)
    writer.integer(defaultInterleave)
    writer.integer(capacityAlertPercent)
    writer.zeros(3 + 32)
    writer.text(name, limit: FormatLimits.poolNameByteCount)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key == PoolRecord.key else { throw .invalid("key of the pool's record") }
    nextRow = try reader.number()
    nextGeneration = try reader.number()
    nextVirtualDisk = try reader.number()
    nextDisk = try reader.number()
    guard max(nextRow.value, nextGeneration.value, nextVirtualDisk.value) < FormatLimits.numberLimit else { throw .invalid("next number") }
    try reader.skip(4)
    ownerTerm = try reader.integer()
    ownerNode = try reader.identifier()
    fencingKey = try reader.integer()
    id = try reader.identifier()
    createdSeconds = try reader.integer()
    slabByteCount = try reader.integer()
    slabStride = try reader.integer()
    slabTrailerByteCount = try reader.integer()
    defaultResiliency = try reader.integer()
    defaultProvisioning = try reader.integer()
    defaultColumns = try reader.integer()
    defaultInterleave = try reader.integer()
    capacityAlertPercent = try reader.integer()
    try reader.skip(3 + 32)
    name = try reader.text(limit: FormatLimits.poolNameByteCount, "pool name")
    trailing = reader.rest()
  }
}

/// A disk of the pool (key: disk number).
public struct DiskRecord: MetadataRecord {
  public static let kind = RecordKind.disk

  /// Numbers are on disk. Those not known decode as they are, so that a newer program's states survive an older one's reading.
  public struct State: RawRepresentable, Hashable, Sendable, Codable, CustomStringConvertible {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let active = State(rawValue: 1)
    /// Not spoken to any more: failed or gone. Comes back only by rules M and W.
    public static let evicted = State(rawValue: 2)
    /// Being emptied.
    public static let retiring = State(rawValue: 3)
    /// Gone for good; its number stays taken.
    public static let removed = State(rawValue: 4)
    /// There again after it was evicted: it lacks the dirty regions of its rows and is brought up to date.
    public static let returning = State(rawValue: 5)

    public var description: String {
      switch self {
      case .active: "active"
      case .evicted: "evicted"
      case .retiring: "retiring"
      case .removed: "removed"
      case .returning: "returning"
      default: "state \(rawValue)"
      }
    }
  }

  public struct Usage: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let auto = Usage(rawValue: 1)
    public static let manual = Usage(rawValue: 2)
    public static let hotspare = Usage(rawValue: 3)
    public static let retired = Usage(rawValue: 4)
    public static let cache = Usage(rawValue: 5)
    public static let journal = Usage(rawValue: 6)
  }

  public var number: DiskNumber
  public var id: DiskID
  public var state: State
  public var usage: Usage
  /// Health flags: none defined yet.
  public var flags: UInt16 = 0
  public var diskByteCount: UInt64
  public var dataOffset: UInt64
  public var slabsOffset: UInt64
  public var slabCount: UInt32
  public var logicalSector: UInt32
  public var physicalSector: UInt32
  /// The nonce of its newest writable opening (see `Superblock.nonce`). A disk that shows another is from the past.
  public var nonce: UInt64
  /// Written when it leaves: the number of the last epoch it was part of, or one more than that of the disk that left before it in the
  /// same epoch. So the highest is the last to leave, and disks that left by one commit have the same.
  public var epochNumber: UInt64
  /// The cache disk in front of it; `none` without.
  public var cacheDisk: DiskID = .none
  /// The cache's state was last known good at this nonce.
  public var cacheNonce: UInt64 = 0
  /// Written when a voter leaves: the last journal entry that it must have. 0 for a disk that left without being a voter.
  public var leftAtSequence: UInt64 = 0
  /// The fault domains it stands in, outermost first, as the operator writes them: "rack1/node2/shelf1". At most 255 bytes.
  public var faultDomain: String
  /// Where it was last seen: a hint for messages and for looking first, never its identity.
  public var pathHint: String
  public var trailing: [UInt8] = []

  public init(
    number: DiskNumber, id: DiskID, state: State = .active, usage: Usage = .auto, diskByteCount: UInt64, dataOffset: UInt64,
    slabsOffset: UInt64, slabCount: UInt32, logicalSector: UInt32, physicalSector: UInt32, nonce: UInt64, epochNumber: UInt64,
    faultDomain: String = "", pathHint: String = ""
  ) {
    self.number = number
    self.id = id
    self.state = state
    self.usage = usage
    self.diskByteCount = diskByteCount
    self.dataOffset = dataOffset
    self.slabsOffset = slabsOffset
    self.slabCount = slabCount
    self.logicalSector = logicalSector
    self.physicalSector = physicalSector
    self.nonce = nonce
    self.epochNumber = epochNumber
    self.faultDomain = faultDomain
    self.pathHint = pathHint
  }

  public static func key(_ number: DiskNumber) -> RecordKey { RecordKey(.disk, UInt64(number.value)) }
  public var key: RecordKey { DiskRecord.key(number) }

  /// Offsets in the value, for patches.
  public enum Offset {
    public static let state = 16
    public static let usage = 17
    public static let nonce = 24
    public static let epochNumber = 32
    public static let leftAtSequence = 96
  }

  /// Sets the field at `byteOffset`, one of `Offset`, which is as wide as `value`.
  static func patch(_ number: DiskNumber, _ byteOffset: Int, _ value: some FixedWidthInteger) -> MetadataChange {
    .patch(key(number), byteOffset: byteOffset, bytes: value.fieldBytes)
  }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.identifier(id)
    writer.integer(state.rawValue)
    writer.integer(usage.rawValue)
    writer.integer(flags)
    writer.integer(slabCount)
    writer.integer(nonce)
    writer.integer(epochNumber)
    writer.integer(diskByteCount)
    writer.integer(dataOffset)
    writer.integer(slabsOffset)
    writer.integer(logicalSector)
    writer.integer(physicalSector)
    writer.identifier(cacheDisk)
    writer.integer(cacheNonce)
    writer.integer(leftAtSequence)
    writer.zeros(40)
    writer.text(faultDomain, limit: FormatLimits.faultDomainByteCount)
    writer.text(pathHint, limit: FormatLimits.pathHintByteCount)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.first <= UInt64(FormatLimits.diskNumberHighest), key.second == 0 else { throw .invalid("disk number") }
    number = DiskNumber(UInt32(key.first))
    id = try reader.identifier()
    state = State(rawValue: try reader.integer())
    usage = Usage(rawValue: try reader.integer())
    flags = try reader.integer()
    slabCount = try reader.integer()
    nonce = try reader.integer()
    epochNumber = try reader.integer()
    diskByteCount = try reader.integer()
    dataOffset = try reader.integer()
    slabsOffset = try reader.integer()
    logicalSector = try reader.integer()
    physicalSector = try reader.integer()
    cacheDisk = try reader.identifier()
    cacheNonce = try reader.integer()
    leftAtSequence = try reader.integer()
    try reader.skip(40)
    faultDomain = try reader.text(limit: FormatLimits.faultDomainByteCount, "fault domain")
    pathHint = try reader.text(limit: FormatLimits.pathHintByteCount, "path")
    guard epochNumber < 1 << 62 else { throw .invalid("epoch number") }
    trailing = reader.rest()
  }
}
