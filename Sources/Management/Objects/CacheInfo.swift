/// The read cache of a server: what it holds, what it did, and what another size would do.
public struct CacheInfo: Codable, Sendable, Equatable {
  /// What a cache did, in pages where it does not say bytes.
  public struct Counters: Codable, Sendable, Equatable {
    public var hits: UInt64
    public var misses: UInt64
    public var hitBytes: UInt64
    /// Bytes of misses by what became of them.
    public var admittedBytes: UInt64
    public var secondMissBytes: UInt64
    public var bypassedSequentialBytes: UInt64
    public var bypassedLargeBytes: UInt64
    /// Bytes that writes refreshed in cached pages.
    public var refreshedBytes: UInt64
    /// Pages that writes, trims and lost disks made worthless.
    public var dropped: UInt64
    /// Pages that were read and not kept, because they were written meanwhile.
    public var overtaken: UInt64
    /// Pages that had to go for others: for a disk, its own; for a virtual disk, those of whomever that made room for what it read.
    public var evictions: UInt64
    /// Pages that could not be read whole.
    public var errors: UInt64

    public init(
      hits: UInt64 = 0, misses: UInt64 = 0, hitBytes: UInt64 = 0, admittedBytes: UInt64 = 0, secondMissBytes: UInt64 = 0,
      bypassedSequentialBytes: UInt64 = 0, bypassedLargeBytes: UInt64 = 0, refreshedBytes: UInt64 = 0, dropped: UInt64 = 0,
      overtaken: UInt64 = 0, evictions: UInt64 = 0, errors: UInt64 = 0
    ) {
      self.hits = hits
      self.misses = misses
      self.hitBytes = hitBytes
      self.admittedBytes = admittedBytes
      self.secondMissBytes = secondMissBytes
      self.bypassedSequentialBytes = bypassedSequentialBytes
      self.bypassedLargeBytes = bypassedLargeBytes
      self.refreshedBytes = refreshedBytes
      self.dropped = dropped
      self.overtaken = overtaken
      self.evictions = evictions
      self.errors = errors
    }

    /// Hits for each page that was read, 0...1; 0 when none was.
    public var hitRatio: Double { hits + misses == 0 ? 0 : Double(hits) / Double(hits + misses) }
  }

  /// What another size of the memory would have given lately: hits for each page that was read and is there or may come in, 0...1.
  public struct Advice: Codable, Sendable, Equatable {
    public var half: Double
    public var same: Double
    public var twice: Double
    public var fourTimes: Double

    public init(half: Double, same: Double, twice: Double, fourTimes: Double) {
      self.half = half
      self.same = same
      self.twice = twice
      self.fourTimes = fourTimes
    }
  }

  /// A disk by its path, or a virtual disk by its name.
  public struct Part: Codable, Sendable, Equatable {
    public var name: String
    public var counters: Counters

    public init(name: String, counters: Counters) {
      self.name = name
      self.counters = counters
    }
  }

  /// 0: the server was started without one.
  public var memoryBytes: UInt64
  public var pageBytes: UInt64
  public var pages: UInt64
  public var freePages: UInt64
  /// The memory is locked and known to the kernel.
  public var isLocked: Bool
  public var counters: Counters
  /// nil before there was anything to judge by.
  public var advice: Advice?
  public var disks: [Part]
  public var virtualDisks: [Part]
  /// The second level.
  public var cacheDisks: [CacheDiskReport]

  public init(
    memoryBytes: UInt64 = 0, pageBytes: UInt64 = 0, pages: UInt64 = 0, freePages: UInt64 = 0, isLocked: Bool = false,
    counters: Counters = Counters(), advice: Advice? = nil, disks: [Part] = [], virtualDisks: [Part] = [],
    cacheDisks: [CacheDiskReport] = []
  ) {
    self.memoryBytes = memoryBytes
    self.pageBytes = pageBytes
    self.pages = pages
    self.freePages = freePages
    self.isLocked = isLocked
    self.counters = counters
    self.advice = advice
    self.disks = disks
    self.virtualDisks = virtualDisks
    self.cacheDisks = cacheDisks
  }
}
