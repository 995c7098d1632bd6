import BlockDevice

/// Spaceport's own policy: does what the best of LRU, ARC and S3-FIFO would do, and finds out which that is while it runs.
///
/// All three orders are kept for the pages that are really in the cache; the one in charge names the victims. Beside them each policy
/// runs alone in a shadow, a directory without data that sees a sample of the pages (the same for all, chosen by hash) and is scaled down by
/// as much. Whose shadow had the most hits lately is in charge. So the choice costs little, can be changed at any miss, and moves no page.
struct AdaptiveOrder: EvictionOrder, ~Copyable {
  enum Expert: Int { case lru, arc, s3fifo }

  private var lru: LRUOrder
  private var arc: ARCOrder
  private var s3fifo: S3FIFOOrder
  private var lruShadow: PageDirectory<LRUOrder>
  private var arcShadow: PageDirectory<ARCOrder>
  private var s3fifoShadow: PageDirectory<S3FIFOOrder>
  /// By slot.
  private var pages: FlatArray<UInt64>
  private let sample: PageSample
  private var contest: Contest

  init(capacity: Int, hash: PageHash) throws(BlockError) {
    let slots = min(capacity, CacheLimits.shadowSlots)
    let lru = try LRUOrder(capacity: capacity, hash: hash)
    let arc = try ARCOrder(capacity: capacity, hash: hash)
    let s3fifo = try S3FIFOOrder(capacity: capacity, hash: hash)
    let lruShadow = try PageDirectory<LRUOrder>(capacity: slots, hash: hash)
    let arcShadow = try PageDirectory<ARCOrder>(capacity: slots, hash: hash)
    let s3fifoShadow = try PageDirectory<S3FIFOOrder>(capacity: slots, hash: hash)
    let pages = try FlatArray<UInt64>(count: capacity)
    self.lru = lru
    self.arc = arc
    self.s3fifo = s3fifo
    self.lruShadow = lruShadow
    self.arcShadow = arcShadow
    self.s3fifoShadow = s3fifoShadow
    self.pages = pages
    sample = PageSample(share: slots, of: capacity, hash: hash)
    contest = Contest(slots: slots)
  }

  /// The policy in charge.
  var expert: Expert { contest.leader }

  mutating func hit(_ slot: Int, page: UInt64) {
    use(slot, page: page)
    observe(page)
  }

  /// A shadow may have a page that the cache has not: there, too, the write is a use of it.
  mutating func wrote(_ slot: Int?, page: UInt64) {
    if let slot { use(slot, page: page) }
    guard sample.contains(page) else { return }
    lruShadow.write(page)
    arcShadow.write(page)
    s3fifoShadow.write(page)
  }

  private mutating func use(_ slot: Int, page: UInt64) {
    lru.hit(slot, page: page)
    arc.hit(slot, page: page)
    s3fifo.hit(slot, page: page)
  }

  mutating func announce(_ page: UInt64) {
    arc.announce(page)
    s3fifo.announce(page)
    observe(page)
  }

  /// What the leader would let go. After a change of the leader its order of the real pages is not what it would be had it always been in
  /// charge; its shadow's is. So a page of the sample that the shadow still has is spared, within bounds.
  mutating func victim(pins: borrowing PinCounts) -> Int? {
    var victim = leadersVictim(pins)
    for _ in 0..<CacheLimits.mostSpared {
      guard let slot = victim, sample.contains(pages[slot]), leaderKeeps(pages[slot]) else { break }
      spare(slot)
      victim = leadersVictim(pins)
    }
    return victim
  }

  mutating func spare(_ slot: Int) {
    switch contest.leader {
    case .lru: lru.spare(slot)
    case .arc: arc.spare(slot)
    case .s3fifo: s3fifo.spare(slot)
    }
  }

  private mutating func leadersVictim(_ pins: borrowing PinCounts) -> Int? {
    switch contest.leader {
    case .lru: lru.victim(pins: pins)
    case .arc: arc.victim(pins: pins)
    case .s3fifo: s3fifo.victim(pins: pins)
    }
  }

  private func leaderKeeps(_ page: UInt64) -> Bool {
    switch contest.leader {
    case .lru: lruShadow.frame(of: page) != nil
    case .arc: arcShadow.frame(of: page) != nil
    case .s3fifo: s3fifoShadow.frame(of: page) != nil
    }
  }

