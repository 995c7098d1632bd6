/// Limits of the service, each with its unit and reason.
enum ServiceLimits {
  /// A known pool whose disks are missing is "starting" for so long, then "incomplete" (rules M: 30 s).
  static let startingMilliseconds: UInt64 = 30_000
  /// It is tried again at this interval, before and after: soon for a person, rare for the disks.
  static let retryMilliseconds: UInt64 = 1_000
  /// How often the disks of open pools are looked at (rules A: every second).
  static let diskWatchMilliseconds: UInt64 = 1_000
  /// How often their free space is looked at, for the log: often enough to be seen in time, rare enough where it goes up and down.
  static let spaceWatchMilliseconds: UInt64 = 10_000
  /// A pool with less than this part of its capacity free gets a warning (a tenth).
  static let lowSpaceFraction: UInt64 = 10
  /// Map entries and rows that `inspect` lists; all of them are checked.
  static let inspectedRowCount = 100
}
