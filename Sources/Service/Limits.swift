/// Limits of the service, each with its unit and reason.
public enum ServiceLimits {
  /// A request that a disk has not answered for so long is told of, in seconds: far more than a busy disk takes.
  static let abnormalLatencySeconds: UInt64 = 3
  /// A known pool whose disks are missing is "starting" for so long, then "incomplete" (rules M: 30 s).
  public static let startingMilliseconds: UInt64 = 30_000
  /// It is tried again at this interval, before and after: soon for a person, rare for the disks.
  static let retryMilliseconds: UInt64 = 1_000
  /// How often the disks of open pools are looked at (rules A: every second).
  static let diskWatchMilliseconds: UInt64 = 1_000
  /// How often their free space is looked at, for the log: often enough to be seen in time, rare enough where it goes up and down.
  static let spaceWatchMilliseconds: UInt64 = 10_000
  /// A pool with less than this part of its capacity free gets a warning (a tenth).
  static let lowSpaceFraction: UInt64 = 10
  /// A path or a disk that is not any pool's yet and does not answer for so long is given up: as long as a pool waits for its disks.
  static let pathAnswerMilliseconds: UInt64 = 10_000
  /// A look at all disks of the machine or of a directory is given up after so long: drives that spin up take 10 s or so, one after the other.
  static let scanMilliseconds: UInt64 = 60_000
  /// The server's start waits so long for its known pools to open, so that clients find them at once: longer than a disk is waited for that a
  /// killed predecessor holds. Those that take longer, because a disk hangs, go on opening behind it.
  static let startMilliseconds: UInt64 = 8_000
  /// How long an address that is taken is waited for at start: a killed server's sockets outlive it by what it had in flight, as the claim on
  /// its disks does.
  static let listenWaitMilliseconds: UInt64 = 5_000
  /// How often disks that are away are looked for, where they were last.
  static let absentDiskLookMilliseconds: UInt64 = 5_000
  /// A disk that was evicted for errors or because it hung is not taken back before this, doubled with each time it happens, at most the
  /// longest: one that fails again and again must not come and go all day.
  static let returnDelayMilliseconds: UInt64 = 30_000
  static let longestReturnDelayMilliseconds: UInt64 = 3_600_000
  /// Size of a witness file, in bytes: the two slots, and nothing in the last block, which would be looked at when the file shrinks.
  static let witnessByteCount = 64 << 10
  /// Map entries and rows that `inspect` lists; all of them are checked.
  static let inspectedRowCount = 100
  /// How much of a virtual disk is asked at a time which of it holds data, in bytes and extents: the answer comes from memory, row by row, and
  /// clients wait for it.
  static let statusByteCount: UInt64 = 1 << 40
  static let statusExtents = 1024
  /// And so many times, while the operation lock is held: a petabyte without data, or a million extents; beyond that the answer is "at least".
  static let statusRounds = 1024
  /// How long sessions that a changed access rule refuses may take to answer what was read of their requests, before they are cut off.
  static let accessChangeMilliseconds: UInt64 = 5_000
  /// Partitions of a virtual disk that LIST names: a guest may make 32,768, and each has up to two names. All others can be opened by name.
  static let listedPartitions = 256
  /// Clients that a refusal names.
  static let namedPeers = 4
  /// Names of a list that are gathered before they are sent: what a client that reads slowly keeps in memory.
  static let listedNamesAtATime = 256
  /// Virtual disks that are looked at for a list before others get their turn on the reactor.
  static let listedDisksPerTurn = 256
  /// Users, networks or names in one access rule. They are looked through when a client opens an export, on the reactor.
  static let namesPerAccessRule = 256
  /// Of a certificate or a pre-shared key's user: as long as what TLS hands over is compared. Bytes.
  static let accessNameByteCount = 511
  /// Partitions of a virtual disk whose content is looked at for a list, each by a process of its own: as many as a usual table has. A guest may
  /// make 32,768.
  static let recognisedPartitions = 128
}
