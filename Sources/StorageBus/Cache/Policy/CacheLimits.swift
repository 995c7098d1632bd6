/// Limits of the read cache.
public enum CacheLimits {
  /// Sizes that a page may have, in bytes: Windows' own choices and 4 KiB.
  public static let pageByteCounts = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10]
  public static let pageByteCount = 16 << 10
  /// Pages that are being read from one disk at the same time: more misses pass the cache by.
  static let fillsInFlight = 64
  /// Users that one page may have at a time; who comes then gets a copy.
  static let usersPerPage: UInt16 = 32_768

  // Cache disks.

  /// Bytes of memory for each page slot of a cache disk, at most: what the directory knows of it (135 to 181 by how near the slots are to a
  /// power of two).
  public static let cacheDiskMemoryPerPage = 184
  /// For all slots of one cache disk, at most. Its pages are larger where that does not do with 16 KiB.
  public static let cacheDiskMemoryByteCount = 1 << 30
  /// So much of a machine's memory may the slots of all cache disks take together: a quarter. The other layers, and what else the machine does,
  /// want theirs.
  static let directoryMemoryDivisor: UInt64 = 4
  /// Reads of one cache disk in flight, each with a buffer of one page. More wait: the capacity disk is slower yet.
  static let cacheDiskReads = 1024
  /// Of one virtual disk, so that the others find some. More than a disk is given at a time: those that wait for their turn there are what shares
  /// are given by.
  static let cacheDiskReadsPerVirtualDisk = StorageBusLimits.queueDepth + 64
  /// Of one client's request.
  static let cacheDiskReadsPerRequest = 16
  /// Pages on their way to one cache disk, each with a buffer. What is more is not cached.
  static let cacheDiskFills = 32
  /// A client that has waited so long for a cache disk goes to the capacity disk; so do all others until the cache disk has answered.
  public static let cacheDiskPatienceMilliseconds: UInt64 = 500
  /// A cache disk that has not answered for so long is given up.
  public static let cacheDiskStallMilliseconds: UInt64 = 10_000
  /// So many errors more than one in `cacheDiskSuccessesPerError` operations, and a cache disk is given up.
  static let cacheDiskErrors = 16
  static let cacheDiskSuccessesPerError = 64
  /// Index blocks are read and written in pieces of so many bytes.
  static let cacheDiskPieceByteCount = 1 << 20
  /// Slots that are looked through in one go when a disk's pages are forgotten: a fraction of a millisecond.
  static let cacheDiskSlotsPerTurn = 32_768
  /// Index blocks whose pages are taken over in one go, each up to 252: a few milliseconds.
  static let cacheDiskBlocksPerTurn = 32

  /// Frames of one directory: their numbers take 31 bits.
  public static let frames = 1 << 30
  /// Slots of each shadow directory in which a policy is tried. A larger cache is tried on a sample of its pages.
  static let shadowSlots = 16_384
  /// Policies are compared over about so many of the last reads per slot of a shadow.
  static let contestReadsPerSlot = 6
  /// Hits by which a policy must lead to take over: this, and one more for so many slots of its shadow.
  static let contestLead = 2
  static let contestSlotsPerLead = 4096
  /// From S3-FIFO ARC takes over only when it leads by this share of the shadow's slots more: a half. LRU, which is sooner there: a 24th.
  static let contestARCRefillDivisor = 2
  static let contestLRURefillDivisor = 24

  /// Slots of the directory that tries the present size for the advice.
  static let adviceSlots = 1024
  /// The advice is about so many of the last reads per slot, up to twice as many.
  static let adviceReadsPerSlot: UInt64 = 16
  /// Victims that may be passed over for one page that comes in.
  static let mostSpared = 64

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
