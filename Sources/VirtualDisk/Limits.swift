/// Limits of virtual disks, each with its unit and reason.
public enum VirtualDiskLimits {
  /// Smallest virtual disk, in bytes: what partition tools need to align anything.
  public static let smallestByteCount: UInt64 = 1 << 20
  /// Largest, in bytes (64 PiB): signed 64-bit offsets hold, and a map of 1 MiB rows still fits in memory at a tenth of that.
  public static let largestByteCount: UInt64 = 1 << 56
  /// Rows of one virtual disk: what its map costs in memory (some 200 bytes a mapped row, 8 an unmapped one).
  public static let largestRowCount = 1 << 24
  /// Interleave, in bytes; powers of two.
  public static let smallestInterleave: UInt64 = 4096
  public static let largestInterleave: UInt64 = 64 << 20
  public static let defaultInterleave: UInt64 = 256 << 10
  public static let defaultColumnLimit = 8
  public static let largestColumnCount = 32
  /// Length of a virtual disk's name, in UTF-8 bytes.
  public static let longestName = 64
}
