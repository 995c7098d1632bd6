/// Limits of the storage bus.
public enum StorageBusLimits {
  /// Requests of applications in flight to one disk, at most. Enough to keep a fast SSD busy; more would only wait inside the disk, where no
  /// class goes first.
  public static let queueDepth = 256
  /// At least: so few that a disk's latency with them is its own. Fewer would leave disks idle between two requests.
  public static let leastDepth = 4
  /// Before anything was measured.
  public static let firstDepth = 32
  /// The mean latency that a disk is kept under by giving it no more at a time, in nanoseconds: 10 ms, far more than a busy SSD takes for small
  /// requests; and where heads move up to 100 ms, some ten requests, if it takes long also with few of them.
  static let latencyBound: UInt64 = 10_000_000
  static let rotationalLatencyBound: UInt64 = 100_000_000
  /// The depth is judged after so many requests, or twice its own number.
  static let shortestDepthWindow = 32
  /// So many of these windows pass until a slow disk is looked at anew, which costs about two of them.
  static let windowsPerProbe = 50
  /// Requests of background work in flight to one disk while applications use it, at most.
  public static let backgroundDepthUnderContention = 2
  /// What each request costs a virtual disk of its share beside the bytes, in bytes: what an SSD, and a disk whose heads move, could have moved
  /// in the time.
  static let requestCost: UInt64 = 32 << 10
  static let rotationalRequestCost: UInt64 = 1 << 20
  /// Virtual time begins anew when it has come to this, in sectors times price. What waits may reach beyond it by as much three times before
  /// it runs over: 200 million requests of 32 MiB at the smallest share.
  static let virtualTimeLimit: UInt64 = 1 << 62
  /// Shares of virtual disks: one with 200 gets twice as much of a busy disk as one with 100.
  public static let shares: ClosedRange<UInt32> = 1...1000
  public static let defaultShare: UInt32 = 100
}
