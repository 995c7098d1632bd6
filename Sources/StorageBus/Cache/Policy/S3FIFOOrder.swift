import BlockDevice

/// S3-FIFO (Yang and others, SOSP 2023): new pages pass a small queue, a tenth of the cache; those read at least twice in it go on to the
/// main queue, the others leave and are remembered for a while: asked for again, they enter the main queue at once. There a page that was
/// read since it last came to the end goes round again.
struct S3FIFOOrder: EvictionOrder, ~Copyable {
  private static var small: Int { 0 }
  private static var main: Int { 1 }
  private static var mostReads: UInt8 { 3 }
  private static var readsToStay: UInt8 { 2 }

  private var lists: SlotLists
  private var reads: FlatArray<UInt8>
  private var ghosts: GhostPages
  private let smallTarget: Int
  private var isRemembered = false

  init(capacity: Int, hash: PageHash) throws(BlockError) {
    smallTarget = max(1, capacity / 10)
    let lists = try SlotLists(capacity: capacity, lists: 2)
    let reads = try FlatArray<UInt8>(count: capacity)
    let ghosts = try GhostPages(capacity: max(1, capacity - smallTarget), lists: 1, hash: hash)
    self.lists = lists
    self.reads = reads
    self.ghosts = ghosts
  }

  mutating func hit(_ slot: Int, page: UInt64) { reads[slot] = min(S3FIFOOrder.mostReads, reads[slot] + 1) }

  mutating func announce(_ page: UInt64) { isRemembered = ghosts.take(page) != nil }

  mutating func victim(pins: borrowing PinCounts) -> Int? {
    // Each step takes a page on to the main queue or lowers its count of reads, or meets a pin; so there is an end to it.
    var steps = 0
    let mostSteps = 5 * (lists.count(S3FIFOOrder.small) + lists.count(S3FIFOOrder.main))
    while steps < mostSteps {
      steps += 1
      let small = lists.count(S3FIFOOrder.small)
      let isSmallsTurn = small > 0 && (small >= smallTarget || lists.count(S3FIFOOrder.main) == 0)
      guard let slot = lists.oldest(of: isSmallsTurn ? S3FIFOOrder.small : S3FIFOOrder.main) else { return nil }
      if pins[slot] > 0 {
        lists.move(slot, to: S3FIFOOrder.main)
      } else if isSmallsTurn {
        guard reads[slot] >= S3FIFOOrder.readsToStay else { return slot }
        reads[slot] = 0
        lists.move(slot, to: S3FIFOOrder.main)
      } else {
        guard reads[slot] > 0 else { return slot }
        reads[slot] -= 1
        lists.move(slot, to: S3FIFOOrder.main)
      }
    }
    return nil
  }

  mutating func spare(_ slot: Int) {
    lists.move(slot, to: S3FIFOOrder.main)
  }

  mutating func insert(_ slot: Int, page: UInt64) {
    reads[slot] = 0
    lists.add(slot, to: isRemembered ? S3FIFOOrder.main : S3FIFOOrder.small)
    isRemembered = false
  }

  mutating func remove(_ slot: Int, page: UInt64, isEvicted: Bool) {
    if isEvicted, lists.list(of: slot) == S3FIFOOrder.small { ghosts.add(page, to: 0) }
    lists.remove(slot)
  }
}
