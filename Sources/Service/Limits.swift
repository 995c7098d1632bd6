/// Limits of the service, each with its unit and reason.
enum ServiceLimits {
  /// A known pool whose disks are missing is "starting" for so long, then "incomplete" (rules M: 30 s).
  static let startingMilliseconds: UInt64 = 30_000
  /// It is tried again at this interval, before and after: soon for a person, rare for the disks.
  static let retryMilliseconds: UInt64 = 1_000
  /// How often the disks of open pools are looked at (rules A: every second).
  static let diskWatchMilliseconds: UInt64 = 1_000
  /// Map entries and rows that `inspect` lists; all of them are checked.
  static let inspectedRowCount = 100
}
