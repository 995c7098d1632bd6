/// Limits that all layers share.
public enum BlockDeviceLimits {
  /// Parts of split requests in flight at the same time, over all requests of one layer of a pool: what clients may have in flight in bytes, all cut
  /// into pieces of 64 KiB, and some more. Each takes a task of some 3 KiB from the first time on that so many are in flight.
  public static let splitWorkers = 4096
  /// Tasks that are there from the beginning.
  static let firstSplitWorkers = 128
  /// The highest latency that is told apart, in nanoseconds (64 s): longer is counted as that.
  static let highestLatencyNanoseconds: UInt64 = 64_000_000_000
}
