import BlockDevice

/// The numbers of pages that are not in the cache, but were lately: a bounded directory of one or more lists, each in the order in which
/// its pages came.
struct GhostPages: ~Copyable {
  private var pages: FlatArray<UInt64>
  private var index: PageIndex
  /// The ghosts' lists, and behind them the list of slots that are free again.
  private var lists: SlotLists
  private let freeList: Int
  private let capacity: Int
  /// Slots from here on were never used.
  private var fresh = 0

  init(capacity: Int, lists count: Int, hash: PageHash) throws(BlockError) {
    let pages = try FlatArray<UInt64>(count: capacity)
    let index = try PageIndex(capacity: capacity, hash: hash)
    let lists = try SlotLists(capacity: capacity, lists: count + 1)
    self.capacity = capacity
    self.pages = pages
    self.index = index
    self.lists = lists
    freeList = count
  }

  func count(_ list: Int) -> Int { lists.count(list) }

  /// Takes a page out. Returns the list it was in, or nil if it was in none.
  mutating func take(_ page: UInt64) -> Int? {
    guard let slot = index.slot(of: page, in: pages) else { return nil }
    let list = lists.list(of: slot)
    free(slot)
    return list
  }

  /// Adds a page that is not there. When all slots are taken, the oldest of the same list goes, else nothing is added.
  mutating func add(_ page: UInt64, to list: Int) {
    if fresh == capacity && lists.oldest(of: freeList) == nil { dropOldest(of: list) }
    guard let slot = freeSlot() else { return }
    pages[slot] = page
    index.insert(page, slot: slot)
    lists.move(slot, to: list)
  }

  private mutating func freeSlot() -> Int? {
    if fresh == capacity { return lists.oldest(of: freeList) }
    fresh += 1
    return fresh - 1
  }

  mutating func dropOldest(of list: Int) {
    if let slot = lists.oldest(of: list) { free(slot) }
  }

  private mutating func free(_ slot: Int) {
    index.remove(pages[slot], in: pages)
    lists.move(slot, to: freeList)
  }
}
