/// Limits of the resiliencies, with unit and reason.
public enum MirrorLimits {
  public static let largestCopyCount = 3
  /// Reads go to another copy every 1 MiB (2 to the power of this) of a slab: long enough for a disk's read-ahead, short enough that a
  /// sequential reader with some requests in flight keeps several disks busy.
  static let readShift: UInt64 = 20
}
