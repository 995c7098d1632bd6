/// Limits of virtual disks, each with its unit and reason.
public enum VirtualDiskLimits {
  /// Smallest virtual disk, in bytes: what partition tools need to align anything.
  public static let smallestByteCount: UInt64 = 1 << 20
  /// Largest, in bytes (64 PiB): signed 64-bit offsets hold, and a map of 1 MiB rows still fits in memory at a tenth of that.
  public static let largestByteCount: UInt64 = 1 << 56
  /// Slabs of one virtual disk, rows by columns by copies: what its map costs in memory, mapped or not (16 bytes a slab, and some 300 a row
  /// that was in use since the pool was opened).
  public static let largestSlabCount = 1 << 24
  /// Interleave, in bytes; powers of two.
  public static let smallestInterleave: UInt64 = 4096
  public static let largestInterleave: UInt64 = 64 << 20
  public static let defaultInterleave: UInt64 = 256 << 10
  public static let defaultColumnLimit = 8
  public static let largestColumnCount = 32
  /// Dirty regions of one virtual disk, at most: what a crash leaves to resynchronise. A writer that marks more waits until others are
  /// cleared; while a copy is away, none can be.
  static let dirtyRegionCount = 4096
  /// Rows that one block status looks at, and that a trim or zeroing goes through before others get their turn: some hundred microseconds.
  static let statusRowCount: UInt64 = 4096
  /// Ranges remembered for repair after a read failed on one copy. What is more is found by the next read or scrub.
  static let wantedRepairCount = 256
  /// What one presence bit stands for, in bytes; powers of two. The smallest is doubled, up to the largest, as long as a row has more chunks
  /// than aimed at: few enough bits to be rewritten with every flush, small enough that a first write brings few zeros along.
  static let smallestChunk: UInt64 = 64 << 10
  static let largestChunk: UInt64 = 1 << 20
  static let chunksPerRowAimed: UInt64 = 1024
}
