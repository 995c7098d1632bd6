/// A cache disk: the second level of the read cache, what it holds and what it did.
public struct CacheDiskReport: Codable, Sendable, Equatable {
  /// What it did, in pages where it does not say bytes.
  public struct Counters: Codable, Sendable, Equatable {
    public var hits: UInt64
    public var misses: UInt64
    public var hitBytes: UInt64
    /// Bytes of misses by what became of them; `bypassedBytes` is what the memory cache has not admitted, whose counters say why.
    public var admittedBytes: UInt64
    public var secondMissBytes: UInt64
    public var bypassedSequentialBytes: UInt64
    public var bypassedLargeBytes: UInt64
    public var bypassedBytes: UInt64
    /// Pages that were written to the cache disk, and that were not, because it was busy.
    public var fills: UInt64
    public var skippedFills: UInt64
    /// Pages that were read and not kept, because they were written meanwhile.
    public var overtaken: UInt64
    /// Pages that writes and trims made worthless.
    public var dropped: UInt64
    /// Pages that made room for others.
    public var evictions: UInt64
    /// Pages that the cache disk failed to read or write, and that were not what was written to it.
    public var errors: UInt64
    public var checksumErrors: UInt64
    /// Pages that it did not deliver in time.
    public var timeouts: UInt64
    /// Pages that were there when the pool was opened.
    public var warm: UInt64

    public init(
      hits: UInt64 = 0, misses: UInt64 = 0, hitBytes: UInt64 = 0, admittedBytes: UInt64 = 0, secondMissBytes: UInt64 = 0,
      bypassedSequentialBytes: UInt64 = 0, bypassedLargeBytes: UInt64 = 0, bypassedBytes: UInt64 = 0, fills: UInt64 = 0,
      skippedFills: UInt64 = 0, overtaken: UInt64 = 0, dropped: UInt64 = 0, evictions: UInt64 = 0, errors: UInt64 = 0,
      checksumErrors: UInt64 = 0, timeouts: UInt64 = 0, warm: UInt64 = 0
    ) {
      self.hits = hits
      self.misses = misses
      self.hitBytes = hitBytes
      self.admittedBytes = admittedBytes
      self.secondMissBytes = secondMissBytes
      self.bypassedSequentialBytes = bypassedSequentialBytes
      self.bypassedLargeBytes = bypassedLargeBytes
      self.bypassedBytes = bypassedBytes
      self.fills = fills
      self.skippedFills = skippedFills
      self.overtaken = overtaken
      self.dropped = dropped
      self.evictions = evictions
      self.errors = errors
      self.checksumErrors = checksumErrors
      self.timeouts = timeouts
      self.warm = warm
    }

    /// Hits for each page that was read, 0...1; 0 when none was.
    public var hitRatio: Double { hits + misses == 0 ? 0 : Double(hits) / Double(hits + misses) }
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

  public var pool: String
  public var path: String
  /// Its number in the pool.
  public var number: UInt32
  /// It is asked for pages and given new ones.
  public var isUsed: Bool
  /// It takes so long to answer that nobody asks it anything at the moment.
  public var isOverdue: Bool
  public var pageBytes: UInt64
  public var pages: UInt64
  public var freePages: UInt64
  /// Memory that it takes to know what it holds, in bytes.
  public var memoryBytes: UInt64
  /// Bytes of the disk that lie idle, because to know more pages would take more memory than it may have.
  public var idleBytes: UInt64
  public var counters: Counters
  /// The disks that are bound to it, and the virtual disks.
  public var disks: [Part]
  public var virtualDisks: [Part]

  public init(
    pool: String, path: String, number: UInt32, isUsed: Bool, isOverdue: Bool = false, pageBytes: UInt64 = 0, pages: UInt64 = 0,
    freePages: UInt64 = 0, memoryBytes: UInt64 = 0, idleBytes: UInt64 = 0, counters: Counters = Counters(), disks: [Part] = [],
    virtualDisks: [Part] = []
  ) {
    self.pool = pool
    self.path = path
    self.number = number
    self.isUsed = isUsed
    self.isOverdue = isOverdue
    self.pageBytes = pageBytes
    self.pages = pages
    self.freePages = freePages
    self.memoryBytes = memoryBytes
    self.idleBytes = idleBytes
    self.counters = counters
    self.disks = disks
    self.virtualDisks = virtualDisks
  }
}
