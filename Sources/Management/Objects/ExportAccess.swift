/// Who may open an export, and how. Empty lists refuse nobody; what they mean together is told in the manual.
public struct ExportAccess: Codable, Sendable, Equatable {
  /// POOL/VDISK or POOL/VDISK/NUMBER, the NBD export name.
  public var name: String
  public var partitionLabel: String?
  public var readOnly: Bool
  /// Numbers of Unix users.
  public var allowUsers: [UInt32]
  /// Addresses and networks, ADDRESS/BITS.
  public var allowPeers: [String]
  public var allowCertificates: [String]
  public var allowPSKUsers: [String]
  /// False for a partition that goes by its virtual disk's rule, and for a virtual disk without any.
  public var hasOwnRule: Bool
  /// Connections that have it open.
  public var clientCount: Int

  public init(
    name: String, partitionLabel: String? = nil, readOnly: Bool = false, allowUsers: [UInt32] = [], allowPeers: [String] = [],
    allowCertificates: [String] = [], allowPSKUsers: [String] = [], hasOwnRule: Bool = false, clientCount: Int = 0
  ) {
    self.name = name
    self.partitionLabel = partitionLabel
    self.readOnly = readOnly
    self.allowUsers = allowUsers
    self.allowPeers = allowPeers
    self.allowCertificates = allowCertificates
    self.allowPSKUsers = allowPSKUsers
    self.hasOwnRule = hasOwnRule
    self.clientCount = clientCount
  }
}

/// Names an export: a virtual disk, or one of its partitions by number or label.
public struct ExportPath: Sendable, Hashable, Codable, CustomStringConvertible {
  public var pool: String
  public var virtualDisk: String
  public var partition: String?

  public init(disk: VirtualDiskPath, partition: String? = nil) {
    pool = disk.pool
    virtualDisk = disk.name
    self.partition = partition
  }

  public var disk: VirtualDiskPath { VirtualDiskPath(pool: pool, name: virtualDisk) }
  public var description: String { partition.map { "\(disk)/\($0)" } ?? "\(disk)" }
}

/// Asks for another rule of an export. What is nil stays; an empty list refuses nobody. A partition without a rule of its own begins with its
/// virtual disk's.
public struct SetExportAccess: Codable, Sendable, Equatable {
  public var export: ExportPath
  public var readOnly: Bool?
  public var allowUsers: [UInt32]?
  public var allowPeers: [String]?
  public var allowCertificates: [String]?
  public var allowPSKUsers: [String]?

  public init(
    export: ExportPath, readOnly: Bool? = nil, allowUsers: [UInt32]? = nil, allowPeers: [String]? = nil,
    allowCertificates: [String]? = nil, allowPSKUsers: [String]? = nil
  ) {
    self.export = export
    self.readOnly = readOnly
    self.allowUsers = allowUsers
    self.allowPeers = allowPeers
    self.allowCertificates = allowCertificates
    self.allowPSKUsers = allowPSKUsers
  }
}

/// Asks to take an export's own rule away.
public struct ResetExportAccess: Codable, Sendable, Equatable {
  public var export: ExportPath
  public init(export: ExportPath) { self.export = export }
}
