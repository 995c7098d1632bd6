import BlockDevice

/// Whether a page that was read and missed comes into the cache.
public enum CacheAdmission: String, CaseIterable, Sendable {
  /// As Windows does by default: reads of up to 64 KiB at their first miss, larger ones at the second within ten minutes, sequential
  /// runs longer than 32 KiB never.
  case windows
  /// Every page.
  case all
}

/// What became of a missed page, and why: the reasons that are counted.
public enum AdmissionDecision: UInt8, CaseIterable, Sendable {
  /// At its first miss.
  case admitted
  /// The read was large, but missed the page for the second time.
  case secondMiss
  /// The read is part of a sequential run.
  case bypassedSequential
  /// The read was large, and it was the first miss of this page.
  case bypassedLarge

  public var isAdmitted: Bool { self == .admitted || self == .secondMiss }
}

/// The admission rule with what it remembers: bounded, and allocated at the start.
struct AdmissionFilter: ~Copyable {
  let rule: CacheAdmission
  private var streams: StreamTable
  private var misses: RecentMisses

  init(rule: CacheAdmission, hash: PageHash) throws(BlockError) {
    let isNeeded = rule == .windows
    let streams = try StreamTable(capacity: isNeeded ? CacheLimits.streams : 0)
    let misses = try RecentMisses(capacity: isNeeded ? CacheLimits.rememberedMisses : 0, hash: hash)
    self.rule = rule
    self.streams = streams
    self.misses = misses
  }

  /// To be told of every read, hit or miss, so that runs are seen whole.
  /// - Parameters:
  ///   - stream: what the offsets belong to, a virtual disk or a disk.
  ///   - offset: bytes; with byteCount within 2^63.
  /// - Returns: whether the read is part of a sequential run that passes the cache by.
  @inline(__always) mutating func noteRead(stream: UInt32, offset: UInt64, byteCount: UInt64) -> Bool {
    guard rule == .windows else { return false }
    return streams.continueRun(stream: stream, offset: offset, byteCount: byteCount) > CacheLimits.sequentialByteCount
  }

  /// - Parameters:
  ///   - byteCount: of the whole read.
  ///   - isSequential: what `noteRead` said of it.
  ///   - microseconds: the time; never falls.
  mutating func decide(page: UInt64, byteCount: UInt64, isSequential: Bool, at microseconds: UInt64) -> AdmissionDecision {
    guard rule == .windows else { return .admitted }
    if isSequential { return .bypassedSequential }
    if byteCount <= CacheLimits.firstMissByteCount { return .admitted }
    return misses.isSecond(page, at: microseconds) ? .secondMiss : .bypassedLarge
  }
}

/// Sequential runs: where each would go on, and how long it is. A read that goes on where an earlier one ended belongs to its run.
struct StreamTable: ~Copyable {
  // Not private: see SlotLists.Links.
  struct Run: BitwiseCopyable {
    var stream: UInt32
    var next: UInt64
    var byteCount: UInt64
    /// Zero in an unused entry.
    var lastUse: UInt64
  }

  private var runs: FlatArray<Run>
  private var uses: UInt64 = 0

  init(capacity: Int) throws(BlockError) {
    runs = try FlatArray(count: capacity)
  }

  /// - Returns: the length of the run with this read in bytes, or 0 if the read goes on from none; then it begins one, in place of
  ///   the run that was longest without a read.
  mutating func continueRun(stream: UInt32, offset: UInt64, byteCount: UInt64) -> UInt64 {
    uses += 1
    var stalest = 0
    for entry in 0..<runs.count {
      var run = runs[entry]
      if run.lastUse > 0, run.next == offset, run.stream == stream {
        run.next = offset &+ byteCount
        run.byteCount &+= byteCount
        run.lastUse = uses
        runs[entry] = run
        return run.byteCount
      }
      if run.lastUse < runs[stalest].lastUse { stalest = entry }
    }
    runs[stalest] = Run(stream: stream, next: offset &+ byteCount, byteCount: byteCount, lastUse: uses)
    return 0
  }
}

/// Pages that large reads missed lately, the oldest forgotten first.
struct RecentMisses: ~Copyable {
  private var pages: FlatArray<UInt64>
  private var times: FlatArray<UInt64>
  private var index: PageIndex
  private let capacity: Int
  /// The entries are a ring: the next one to be taken, and how many are.
  private var next = 0
  private var count = 0

  init(capacity: Int, hash: PageHash) throws(BlockError) {
    let pages = try FlatArray<UInt64>(count: capacity)
    let times = try FlatArray<UInt64>(count: capacity)
    let index = try PageIndex(capacity: capacity, hash: hash)
    self.capacity = capacity
    self.pages = pages
    self.times = times
    self.index = index
  }

  /// Whether the page was missed within the last ten minutes; else it is from now on remembered.
  mutating func isSecond(_ page: UInt64, at microseconds: UInt64) -> Bool {
    if let entry = index.slot(of: page, in: pages) {
      let isRecent = microseconds - min(microseconds, times[entry]) <= CacheLimits.secondMissMicroseconds
      times[entry] = microseconds
      return isRecent
    }
    if count == capacity { index.remove(pages[next], in: pages) } else { count += 1 }
    pages[next] = page
    times[next] = microseconds
    index.insert(page, slot: next)
    next = next + 1 == capacity ? 0 : next + 1
    return false
  }
}
