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
  /// How much of it is dealt out to virtual disks, in bytes; of a cache disk the pages that it holds.
  public var allocatedBytes: UInt64
  /// How much of it can still be dealt out, in bytes; of a cache disk its empty pages. Less than size minus allocated, because of metadata, partition tables and rounding to slabs.
  public var freeBytes: UInt64
  /// The size of the sectors the disk is addressed by, in bytes.
  public var logicalSectorBytes: Int
  /// The size of the sectors the disk writes without tearing, in bytes.
  public var physicalSectorBytes: Int
  public var health: Health
  /// Why the health is what it is, and what to do next; nil while there is nothing to say.
  public var reason: String?
  public var role: Role
  /// Its number within its pool, counted from 1; 0 while that is not known.
  public var number: UInt32
  /// The operational state: why the health is what it is, in one word.
  public var state: State
  public var usage: Usage
  /// What to do about it, one sentence; nil when there is nothing to do.
  public var nextStep: String?
  /// The path of the cache disk that what is read from this disk is kept on; nil without one.
  public var cachedBy: String?

  public init(
    uuid: String, path: String, pool: String?, kind: Kind, ioMode: IOMode, sizeBytes: UInt64, allocatedBytes: UInt64, freeBytes: UInt64,
    logicalSectorBytes: Int, physicalSectorBytes: Int, health: Health, reason: String? = nil, role: Role,
    number: UInt32 = 0, state: State = .ok, usage: Usage = .auto, nextStep: String? = nil,
    cachedBy: String? = nil
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
    self.number = number
    self.state = state
    self.usage = usage
    self.nextStep = nextStep
    self.cachedBy = cachedBy
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

  public typealias Health = Management.Health

  /// The operational state. The words are those of Windows Storage Spaces.
  public struct State: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let ok = State(rawValue: "ok")
    /// It was away and is brought up to date.
    public static let inService = State(rawValue: "inService")
    /// It is not there, or the pool has given it up.
    public static let lostCommunication = State(rawValue: "lostCommunication")
    /// It is emptied, and then released.
    public static let removingFromPool = State(rawValue: "removingFromPool")
    /// Errors that a retry cured.
    public static let transientError = State(rawValue: "transientError")
    /// Requests have failed.
    public static let ioError = State(rawValue: "ioError")
    /// It does not answer in time.
    public static let abnormalLatency = State(rawValue: "abnormalLatency")
    /// It has lost what was on it: a file that was cut or deleted.
    public static let failedMedia = State(rawValue: "failedMedia")
    /// So many errors that a retry cured that it is likely to fail.
    public static let predictiveFailure = State(rawValue: "predictiveFailure")
    /// It went on without the pool: two pasts, which are never merged.
    public static let split = State(rawValue: "split")
    /// It is from the past, or a copy.
    public static let staleMetadata = State(rawValue: "staleMetadata")
    /// What is there is no disk of this pool, as far as it can be read.
    public static let unrecognizedMetadata = State(rawValue: "unrecognizedMetadata")
    /// The pool leaves it alone for another reason.
    public static let notUsable = State(rawValue: "notUsable")
    /// Its pool is not open.
    public static let starting = State(rawValue: "starting")
  }

  /// What the disk is for.
  public struct Usage: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// It holds data.
    public static let auto = Usage(rawValue: "auto")
    /// It is kept for copies that lose their disk.
    public static let hotspare = Usage(rawValue: "hotspare")
    /// It is emptied, or given up.
    public static let retired = Usage(rawValue: "retired")
    /// It holds no data: what is read from other disks is kept on it.
    public static let cache = Usage(rawValue: "cache")
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
