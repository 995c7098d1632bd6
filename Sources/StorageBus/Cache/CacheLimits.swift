/// Limits of the read cache.
public enum CacheLimits {
  /// Sizes that a page may have, in bytes: Windows' own choices and 4 KiB.
  public static let pageByteCounts = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10]
  public static let pageByteCount = 16 << 10
  /// Frames that somebody still used when they were given back, looked at for each one that is wanted.
  static let lingeringLooks = 8
  /// Pages that are being read from one disk at the same time: more misses pass the cache by.
  static let fillsInFlight = 64
  /// Pages of one write that are refreshed in place; those of a longer one are dropped.
  static let refreshedPageCount = 64
}