  mutating func insert(_ slot: Int, page: UInt64) {
    pages[slot] = page
    lru.insert(slot, page: page)
    arc.insert(slot, page: page)
    s3fifo.insert(slot, page: page)
  }

  mutating func remove(_ slot: Int, page: UInt64, isEvicted: Bool) {
    lru.remove(slot, page: page, isEvicted: isEvicted)
    arc.remove(slot, page: page, isEvicted: isEvicted)
    s3fifo.remove(slot, page: page, isEvicted: isEvicted)
    guard !isEvicted, sample.contains(page) else { return }
    lruShadow.remove(page)
    arcShadow.remove(page)
    s3fifoShadow.remove(page)
  }

  /// Shows a read page to the shadows.
  private mutating func observe(_ page: UInt64) {
    guard sample.contains(page) else { return }
    contest.note(
      lru: lruShadow.readThrough(page), arc: arcShadow.readThrough(page), s3fifo: s3fifoShadow.readThrough(page))
  }
}

/// Who had the most hits lately.
private struct Contest {
  /// As long as no page is read twice it looks like a scan or a loop: those S3-FIFO does best. At the first hit of all three ARC takes over:
  /// until one is seen to be ahead, what it keeps serves the others best.
  private(set) var leader = AdaptiveOrder.Expert.s3fifo
  private var hasBegun = false
  /// Hits in units of `one`, old ones fading away.
  private var lru = 0
  private var arc = 0
  private var s3fifo = 0
  private var reads = 0
  /// After so many reads an eighth of the scores fades.
  private let fadePeriod: Int
  /// By so much another must be ahead of the leader to take its place: less may be chance.
  private let lead: Int
  /// By so much more must ARC or LRU be ahead of S3-FIFO to take over from it: what S3-FIFO has kept through scans and loops comes back only a
  /// round later, so the change has to be worth about that. Less for LRU: what it keeps is soon there.
  private let arcRefill: Int
  private let lruRefill: Int

  private static var one: Int { 1024 }

  init(slots: Int) {
    fadePeriod = max(32, slots * CacheLimits.contestReadsPerSlot / 8)
    lead = Contest.one * (CacheLimits.contestLead + slots / CacheLimits.contestSlotsPerLead)
    arcRefill = Contest.one * slots / CacheLimits.contestARCRefillDivisor
    lruRefill = Contest.one * slots / CacheLimits.contestLRURefillDivisor
  }

  mutating func note(lru lruHit: Bool, arc arcHit: Bool, s3fifo s3fifoHit: Bool) {
    if lruHit { lru += Contest.one }
    if arcHit { arc += Contest.one }
    if s3fifoHit { s3fifo += Contest.one }
    reads += 1
    if !hasBegun && lruHit && arcHit && s3fifoHit {
      hasBegun = true
      leader = .arc
    }
    // What LRU keeps is what was read last: that is soon there again, whoever is in charge. What S3-FIFO keeps must be kept from its first
    // round on. So LRU saves up no lead over S3-FIFO.
    if leader == .lru { s3fifo = max(s3fifo, lru) }
    if lruHit != arcHit || arcHit != s3fifoHit { choose() }
    guard reads >= fadePeriod else { return }
    reads = 0
    lru -= lru / 8
    arc -= arc / 8
    s3fifo -= s3fifo / 8
  }

  /// The one that is furthest beyond the lead it needs; of equals S3-FIFO, then ARC.
  private mutating func choose() {
    let scoreToBeat = score(of: leader) + lead
    let lruExcess = lru - scoreToBeat - (leader == .s3fifo ? lruRefill : 0)
    let arcExcess = arc - scoreToBeat - (leader == .s3fifo ? arcRefill : 0)
    let s3fifoExcess = s3fifo - scoreToBeat
    let most = max(lruExcess, arcExcess, s3fifoExcess)
    guard most > 0 else { return }
    leader = s3fifoExcess == most ? .s3fifo : arcExcess == most ? .arc : .lru
  }

  private func score(of expert: AdaptiveOrder.Expert) -> Int {
    switch expert {
    case .lru: lru
    case .arc: arc
    case .s3fifo: s3fifo
    }
  }
}
