/// A physical disk of a pool.
public struct DiskInfo: Codable, Sendable, Equatable {
  /// The disk's identity, in lower case.
  public var uuid: String
  /// Where the disk is now, an absolute path; for a missing disk where it was last.
  public var path: String
  /// The pool it belongs to, or nil.
  public var pool: String?
  public var kind: Kind
  public var ioMode: IOMode
  /// The size of the whole disk, in bytes.
  public var sizeBytes: UInt64
  /// How much of it is dealt out to virtual disks, in bytes.
  public var allocatedBytes: UInt64
  /// How much of it can still be dealt out, in bytes. Less than size minus allocated, because of metadata, partition tables and rounding to slabs.
  public var freeBytes: UInt64
  /// The size of the sectors the disk is addressed by, in bytes.
  public var logicalSectorBytes: Int
  /// The size of the sectors the disk writes without tearing, in bytes.
  public var physicalSectorBytes: Int
  public var health: Health
  /// Why the health is what it is, and what to do next; nil while there is nothing to say.
  public var reason: String?
  public var role: Role

  public init(
    uuid: String, path: String, pool: String?, kind: Kind, ioMode: IOMode, sizeBytes: UInt64, allocatedBytes: UInt64, freeBytes: UInt64,
    logicalSectorBytes: Int, physicalSectorBytes: Int, health: Health, reason: String? = nil, role: Role
  ) {
    self.uuid = uuid
    self.path = path
    self.pool = pool
    self.kind = kind
    self.ioMode = ioMode
    self.sizeBytes = sizeBytes
    self.allocatedBytes = allocatedBytes
    self.freeBytes = freeBytes
    self.logicalSectorBytes = logicalSectorBytes
    self.physicalSectorBytes = physicalSectorBytes
    self.health = health
    self.reason = reason
    self.role = role
  }

  /// What the disk is to the operating system.
  public struct Kind: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let file = Kind(rawValue: "file")
    public static let block = Kind(rawValue: "block")
  }

  /// Whether the host's page cache stands between this program and the disk.
  public struct IOMode: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let direct = IOMode(rawValue: "direct")
    public static let buffered = IOMode(rawValue: "buffered")
  }

  /// How the disk is doing. The words are those of Windows Storage Spaces.
  public struct Health: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let healthy = Health(rawValue: "healthy")
    public static let warning = Health(rawValue: "warning")
    public static let unhealthy = Health(rawValue: "unhealthy")
    public static let unknown = Health(rawValue: "unknown")
  }

  /// What the disk does for its pool besides holding data.
  public struct Role: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// It holds the pool's metadata and has a say in who speaks for the pool.
    public static let voter = Role(rawValue: "voter")
    /// It holds data only.
    public static let member = Role(rawValue: "member")
  }
}
