/// A disk of a pool that the server knows.
public struct DiskReference: Codable, Sendable, Equatable {
  /// Its absolute path (for a missing disk where it was last), its UUID, or, where the pool is named, its number.
  public var disk: String
  /// The pool's name; nil when the disk says enough.
  public var pool: String?

  public init(_ disk: String, pool: String? = nil) {
    self.disk = disk
    self.pool = pool
  }
}

/// Asks for more disks in a pool.
public struct AddDisks: Codable, Sendable, Equatable {
  /// Absolute paths.
  public var disks: [String]
  public var usage: DiskInfo.Usage
  /// Whether disks that carry a file system, a partition table or another signature are wiped and used.
  public var force: Bool

  public init(disks: [String], usage: DiskInfo.Usage = .auto, force: Bool = false) {
    self.disks = disks
    self.usage = usage
    self.force = force
  }
}

/// Asks for the disks that could be pooled.
public struct ScanDisks: Codable, Sendable, Equatable {
  /// The absolute path of a directory whose files and devices are looked at; nil for the machine's block devices.
  public var directory: String?

  public init(directory: String? = nil) { self.directory = directory }
}

/// Says what a disk is for.
public struct SetDiskUsage: Codable, Sendable, Equatable {
  public var disk: DiskReference
  public var usage: DiskInfo.Usage

  public init(disk: DiskReference, usage: DiskInfo.Usage) {
    self.disk = disk
    self.usage = usage
  }
}

/// Asks to empty a disk onto another one, and then to release it.
public struct ReplaceDisk: Codable, Sendable, Equatable {
  public var old: DiskReference
  /// Absolute path of a disk, new or of the same pool.
  public var new: String
  /// Whether a new disk that carries a file system, a partition table or another signature is wiped and used.
  public var force: Bool

  public init(old: DiskReference, new: String, force: Bool = false) {
    self.old = old
    self.new = new
    self.force = force
  }
}

/// Asks for a job that nobody else asks for.
public struct StartJob: Codable, Sendable, Equatable {
  /// `optimize` or `scrub`.
  public var kind: JobInfo.Kind

  public init(kind: JobInfo.Kind) { self.kind = kind }
}
