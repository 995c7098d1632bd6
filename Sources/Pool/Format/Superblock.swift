/// What a disk says of itself: 4096 bytes, in four places. Two generations alternate (the sequence's lowest bit chooses), each stands at
/// the head of the metadata partition and in the last MiB of the data partition. Offsets are in `Offset` and in docs/on-disk-format.md.
public struct Superblock: Equatable, Sendable {
  public var pool: PoolID
  public var disk: DiskID
  /// Counts this disk's superblocks.
  public var sequence: UInt64
  public var features: FeatureFlags
  public var diskNumber: DiskNumber
  /// Closed in order: journal empty, everything flushed. Erased by the next opening's first write.
  public var isClosedCleanly: Bool
  /// UTF-8, at most 64 bytes.
  public var poolName: String
  /// Of the owner that wrote this.
  public var ownerTerm: UInt64
  public var ownerNode: NodeID
  public var fencingKey: UInt64
  /// Random, new at every writable opening, before the first other write. The disk's record in the metadata says which is right.
  public var nonce: UInt64
  /// The nonce in the disk's record when this was written: an opening that was interrupted before it could commit the new nonce leaves
  /// this one true.
  public var committedNonce: UInt64
  /// Seconds since 1970, UTC.
  public var createdSeconds: UInt64
  public var logicalSector: UInt32
  public var physicalSector: UInt32
  public var layout: DiskLayout
  public var epoch: MembershipEpoch

  enum Offset {
    static let features = 64
    static let diskNumber = 88
    static let flags = 92
    static let nameByteCount = 96
    static let name = 104
    static let ownerTerm = 168
    static let nonce = 176
    static let committedNonce = 184
    static let created = 192
    static let logicalSector = 200
    static let physicalSector = 204
    static let ownerNode = 208
    static let fencingKey = 224
    static let layout = 256
    static let epoch = 512
    // 512 + 64 + 32 * 32 = 1600; from there on reserved, zero.
  }

  public static let byteCount = FormatLimits.blockByteCount
  private static let cleanFlag: UInt32 = 1

  public var owner: StructureOwner { StructureOwner(pool: pool, disk: disk) }
  /// Which of the two generations' places this one is for.
  var place: Int { Int(sequence & 1) }

  /// Into 4096 bytes.
  func encode(_ bytes: UnsafeMutableRawBufferPointer) {
    bytes.zero()
    bytes.setLittle(features.incompatible, at: Offset.features)
    bytes.setLittle(features.readOnlyCompatible, at: Offset.features + 8)
    bytes.setLittle(features.compatible, at: Offset.features + 16)
    bytes.setLittle(diskNumber.value, at: Offset.diskNumber)
    bytes.setLittle(isClosedCleanly ? Superblock.cleanFlag : 0, at: Offset.flags)
    let name = Array(poolName.utf8.prefix(FormatLimits.poolNameByteCount))
    bytes.setLittle(UInt16(name.count), at: Offset.nameByteCount)
    bytes.setBytes(name, at: Offset.name)
    bytes.setLittle(ownerTerm, at: Offset.ownerTerm)
    bytes.setLittle(nonce, at: Offset.nonce)
    bytes.setLittle(committedNonce, at: Offset.committedNonce)
    bytes.setLittle(createdSeconds, at: Offset.created)
    bytes.setLittle(logicalSector, at: Offset.logicalSector)
    bytes.setLittle(physicalSector, at: Offset.physicalSector)
    bytes.setUUID(ownerNode.bytes, at: Offset.ownerNode)
    bytes.setLittle(fencingKey, at: Offset.fencingKey)
    layout.encode(bytes, at: Offset.layout)
    epoch.encode(bytes, at: Offset.epoch)
    StructureHeader(magic: .superblock, pool: pool, disk: disk, sequence: sequence, coveredByteCount: Superblock.byteCount).seal(bytes)
  }

