/// Limits of the storage bus.
public enum StorageBusLimits {
  /// Requests in flight to one disk. Enough to keep a fast SSD busy; more would only wait inside the disk, where no class goes first.
  public static let queueDepth = 256
  /// Of these, at most so many for work in the background while applications wait.
  public static let backgroundDepthUnderContention = 2
}
