import BlockDevice

/// What hit ratio another size of the cache would give: the same policy run without data, for several sizes at once, on a sample of the
/// pages small enough that it takes a few hundred KiB and a few nanoseconds per read.
struct CacheAdvice: ~Copyable {
  /// Sizes in relation to the cache's, as ratios of hits to reads.
  struct Ratios {
    var half: Double
    var same: Double
    var twice: Double
    var fourTimes: Double
  }

  private let sample: PageSample
  private var half: PageDirectory<AdaptiveOrder>
  private var same: PageDirectory<AdaptiveOrder>
  private var twice: PageDirectory<AdaptiveOrder>
  private var fourTimes: PageDirectory<AdaptiveOrder>
  private var hits: FlatArray<UInt64>
  private var reads: UInt64 = 0
  private let fadePeriod: UInt64

  /// - Parameter capacity: the cache's, in frames.
  init(capacity: Int, hash: PageHash) throws(BlockError) {
    let slots = min(capacity, CacheLimits.adviceSlots)
    sample = PageSample(share: slots, of: capacity, hash: hash)
    let half = try PageDirectory<AdaptiveOrder>(capacity: max(1, slots / 2), hash: hash)
    let same = try PageDirectory<AdaptiveOrder>(capacity: slots, hash: hash)
    let twice = try PageDirectory<AdaptiveOrder>(capacity: slots * 2, hash: hash)
    let fourTimes = try PageDirectory<AdaptiveOrder>(capacity: slots * 4, hash: hash)
    let hits = try FlatArray<UInt64>(count: 4)
    self.half = half
    self.same = same
    self.twice = twice
    self.fourTimes = fourTimes
    self.hits = hits
    fadePeriod = UInt64(slots) * CacheLimits.adviceReadsPerSlot
  }

  /// To be told of every page read that is in the cache or is admitted.
  @inline(__always) mutating func note(_ page: UInt64) {
    guard sample.contains(page) else { return }
    observe(page)
  }

  private mutating func observe(_ page: UInt64) {
    reads += 1
    if half.readThrough(page) { hits[0] += 1 }
    if same.readThrough(page) { hits[1] += 1 }
    if twice.readThrough(page) { hits[2] += 1 }
    if fourTimes.readThrough(page) { hits[3] += 1 }
    // What was long ago counts less and less.
    guard reads >= fadePeriod else { return }
    reads /= 2
    for size in 0..<4 { hits[size] /= 2 }
  }

  /// The page became invalid.
  mutating func remove(_ page: UInt64) {
    guard sample.contains(page) else { return }
    half.remove(page)
    same.remove(page)
    twice.remove(page)
    fourTimes.remove(page)
  }

  /// Nil before the first read of the sample.
  var ratios: Ratios? {
    guard reads > 0 else { return nil }
    func ratio(_ size: Int) -> Double { Double(hits[size]) / Double(reads) }
    return Ratios(half: ratio(0), same: ratio(1), twice: ratio(2), fourTimes: ratio(3))
  }
}