  /// From 4096 bytes that may be anything. Feature flags are the caller's to judge: `inspect` shows what it can.
  init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
    let header = try StructureHeader(bytes, expecting: .superblock, byteCounts: Superblock.byteCount...Superblock.byteCount)
    pool = header.pool
    disk = header.disk
    sequence = header.sequence
    guard !pool.isNone, !disk.isNone else { throw .invalid("identity") }
    features = FeatureFlags(
      incompatible: bytes.little(UInt64.self, at: Offset.features), readOnlyCompatible: bytes.little(UInt64.self, at: Offset.features + 8),
      compatible: bytes.little(UInt64.self, at: Offset.features + 16))
    diskNumber = DiskNumber(bytes.little(UInt32.self, at: Offset.diskNumber))
    isClosedCleanly = bytes.little(UInt32.self, at: Offset.flags) & Superblock.cleanFlag != 0
    let nameByteCount = Int(bytes.little(UInt16.self, at: Offset.nameByteCount))
    guard nameByteCount <= FormatLimits.poolNameByteCount,
      let name = String(validating: bytes.part(from: Offset.name, byteCount: nameByteCount), as: UTF8.self)
    else { throw .invalid("pool name") }
    poolName = name
    ownerTerm = bytes.little(UInt64.self, at: Offset.ownerTerm)
    nonce = bytes.little(UInt64.self, at: Offset.nonce)
    committedNonce = bytes.little(UInt64.self, at: Offset.committedNonce)
    createdSeconds = bytes.little(UInt64.self, at: Offset.created)
    logicalSector = bytes.little(UInt32.self, at: Offset.logicalSector)
    physicalSector = bytes.little(UInt32.self, at: Offset.physicalSector)
    ownerNode = NodeID(bytes: bytes.uuid(at: Offset.ownerNode))
    fencingKey = bytes.little(UInt64.self, at: Offset.fencingKey)
    layout = try DiskLayout(bytes, at: Offset.layout)
    epoch = try MembershipEpoch(bytes, at: Offset.epoch)
  }

  init(
    pool: PoolID, disk: DiskID, sequence: UInt64, features: FeatureFlags, diskNumber: DiskNumber, isClosedCleanly: Bool, poolName: String,
    ownerTerm: UInt64, ownerNode: NodeID, fencingKey: UInt64, nonce: UInt64, committedNonce: UInt64, createdSeconds: UInt64,
    logicalSector: UInt32, physicalSector: UInt32, layout: DiskLayout, epoch: MembershipEpoch
  ) {
    self.pool = pool
    self.disk = disk
    self.sequence = sequence
    self.features = features
    self.diskNumber = diskNumber
    self.isClosedCleanly = isClosedCleanly
    self.poolName = poolName
    self.ownerTerm = ownerTerm
    self.ownerNode = ownerNode
    self.fencingKey = fencingKey
    self.nonce = nonce
    self.committedNonce = committedNonce
    self.createdSeconds = createdSeconds
    self.logicalSector = logicalSector
    self.physicalSector = physicalSector
    self.layout = layout
    self.epoch = epoch
  }
}

/// The block at the head of the data partition: says in words whose the partition is, so that a person with a hex dump, and a tool that
/// looks for file systems, finds no guest's data there. 4096 bytes; carries nothing that is needed.
enum DataSignature {
  static let text = "This partition holds slabs of a spaceport storage pool, not a file system. Do not mount or format it.\n"

  static func encode(_ bytes: UnsafeMutableRawBufferPointer, owner: StructureOwner) {
    bytes.zero()
    bytes.setBytes(text.utf8, at: StructureHeader.byteCount)
    StructureHeader(
      magic: .dataSignature, pool: owner.pool, disk: owner.disk, sequence: 0, coveredByteCount: FormatLimits.blockByteCount
    ).seal(bytes)
  }

  static func check(_ bytes: UnsafeRawBufferPointer, owner: StructureOwner) throws(FormatError) {
    let length = FormatLimits.blockByteCount
    _ = try StructureHeader(bytes, expecting: .dataSignature, byteCounts: length...length, of: owner, index: 0)
  }
}
