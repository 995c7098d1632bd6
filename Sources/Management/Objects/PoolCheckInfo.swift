/// How much of a virtual disk's data is there, in its own bytes. What was never written counts nowhere.
public struct DataInfo: Codable, Sendable, Equatable {
  /// All copies are there and up to date.
  public var wholeBytes: UInt64
  /// Some copy is there and up to date, and fewer than there should be.
  public var degradedBytes: UInt64
  /// Written shortly before the pool stopped: copies may differ, and one of them is read.
  public var unprovenBytes: UInt64
  /// No copy that is up to date is there: reading it fails.
  public var lostBytes: UInt64

  public init(wholeBytes: UInt64, degradedBytes: UInt64, unprovenBytes: UInt64, lostBytes: UInt64) {
    self.wholeBytes = wholeBytes
    self.degradedBytes = degradedBytes
    self.unprovenBytes = unprovenBytes
    self.lostBytes = lostBytes
  }
}

/// What a check of a pool found. Nothing was changed.
public struct PoolCheckInfo: Codable, Sendable, Equatable {
  public struct Finding: Codable, Sendable, Equatable {
    /// "note", "warning" or "error".
    public var severity: String
    /// Which disk or virtual disk it is about; nil for the pool.
    public var subject: String?
    /// One sentence or several.
    public var text: String

    public init(severity: String, subject: String? = nil, text: String) {
      self.severity = severity
      self.subject = subject
      self.text = text
    }
  }

  public struct Disk: Codable, Sendable, Equatable {
    public var path: String
    public var number: UInt32
    public var role: DiskInfo.Role
    /// Of a voter: the last change of the metadata that it holds.
    public var lastChange: UInt64?

    public init(path: String, number: UInt32, role: DiskInfo.Role, lastChange: UInt64?) {
      self.path = path
      self.number = number
      self.role = role
      self.lastChange = lastChange
    }
  }

  public struct VirtualDiskData: Codable, Sendable, Equatable {
    public var name: String
    public var sizeBytes: UInt64
    public var data: DataInfo

    public init(name: String, sizeBytes: UInt64, data: DataInfo) {
      self.name = name
      self.sizeBytes = sizeBytes
      self.data = data
    }
  }

  public var pool: String
  public var epoch: UInt64
  /// Those that were there and belong to the pool.
  public var disks: [Disk]
  public var virtualDisks: [VirtualDiskData]
  /// Records of the metadata by kind.
  public var recordCounts: [String: Int]
  public var findings: [Finding]
  /// False when something is wrong: an error among the findings, data that is lost.
  public var isSound: Bool

  public init(
    pool: String, epoch: UInt64, disks: [Disk], virtualDisks: [VirtualDiskData], recordCounts: [String: Int], findings: [Finding],
    isSound: Bool
  ) {
    self.pool = pool
    self.epoch = epoch
    self.disks = disks
    self.virtualDisks = virtualDisks
    self.recordCounts = recordCounts
    self.findings = findings
    self.isSound = isSound
  }
}
