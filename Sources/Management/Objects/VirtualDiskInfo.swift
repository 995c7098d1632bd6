/// A virtual disk.
public struct VirtualDiskInfo: Codable, Sendable, Equatable {
  public var pool: String
  /// The name within the pool.
  public var name: String
  /// The virtual disk's identity, in lower case.
  public var uuid: String
  /// The size its clients see, in bytes.
  public var sizeBytes: UInt64
  public var provisioning: Provisioning
  public var resiliency: Resiliency
  /// How many disks a stripe spans.
  public var columns: Int
  /// How much of a stripe lies on one disk before the next one follows, in bytes.
  public var interleaveBytes: UInt64
  /// The size of the sectors its clients see, in bytes.
  public var logicalSectorBytes: Int
  /// What it takes of the pool, in bytes, all copies counted.
  public var allocatedBytes: UInt64
  /// How many connections it has now, to its own export and to those of its partitions.
  public var clientCount: Int
  public var state: State
  /// Why it is in that state and what to do; nil when it is ok.
  public var reason: String?
  /// How many copies there are to be of everything.
  public var copies: Int
  public var health: Health
  /// What to do about it, one sentence; nil when there is nothing to do.
  public var nextStep: String?
  /// How much it gets of disks that are too busy for all, 1 to 1000, in proportion to the others' shares.
  public var share: UInt32
  /// How much of its data is there, where that was looked at: in a pool that is open read-only.
  public var data: DataInfo?
  /// After growing: what was done with the partition table, and how to use the new space.
  public var note: String?

  public init(
    pool: String, name: String, uuid: String, sizeBytes: UInt64, provisioning: Provisioning, resiliency: Resiliency, columns: Int,
    interleaveBytes: UInt64, logicalSectorBytes: Int, allocatedBytes: UInt64, clientCount: Int, state: State, reason: String? = nil,
    copies: Int = 1, health: Health = .healthy, nextStep: String? = nil, share: UInt32 = 100,
    data: DataInfo? = nil
  ) {
    self.pool = pool
    self.name = name
    self.uuid = uuid
    self.sizeBytes = sizeBytes
    self.provisioning = provisioning
    self.resiliency = resiliency
    self.columns = columns
    self.interleaveBytes = interleaveBytes
    self.logicalSectorBytes = logicalSectorBytes
    self.allocatedBytes = allocatedBytes
    self.clientCount = clientCount
    self.state = state
    self.reason = reason
    self.copies = copies
    self.health = health
    self.nextStep = nextStep
    self.share = share
    self.data = data
  }

  /// When space is taken from the pool.
  public struct Provisioning: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// At the first write.
    public static let thin = Provisioning(rawValue: "thin")
    /// At creation.
    public static let fixed = Provisioning(rawValue: "fixed")
  }

  /// How losses of disks are survived.
  public struct Resiliency: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Not at all: one copy, striped.
    public static let simple = Resiliency(rawValue: "simple")
    /// By two or three copies on different disks.
    public static let mirror = Resiliency(rawValue: "mirror")
  }

  /// The operational state. The words are those of Windows Storage Spaces.
  public struct State: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let ok = State(rawValue: "ok")
    /// All is there, and spread unequally over the disks.
    public static let suboptimal = State(rawValue: "suboptimal")
    /// Copies are made anew or brought up to date.
    public static let inService = State(rawValue: "inService")
    /// Copies are missing, on disks that are away and lack nothing: nothing was written meanwhile.
    public static let incomplete = State(rawValue: "incomplete")
    /// It can be read only, because its pool is.
    public static let readOnly = State(rawValue: "readOnly")
    /// Copies are missing; what is left is whole.
    public static let degraded = State(rawValue: "degraded")
    /// Some data has no whole copy any more, and clients are still connected: they get errors there.
    public static let noRedundancy = State(rawValue: "noRedundancy")
    /// It is not served.
    public static let detached = State(rawValue: "detached")
  }

  /// The name by which commands and NBD clients address it.
  public var path: VirtualDiskPath { VirtualDiskPath(pool: pool, name: name) }
}
