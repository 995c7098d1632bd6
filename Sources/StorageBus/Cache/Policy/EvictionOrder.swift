import BlockDevice

/// What an eviction policy knows of the pages in a cache, by the slots they are in: the order in which they should go. The directory
/// (`PageDirectory`) says which page is where and tells the order what happens; several orders can follow one directory.
///
/// A page that comes in is announced (`announce`), then room is made for it (`victim`, `remove`), then it is put in (`insert`).
protocol EvictionOrder: ~Copyable {
  /// - Parameters:
  ///   - capacity: the number of slots.
  ///   - hash: the directory's.
  /// - Throws: `.noMemory`.
  init(capacity: Int, hash: PageHash) throws(BlockError)

  /// The page in this slot was read.
  mutating func hit(_ slot: Int, page: UInt64)

  /// A page was written: the one in this slot, which takes the new content, or with nil one that is not in the cache and stays out.
  mutating func wrote(_ slot: Int?, page: UInt64)

  /// A page that is not in the cache was read and is about to come in: the time to learn from ghosts.
  mutating func announce(_ page: UInt64)

  /// The slot to be freed for the announced page, or nil if all are pinned.
  mutating func victim(pins: borrowing PinCounts) -> Int?

  /// The victim named last is not to go, but is as good as new.
  mutating func spare(_ slot: Int)

  mutating func insert(_ slot: Int, page: UInt64)

  /// - Parameter isEvicted: whether it made room for another, not: whether it became invalid.
  mutating func remove(_ slot: Int, page: UInt64, isEvicted: Bool)
}

extension EvictionOrder where Self: ~Copyable {
  @inline(__always) mutating func wrote(_ slot: Int?, page: UInt64) {
    if let slot { hit(slot, page: page) }
  }
}

/// How many users each slot has. A slot with users is never a victim.
typealias PinCounts = FlatArray<UInt16>

extension SlotLists {
  /// The oldest slot of a list that is not pinned. Pinned ones met on the way are in use, hence as good as new: they become the newest, so
  /// that they are not met again soon.
  @inline(__always) mutating func oldestUnpinned(of list: Int, _ pins: borrowing PinCounts) -> Int? {
    for _ in 0..<count(list) {
      guard let slot = oldest(of: list) else { return nil }
      if pins[slot] == 0 { return slot }
      move(slot, to: list)
    }
    return nil
  }
}
