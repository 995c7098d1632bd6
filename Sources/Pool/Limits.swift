/// Sizes that the on-disk format fixes (docs/on-disk-format.md). All in bytes unless named otherwise.
public enum FormatLimits {
  /// The version of every structure. Raised only when old programs must not even try; all else goes by feature flags.
  public static let version: UInt16 = 1
  /// Sequences and numbers that count up stay below this: whatever a disk says, counting on from there never overflows.
  public static let numberLimit: UInt64 = 1 << 62
  /// The highest number of a disk: they are never used again, and tables are as long as the highest.
  public static let diskNumberHighest: UInt32 = 1 << 20
  /// Everything of the pool's own starts and ends on this, so that a 4Kn disk can take any other's place.
  public static let blockByteCount = 4096
  /// Partitions and slabs start on this.
  public static let alignmentByteCount: UInt64 = 1 << 20
  /// Where the metadata partition starts on every disk; before it lies the GPT.
  public static let metadataOffset: UInt64 = 1 << 20
  /// Behind the data partition: room for the backup GPT (20 KiB with 4096-byte sectors).
  public static let endReserveByteCount: UInt64 = 64 << 10
  /// At each end of the data partition, belongs to no slab.
  public static let dataMarginByteCount: UInt64 = 1 << 20
  /// Between places that are rewritten in turn: more than an erase block's page of common flash, so that one torn write hits one.
  public static let placeSpacingByteCount: UInt64 = 64 << 10

  public static let poolNameByteCount = 64
  /// Room in a superblock; pools use at most `StoreLimits.voterCount`.
  public static let voterCount = 32

  /// A page of records.
  public static let pageByteCount = 16 << 10
  public static let pageHeaderByteCount = 96
  /// A page of the page table, and the entries in it and in the root.
  public static let pageTableByteCount = 4096
  public static let entriesPerPageTable = 252
  public static let pageTablesPerRoot = 240
  /// All that one root can name: 60,480 pages, 945 MiB of records.
  public static let pageCount = pageTablesPerRoot * entriesPerPageTable

  public static let recordHeaderByteCount = 24
  /// The largest value of one record: two of the largest fit no page of 16 KiB together with its header, one always does.
  public static let recordValueByteCount = 8192
  public static let recordAlignment = 8

  public static let journalHeaderByteCount = 128
  public static let changeHeaderByteCount = 32
  /// One entry, header and changes: bounds the buffers that an open pool holds, and what one commit may change.
  public static let journalEntryByteCount = 256 << 10
  public static let journalSmallest: UInt64 = 64 << 10
  /// Read into memory whole when a pool is opened.
  public static let journalLargest: UInt64 = 32 << 20

  public static let slabSmallest: UInt64 = 1 << 20
  public static let slabLargest: UInt64 = 1 << 30
  /// Of one row: columns times copies, parity included.
  public static let slabsPerRow = 256
  /// Of one map record: 32,768 chunks.
  public static let presenceByteCount = 4096
  public static let virtualDiskNameByteCount = 128
  public static let faultDomainByteCount = 255
  public static let eventNameByteCount = 64
  public static let eventMessageByteCount = 2048
  public static let pathHintByteCount = 1024

  /// One of the two slots of a witness. A block, so that a disk with 4096-byte sectors could hold it too.
  public static let witnessSlotByteCount = 4096
}

/// How the store uses the format.
public enum StoreLimits {
  /// Disks that hold metadata: all of a pool this small, this many of a larger one (rules M).
  public static let voterCount = 5
  /// Between two tries to get memory for a write that must not wait for anybody else, when the system has none.
  static let memoryRetryMilliseconds: UInt64 = 100
  /// Record pages that only essential commits may take: freeing, membership changes and closing always find room. A 64th, at least this.
  public static let reservedPageCountSmallest = 4
  public static let reservedPageFraction = 64
  /// Of the journal: kept for essential commits while a checkpoint makes room.
  public static let reservedJournalFraction = 8
  /// Page writes of a checkpoint in flight at a time and voter.
  public static let checkpointDepth = 8
  /// Reading and zeroing go in steps of this.
  public static let transferByteCount = 1 << 20
  /// Such steps of record pages that are being read while one is worked on, for each voter.
  static let pageReadAhead = 2
  /// Devices asked for one pool at the same time.
  public static let diskCount = 4096
  /// Superblocks written at the same time when the membership changes: 64 KiB, a size of buffers that requests rarely use up.
  public static let superblocksInFlight = 16
  /// A membership change that neither the witness nor enough voters took is tried again so often; commits wait meanwhile.
  public static let membershipRetryMilliseconds: UInt64 = 1_000
}

