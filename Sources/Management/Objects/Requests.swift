/// Asks for a new pool.
public struct CreatePool: Codable, Sendable, Equatable {
  public var name: String
  /// Absolute paths of the disks.
  public var disks: [String]
  /// The unit of allocation in bytes, a power of two from 1 MiB to 1 GiB; nil lets the server choose by capacity.
  public var slabBytes: UInt64?
  /// Whether disks that carry a file system, a partition table or another signature are wiped and used.
  public var force: Bool

  public init(name: String, disks: [String], slabBytes: UInt64? = nil, force: Bool = false) {
    self.name = name
    self.disks = disks
    self.slabBytes = slabBytes
    self.force = force
  }
}

/// Asks to open pools that exist on disks. Either `disks` or `scanDirectory` is given.
public struct OpenPools: Codable, Sendable, Equatable {
  /// Absolute paths of the disks, in any order.
  public var disks: [String]
  /// Absolute path of a directory in which to look for disks.
  public var scanDirectory: String?
  /// Disks of the pool that are declared lost for good: absolute paths where they were last, numbers or UUIDs. nil is none.
  public var acceptLosses: [String]?
  /// Nothing is written to the disks, and no pool is refused because disks are missing; nil is no.
  public var readOnly: Bool?

  public init(disks: [String], scanDirectory: String? = nil, acceptLosses: [String]? = nil, readOnly: Bool? = nil) {
    self.disks = disks
    self.scanDirectory = scanDirectory
    self.acceptLosses = acceptLosses
    self.readOnly = readOnly
  }
}

/// Asks for a new virtual disk. What is nil is chosen by the server.
public struct CreateVirtualDisk: Codable, Sendable, Equatable {
  public var pool: String
  public var name: String
  /// The size its clients see, in bytes.
  public var sizeBytes: UInt64
  public var provisioning: VirtualDiskInfo.Provisioning
  public var resiliency: VirtualDiskInfo.Resiliency
  /// How many copies of everything, 2 or 3 for a mirror; nil means 2 for a mirror and 1 else.
  public var copies: Int?
  /// How many disks a stripe spans; nil means as many as there are, up to 8.
  public var columns: Int?
  /// How much of a stripe lies on one disk, in bytes; nil means 256 KiB.
  public var interleaveBytes: UInt64?
  /// The size of the sectors its clients see, 512 or 4096 bytes; nil means 512.
  public var logicalSectorBytes: Int?

  public init(
    pool: String, name: String, sizeBytes: UInt64, provisioning: VirtualDiskInfo.Provisioning = .thin,
    resiliency: VirtualDiskInfo.Resiliency = .simple, copies: Int? = nil, columns: Int? = nil, interleaveBytes: UInt64? = nil,
    logicalSectorBytes: Int? = nil
  ) {
    self.pool = pool
    self.name = name
    self.sizeBytes = sizeBytes
    self.provisioning = provisioning
    self.resiliency = resiliency
    self.copies = copies
    self.columns = columns
    self.interleaveBytes = interleaveBytes
    self.logicalSectorBytes = logicalSectorBytes
  }
}

/// Asks for another size of a virtual disk.
public struct ResizeVirtualDisk: Codable, Sendable, Equatable {
  /// The new size, in bytes.
  public var sizeBytes: UInt64

  public init(sizeBytes: UInt64) {
    self.sizeBytes = sizeBytes
  }
}

/// What a call that leaves nothing to show has done.
public struct Done: Codable, Sendable, Equatable {
  /// What was done, in the past tense: `destroyed`, `closed`, `deleted`.
  public var action: String
  /// The object's kind: `pool` or `virtualDisk`.
  public var kind: String
  /// The object's name.
  public var name: String

  public init(action: String, kind: String, name: String) {
    self.action = action
    self.kind = kind
    self.name = name
  }
}
