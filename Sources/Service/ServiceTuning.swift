import Pool

/// What the operator may set for all pools of a server.
public struct ServiceTuning: Sendable, Equatable {
  /// A known pool whose disks are missing is "starting" for so long; then it goes on without them where it may (rules M).
  public var diskWaitMilliseconds: UInt64
  /// How long a disk may be away before its copies are made anew elsewhere.
  public var repairDelayMilliseconds: UInt64
  /// Per cent of the time that jobs work while clients are at work, 1 to 100.
  public var jobSharePercent: Int

  public init(
    diskWaitMilliseconds: UInt64 = ServiceLimits.startingMilliseconds,
    repairDelayMilliseconds: UInt64 = JobLimits.repairDelayMilliseconds, jobSharePercent: Int = JobLimits.sharePercent
  ) {
    self.diskWaitMilliseconds = diskWaitMilliseconds
    self.repairDelayMilliseconds = repairDelayMilliseconds
    self.jobSharePercent = jobSharePercent
  }
}
