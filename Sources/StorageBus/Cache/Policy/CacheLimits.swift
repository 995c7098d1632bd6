/// Limits of the read cache.
public enum CacheLimits {
  /// Sizes that a page may have, in bytes: Windows' own choices and 4 KiB.
  public static let pageByteCounts = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10]
  public static let pageByteCount = 16 << 10
  /// Pages that are being read from one disk at the same time: more misses pass the cache by.
  static let fillsInFlight = 64
  /// Users that one page may have at a time; who comes then gets a copy.
  static let usersPerPage: UInt16 = 32_768

  /// Frames of one directory: their numbers take 31 bits.
  public static let frames = 1 << 30
  /// Slots of each shadow directory in which a policy is tried. A larger cache is tried on a sample of its pages.
  static let shadowSlots = 8192
  /// Policies are compared over about so many of the last reads per slot of a shadow.
  static let contestReadsPerSlot = 4
  /// Hits by which a policy must lead to take over: this, and one more for so many slots of its shadow.
  static let contestLead = 4
  static let contestSlotsPerLead = 256

  /// Slots of the directory that tries the present size for the advice.
  static let adviceSlots = 1024
  /// The advice is about so many of the last reads per slot, up to twice as many.
  static let adviceReadsPerSlot: UInt64 = 16
  /// Victims that may be passed over for one page that comes in.
  static let mostSpared = 16

  /// Reads up to this are admitted when they miss for the first time.
  public static let firstMissByteCount: UInt64 = 64 << 10
  /// Larger ones when the page was missed before, at most so long ago (microseconds).
  public static let secondMissMicroseconds: UInt64 = 10 * 60 * 1_000_000
  /// Pages whose first miss is remembered.
  static let rememberedMisses = 65_536
  /// Reads of a sequential run pass the cache by once the run is longer than this.
  public static let sequentialByteCount: UInt64 = 32 << 10
  /// Sequential runs that are followed at a time.
  static let streams = 64
}
