/// The partition table of a virtual disk. Sectors are counted from 0 and are of the virtual disk's logical size.
public struct PartitionTableInfo: Codable, Sendable, Equatable {
  public var pool: String
  /// The virtual disk's name within the pool.
  public var virtualDisk: String
  /// The virtual disk's size, in bytes.
  public var sizeBytes: UInt64
  public var sectorBytes: Int
  public var kind: Kind
  /// The disk's GUID, or the signature of an MBR in hexadecimal; nil where there is none.
  public var diskID: String?
  /// What a partition's start is made a multiple of unless told otherwise, in bytes.
  public var alignmentBytes: UInt64
  /// In bytes: of all free ranges, and of the largest, from their aligned starts on.
  public var freeBytes: UInt64
  public var largestFreeBytes: UInt64
  public var partitions: [PartitionInfo]
  /// What is wrong with the table, one sentence each without a full stop; empty for a sound one.
  public var findings: [String]
  /// Clients wrote the table all the time that it was read: ask again.
  public var isBeingWritten: Bool
  /// Connections that have the whole disk open: they keep the old table until they read it again.
  public var wholeDiskClientCount: Int

  public init(
    pool: String, virtualDisk: String, sizeBytes: UInt64, sectorBytes: Int, kind: Kind, diskID: String? = nil, alignmentBytes: UInt64,
    freeBytes: UInt64 = 0, largestFreeBytes: UInt64 = 0, partitions: [PartitionInfo] = [], findings: [String] = [],
    isBeingWritten: Bool = false, wholeDiskClientCount: Int = 0
  ) {
    self.pool = pool
    self.virtualDisk = virtualDisk
    self.sizeBytes = sizeBytes
    self.sectorBytes = sectorBytes
    self.kind = kind
    self.diskID = diskID
    self.alignmentBytes = alignmentBytes
    self.freeBytes = freeBytes
    self.largestFreeBytes = largestFreeBytes
    self.partitions = partitions
    self.findings = findings
    self.isBeingWritten = isBeingWritten
    self.wholeDiskClientCount = wholeDiskClientCount
  }

  public struct Kind: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let none = Kind(rawValue: "none")
    /// None, but sector 0 is the boot sector of a file system, or a damaged MBR.
    public static let bootSector = Kind(rawValue: "bootSector")
    public static let mbr = Kind(rawValue: "mbr")
    public static let gpt = Kind(rawValue: "gpt")
    /// A GPT whose MBR names partitions beside the protective entry.
    public static let hybrid = Kind(rawValue: "hybrid")
    /// A GPT under an MBR that has partitions and no protective entry.
    public static let mbrOverGPT = Kind(rawValue: "mbrOverGPT")
    /// Traces of a GPT of which no copy is good.
    public static let damagedGPT = Kind(rawValue: "damagedGPT")
  }

  public var path: VirtualDiskPath { VirtualDiskPath(pool: pool, name: virtualDisk) }
}

/// A partition.
public struct PartitionInfo: Codable, Sendable, Equatable {
  public var number: Int
  /// The name in the table; empty for none.
  public var label: String
  /// The type's short name, else its identifier.
  public var type: String
  /// The type's GUID; of an MBR partition two hexadecimal digits.
  public var typeID: String
  /// The partition's unique GUID; nil in an MBR.
  public var uuid: String?
  public var firstSector: UInt64
  /// Inclusive.
  public var lastSector: UInt64
  public var sizeBytes: UInt64
  /// Names of the attributes, or numbers of their bits.
  public var attributes: [String]
  /// The NBD exports by which it is served; empty where the table cannot be relied on.
  public var exports: [String]
  /// Connections that have it open.
  public var clientCount: Int

  public init(
    number: Int, label: String = "", type: String, typeID: String, uuid: String? = nil, firstSector: UInt64, lastSector: UInt64,
    sizeBytes: UInt64, attributes: [String] = [], exports: [String] = [], clientCount: Int = 0
  ) {
    self.number = number
    self.label = label
    self.type = type
    self.typeID = typeID
    self.uuid = uuid
    self.firstSector = firstSector
    self.lastSector = lastSector
    self.sizeBytes = sizeBytes
    self.attributes = attributes
    self.exports = exports
    self.clientCount = clientCount
  }
}

/// What a repair of a partition table does.
public struct PartitionRepairInfo: Codable, Sendable, Equatable {
  /// What is wrong, one sentence each without a full stop.
  public var findings: [String]
  /// What is written for it, in this order; empty when there is nothing to repair.
  public var actions: [String]
  /// It was written; else this is only a plan.
  public var isDone: Bool

  public init(findings: [String], actions: [String], isDone: Bool) {
    self.findings = findings
    self.actions = actions
    self.isDone = isDone
  }
}
