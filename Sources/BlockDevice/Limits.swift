/// Limits that all layers share.
public enum BlockDeviceLimits {
  /// Parts of split requests in flight at the same time, over all requests of one pool. More would only queue in the disks.
  public static let splitWorkers = 128
  /// The highest latency that is told apart, in nanoseconds (64 s): longer is counted as that.
  static let highestLatencyNanoseconds: UInt64 = 64_000_000_000
}