/// What the layout of a new pool is chosen by.
public enum LayoutLimits {
  /// A pool has about this many slabs, or half: few enough to keep in memory, enough to deal evenly.
  public static let slabCountAimed: UInt64 = 16_384
  public static let metadataSmallest: UInt64 = 16 << 20
  /// Reached only when a small slab size was asked for on a large pool: 1.6 million slabs of one-slab rows take 440 MiB.
  public static let metadataLargest: UInt64 = 1 << 30
  /// At most this part of the smallest disk, where that leaves `metadataSmallest`.
  public static let metadataFraction: UInt64 = 64
  /// Metadata of one slab, generously: a row, a map entry with its bits, twice for the two slots of a page.
  public static let metadataBytesPerSlab: UInt64 = 320
  /// A pool may grow to this many times its first capacity before its metadata is short.
  public static let growthFactor: UInt64 = 8
  /// The journal takes this part of the metadata.
  public static let journalFraction: UInt64 = 8
  public static let journalSmallest: UInt64 = 1 << 20
  public static let journalLargest: UInt64 = 16 << 20
  /// 16 MiB of metadata, the margins, and some slabs.
  public static let diskSmallest: UInt64 = 64 << 20
}

/// Limits of pools, beside those of their format.
public enum PoolLimits {
  /// Between two commits of what no client has flushed.
  static let housekeepingMilliseconds: UInt64 = 5_000
  /// A disk that leaves a request unanswered for so long is given up: longer than a drive takes to give up a sector (7 s), shorter than the
  /// kernel's NBD client waits (30 s).
  public static let stallLimitMilliseconds: UInt64 = 10_000
  /// Between two looks at each disk.
  static let watchMilliseconds: UInt64 = 1_000
  /// What is reserved in the metadata for the presence bits of a row that is not committed yet: those of 8,192 chunks.
  static let presenceByteCountPerRow = 1024
  /// Regions of a row that is written are marked dirty in pieces of at most this, in bytes: what one hot spot costs to resynchronise.
  static let largestRegionByteCount: UInt64 = 4 << 20
  /// Rows have about so many regions before these grow.
  static let regionsPerRowAimed: UInt64 = 64
  /// A name of a pool or virtual disk, in UTF-8 bytes: it is part of export names and paths.
  public static let longestName = 64
  /// Buffers for partial blocks, and bytes of each: 1 MiB a pool. Who finds none waits for a disk.
  static let bounceBufferCount = 16
  public static let bounceBufferByteCount = 64 << 10
  /// Buffers that jobs copy through while no applications are at work, and bytes of each: 8 MiB a pool, made for the first piece and given
  /// back after the last job. A hung disk keeps those that it was given, at most all of them once, until it answers.
  static let copyBufferCount = 16
  static let copyBufferByteCount = 512 << 10
  /// Findings that `inspect` tells of one disk; a damaged pool can have millions.
  static let findingCount = 100
}

/// Limits of the pool's jobs, with unit and reason.
public enum JobLimits {
  /// Per cent of the time that a job works while applications are at work.
  public static let sharePercent = 20
  /// A job's pause after one piece of work, at most: a slow disk must not stop it for minutes.
  static let longestPauseMilliseconds: UInt64 = 2_000
  /// Between two looks for work that nobody asked for (resynchronisation, repair), and between two savings of a job's progress.
  static let lookMilliseconds: UInt64 = 1_000
  static let saveMilliseconds: UInt64 = 5_000
  /// Until a job that found no room is tried again where there is more: who writes and trims all day must not make it begin all the time.
  static let roomMilliseconds: UInt64 = 60_000
  /// A disk that is away this long is given up, and its copies are made anew elsewhere. Five minutes, as Storage Spaces waits: longer than
  /// a restart or a pulled cable.
  public static let repairDelayMilliseconds: UInt64 = 300_000
  /// Rows in work at the same time while applications are at work: so that two disks are busy. And while there are none: of small slabs as
  /// many as there are buffers to copy through, because such a row spends half of its time on flushes and commits; of larger ones no more than
  /// hold `idleDepthByteCount` with one slab each, but enough to keep the disks busy, because a pool that is closed waits for them.
  static let depth = 2
  static let idleDepthHighest = PoolLimits.copyBufferCount
  static let idleDepthLowest = 4
  static let idleDepthByteCount: UInt64 = 64 << 20

  static func idleDepth(slabByteCount: UInt64) -> Int {
    max(idleDepthLowest, min(idleDepthHighest, Int(idleDepthByteCount / slabByteCount)))
  }

  /// Bytes that are copied, locked and counted in one piece while applications are at work: few, so that none of their requests waits long
  /// (where regions are larger, a region), and not so few that a job gets nothing done in its share of the time. And while there are none.
  static let pieceByteCount: UInt64 = 256 << 10
  static let idlePieceByteCount: UInt64 = 1 << 20
  /// So long without a request of theirs, applications are taken to be at rest.
  static let quietMilliseconds: UInt64 = 500
  /// Milliseconds, and rows, that a job works on before it is looked whether another is more urgent.
  static let turnMilliseconds: UInt64 = 1_000
  static let rowsPerTurn = 1024
  /// Rows that a job looks at in one go without finding work, before others get their turn: about a tenth of a millisecond.
  static let rowsPerLook = 16_384
  /// Errors of a job until it is suspended.
  static let errorCount = 3
  /// Jobs remembered after they ended, in memory, and events that are kept in the metadata.
  static let rememberedCount = 64
  public static let eventCount = 1000
  /// Places with bad copies that one scrub tells of, each with an event; all are counted.
  public static let scrubPlaceCount = 20
}
