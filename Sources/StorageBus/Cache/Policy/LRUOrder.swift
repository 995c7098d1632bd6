import BlockDevice

/// Least recently used goes first.
struct LRUOrder: EvictionOrder, ~Copyable {
  private var lists: SlotLists

  init(capacity: Int, hash: PageHash) throws(BlockError) { lists = try SlotLists(capacity: capacity, lists: 1) }

  mutating func hit(_ slot: Int, page: UInt64) { lists.move(slot, to: 0) }
  mutating func announce(_ page: UInt64) {}
  mutating func victim(pins: borrowing PinCounts) -> Int? { lists.oldestUnpinned(of: 0, pins) }
  mutating func spare(_ slot: Int) { lists.move(slot, to: 0) }
  mutating func insert(_ slot: Int, page: UInt64) { lists.add(slot, to: 0) }
  mutating func remove(_ slot: Int, page: UInt64, isEvicted: Bool) { lists.remove(slot) }
}
