/// A storage pool.
public struct PoolInfo: Codable, Sendable, Equatable {
  public var name: String
  /// The pool's identity, in lower case.
  public var uuid: String
  public var state: State
  /// Why the pool is in that state, one sentence; nil when it is ok.
  public var reason: String?
  /// What to do about it, one sentence; nil when there is nothing to do.
  public var nextStep: String?
  /// What the pool's disks can hold together, in bytes, before resiliency takes its share.
  public var capacityBytes: UInt64
  /// How much of that is dealt out, in bytes.
  public var allocatedBytes: UInt64
  /// How much of that is left, in bytes.
  public var freeBytes: UInt64
  /// The unit of allocation, in bytes.
  public var slabBytes: UInt64
  public var disks: [DiskInfo]
  /// The names of its virtual disks, without the pool's name.
  public var virtualDisks: [String]
  /// The on-disk format's feature flags that are set, by name.
  public var features: [String]
  public var health: Health
  /// What virtual disks with 1, 2 and 3 copies could still hold, each if it had all of the room.
  public var remaining: [RemainingRoom]
  /// What has to stay free so that the copies on the fullest disk could be made anew after its loss, in bytes; 0 without mirrors.
  public var reserveBytes: UInt64
  /// Whether any disk could be lost and its copies be made anew on the others.
  public var isReserveMet: Bool
  /// What the operator should know, a sentence each.
  public var warnings: [String]

  public init(
    name: String, uuid: String, state: State, reason: String? = nil, nextStep: String? = nil, capacityBytes: UInt64, allocatedBytes: UInt64,
    freeBytes: UInt64, slabBytes: UInt64, disks: [DiskInfo], virtualDisks: [String], features: [String],
    health: Health = .healthy, remaining: [RemainingRoom] = [], reserveBytes: UInt64 = 0, isReserveMet: Bool = true, warnings: [String] = []
  ) {
    self.name = name
    self.uuid = uuid
    self.state = state
    self.reason = reason
    self.nextStep = nextStep
    self.capacityBytes = capacityBytes
    self.allocatedBytes = allocatedBytes
    self.freeBytes = freeBytes
    self.slabBytes = slabBytes
    self.disks = disks
    self.virtualDisks = virtualDisks
    self.features = features
    self.health = health
    self.remaining = remaining
    self.reserveBytes = reserveBytes
    self.isReserveMet = isReserveMet
    self.warnings = warnings
  }

  /// What still fits of virtual disks with so many copies.
  public struct RemainingRoom: Codable, Sendable, Equatable {
    public var copies: Int
    /// Of the virtual disks' own data, in bytes: the most, which those of one column reach.
    public var bytes: UInt64
    /// The columns that a new virtual disk gets where nothing is said.
    public var defaultColumns: Int
    /// What still fits with so many columns, in bytes; less than `bytes` where disks are of unequal size.
    public var bytesWithDefaultColumns: UInt64

    public init(copies: Int, bytes: UInt64, defaultColumns: Int = 1, bytesWithDefaultColumns: UInt64? = nil) {
      self.copies = copies
      self.bytes = bytes
      self.defaultColumns = defaultColumns
      self.bytesWithDefaultColumns = bytesWithDefaultColumns ?? bytes
    }
  }

  /// Whether it waits for disks and serves nothing.
  public var isWaiting: Bool { state == .starting || state == .incomplete }

  /// The operational state. The words are those of Windows Storage Spaces.
  public struct State: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// It serves.
    public static let ok = State(rawValue: "ok")
    /// It waits for disks and serves nothing yet.
    public static let starting = State(rawValue: "starting")
    /// It serves with disks missing or failing.
    public static let degraded = State(rawValue: "degraded")
    /// It can be read only.
    public static let readOnly = State(rawValue: "readOnly")
    /// It can't serve: too many disks are missing or damaged.
    public static let incomplete = State(rawValue: "incomplete")
  }
}
