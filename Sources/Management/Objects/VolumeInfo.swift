/// A volume: a partition of a virtual disk, or a whole virtual disk that has no partition table.
public struct VolumeInfo: Codable, Sendable, Equatable {
  public var pool: String
  /// The virtual disk's name within the pool.
  public var virtualDisk: String
  /// The partition's number; nil for a whole virtual disk.
  public var partition: Int?
  /// The partition's name in the table; empty for none.
  public var partitionLabel: String
  /// From the start of the virtual disk, in bytes.
  public var offsetBytes: UInt64
  public var sizeBytes: UInt64
  public var sectorBytes: Int
  /// How it is served.
  public var export: ExportInfo
  /// How the virtual disk as a whole is served; the same for a volume that is one.
  public var diskExport: ExportInfo
  /// What is recognised on it; nil for nothing.
  public var content: ContentInfo?
  /// Why it is not known what is on it, a sentence without a full stop.
  public var problem: String?
  /// The block devices of this machine that it is attached to, and where they are mounted. The server does not know them: nil in what it
  /// answers, filled in by `spaceport volume list`.
  public var attachments: [AttachmentInfo]?

  public init(
    pool: String, virtualDisk: String, partition: Int? = nil, partitionLabel: String = "", offsetBytes: UInt64 = 0, sizeBytes: UInt64,
    sectorBytes: Int = 512, export: ExportInfo, diskExport: ExportInfo, content: ContentInfo? = nil, problem: String? = nil,
    attachments: [AttachmentInfo]? = nil
  ) {
    self.pool = pool
    self.virtualDisk = virtualDisk
    self.partition = partition
    self.partitionLabel = partitionLabel
    self.offsetBytes = offsetBytes
    self.sizeBytes = sizeBytes
    self.sectorBytes = sectorBytes
    self.export = export
    self.diskExport = diskExport
    self.content = content
    self.problem = problem
    self.attachments = attachments
  }

  /// POOL/VDISK, or POOL/VDISK/PARTITION by its number.
  public var name: String { export.name }
  public var diskPath: VirtualDiskPath { VirtualDiskPath(pool: pool, name: virtualDisk) }
}

/// An NBD export and who has it open.
public struct ExportInfo: Codable, Sendable, Equatable {
  public var name: String
  /// The name with what makes it unique: what a block device that `spaceport volume attach` made carries in /sys/block/nbdN/backend.
  public var identifier: String
  public var clientCount: Int
  /// The processes that connected to it by a Unix socket, of this machine.
  public var clientProcesses: [Int]

  public init(name: String, identifier: String, clientCount: Int = 0, clientProcesses: [Int] = []) {
    self.name = name
    self.identifier = identifier
    self.clientCount = clientCount
    self.clientProcesses = clientProcesses
  }
}

/// What is on a volume, as libblkid names it.
public struct ContentInfo: Codable, Sendable, Equatable {
  /// "ext4", "xfs", "swap", "LVM2_member", "crypto_LUKS".
  public var type: String
  /// "filesystem", "raid", "crypto" or "other".
  public var usage: String
  public var label: String?
  public var uuid: String?
  /// In bytes; nil where it is not known.
  public var usedBytes: UInt64?
  public var freeBytes: UInt64?

  public init(
    type: String, usage: String, label: String? = nil, uuid: String? = nil, usedBytes: UInt64? = nil, freeBytes: UInt64? = nil
  ) {
    self.type = type
    self.usage = usage
    self.label = label
    self.uuid = uuid
    self.usedBytes = usedBytes
    self.freeBytes = freeBytes
  }
}

/// A block device of this machine that a volume is attached to.
public struct AttachmentInfo: Codable, Sendable, Equatable {
  /// "/dev/nbd0", or "/dev/nbd0p1" where the whole virtual disk is attached.
  public var device: String
  /// Where it is mounted.
  public var mountPoints: [String]

  public init(device: String, mountPoints: [String] = []) {
    self.device = device
    self.mountPoints = mountPoints
  }
}
