/// Work of a pool's own on its data, in the background.
public struct JobInfo: Codable, Sendable, Equatable {
  public var pool: String
  /// Counted up within the pool.
  public var number: UInt64
  public var kind: Kind
  public var state: State
  /// The disk that is emptied, or whose copies are made anew: its path; nil for other kinds.
  public var disk: String?
  /// How much is done, 0 to 100.
  public var percent: Double
  /// Bytes copied or read, and in all as far as is known.
  public var doneBytes: UInt64
  public var totalBytes: UInt64
  /// Over the last seconds.
  public var bytesPerSecond: UInt64
  /// How long it takes at this rate; nil when nobody can tell.
  public var secondsLeft: UInt64?
  /// What it found, or why it waits and what would help; nil when there is nothing to say.
  public var message: String?
  /// Seconds since 1970, UTC.
  public var startedSeconds: UInt64

  public init(
    pool: String, number: UInt64, kind: Kind, state: State, disk: String? = nil, percent: Double, doneBytes: UInt64, totalBytes: UInt64,
    bytesPerSecond: UInt64 = 0, secondsLeft: UInt64? = nil, message: String? = nil, startedSeconds: UInt64
  ) {
    self.pool = pool
    self.number = number
    self.kind = kind
    self.state = state
    self.disk = disk
    self.percent = percent
    self.doneBytes = doneBytes
    self.totalBytes = totalBytes
    self.bytesPerSecond = bytesPerSecond
    self.secondsLeft = secondsLeft
    self.message = message
    self.startedSeconds = startedSeconds
  }

  /// Whether it goes on by itself.
  public var isUnderWay: Bool { state == .waiting || state == .running }

  public struct Kind: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Copies that may differ, or lack what was written while their disk was away, are brought together. Starts by itself.
    public static let resync = Kind(rawValue: "resync")
    /// Copies whose disk stays away are made anew elsewhere. Starts by itself.
    public static let repair = Kind(rawValue: "repair")
    /// A disk is emptied, and then released.
    public static let retire = Kind(rawValue: "retire")
    /// Data is moved until the disks are equally full.
    public static let optimize = Kind(rawValue: "optimize")
    /// Everything is read, and copies are compared.
    public static let scrub = Kind(rawValue: "scrub")
  }

  public struct State: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Another job goes first.
    public static let waiting = State(rawValue: "waiting")
    public static let running = State(rawValue: "running")
    /// It cannot go on for now; the message says why.
    public static let suspended = State(rawValue: "suspended")
    public static let completed = State(rawValue: "completed")
    public static let cancelled = State(rawValue: "cancelled")
  }
}
