import BlockDevice

/// Adaptive replacement (Megiddo and Modha, FAST 2003): pages read once and pages read again are kept apart, and how much of the cache the
/// former get follows from which of the lately evicted are asked for again.
struct ARCOrder: EvictionOrder, ~Copyable {
  /// The paper's T1 and T2, and as ghosts its B1 and B2.
  private static var once: Int { 0 }
  private static var again: Int { 1 }

  private var lists: SlotLists
  private var ghosts: GhostPages
  private let capacity: Int
  /// The paper's p: so many slots the pages read once should have.
  private(set) var target = 0
  /// The ghost list that the announced page was found in.
  private var origin: Int?

  init(capacity: Int, hash: PageHash) throws(BlockError) {
    let lists = try SlotLists(capacity: capacity, lists: 2)
    let ghosts = try GhostPages(capacity: capacity + 1, lists: 2, hash: hash)
    self.capacity = capacity
    self.lists = lists
    self.ghosts = ghosts
  }

  mutating func hit(_ slot: Int, page: UInt64) { lists.move(slot, to: ARCOrder.again) }

  mutating func announce(_ page: UInt64) {
    let (onceGhosts, againGhosts) = (ghosts.count(ARCOrder.once), ghosts.count(ARCOrder.again))
    origin = ghosts.take(page)
    if origin == ARCOrder.once {
      target = min(capacity, target + max(1, againGhosts / onceGhosts))
    } else if origin == ARCOrder.again {
      target = max(0, target - max(1, onceGhosts / againGhosts))
    }
  }

  mutating func victim(pins: borrowing PinCounts) -> Int? {
    let once = lists.count(ARCOrder.once)
    let takesOnce = once > 0 && (once > target || (once == target && origin == ARCOrder.again))
    let first = takesOnce ? ARCOrder.once : ARCOrder.again
    return lists.oldestUnpinned(of: first, pins) ?? lists.oldestUnpinned(of: 1 - first, pins)
  }

  mutating func spare(_ slot: Int) {
    if let list = lists.list(of: slot) { lists.move(slot, to: list) }
  }

  mutating func insert(_ slot: Int, page: UInt64) {
    lists.add(slot, to: origin == nil ? ARCOrder.once : ARCOrder.again)
    origin = nil
    // Pages read once, with their ghosts, are at most as many as slots; all together twice as many.
    while lists.count(ARCOrder.once) + ghosts.count(ARCOrder.once) > capacity, ghosts.count(ARCOrder.once) > 0 {
      ghosts.dropOldest(of: ARCOrder.once)
    }
    let pages = lists.count(ARCOrder.once) + lists.count(ARCOrder.again)
    while pages + ghosts.count(ARCOrder.once) + ghosts.count(ARCOrder.again) > 2 * capacity {
      ghosts.dropOldest(of: ghosts.count(ARCOrder.again) > 0 ? ARCOrder.again : ARCOrder.once)
    }
  }

  mutating func remove(_ slot: Int, page: UInt64, isEvicted: Bool) {
    guard let list = lists.list(of: slot) else { return }
    lists.remove(slot)
    if isEvicted { ghosts.add(page, to: list) }
  }
}
