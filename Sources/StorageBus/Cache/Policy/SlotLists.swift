import BlockDevice

/// A few doubly linked lists over the same slots; a slot is in one list or in none. Every operation takes the same short time.
struct SlotLists: ~Copyable {
  // Not private: Swift 6.3 breaks over a private type as the element of a FlatArray in another file of a debug build.
  struct Links: BitwiseCopyable {
    var newer: UInt32
    var older: UInt32
  }

  /// By slot; behind the slots, each list's anchor, which closes the list to a ring.
  private var links: FlatArray<Links>
  /// By slot: its list plus one, or zero.
  private var membership: FlatArray<UInt8>
  private var counts: FlatArray<Int>
  private let capacity: Int

  init(capacity: Int, lists: Int) throws(BlockError) {
    let links = try FlatArray<Links>(count: capacity + lists)
    let membership = try FlatArray<UInt8>(count: capacity)
    let counts = try FlatArray<Int>(count: lists)
    self.capacity = capacity
    self.links = links
    self.membership = membership
    self.counts = counts
    for anchor in capacity..<capacity + lists { self.links[anchor] = Links(newer: UInt32(anchor), older: UInt32(anchor)) }
  }

  @inline(__always) func count(_ list: Int) -> Int { counts[list] }

  /// The list that the slot is in, or nil.
  @inline(__always) func list(of slot: Int) -> Int? {
    let list = membership[slot]
    return list == 0 ? nil : Int(list) - 1
  }

  /// The slot that was put in longest ago.
  @inline(__always) func oldest(of list: Int) -> Int? {
    let slot = Int(links[capacity + list].newer)
    return slot < capacity ? slot : nil
  }

  /// Puts a slot that is in no list in as the list's newest.
  @inline(__always) mutating func add(_ slot: Int, to list: Int) {
    assert(membership[slot] == 0)
    let anchor = capacity + list
    let newest = links[anchor].older
    links[slot] = Links(newer: UInt32(anchor), older: newest)
    links[Int(newest)].newer = UInt32(slot)
    links[anchor].older = UInt32(slot)
    membership[slot] = UInt8(list + 1)
    counts[list] += 1
  }

  /// Takes the slot out of the list it is in, if any.
  @inline(__always) mutating func remove(_ slot: Int) {
    guard let list = list(of: slot) else { return }
    let link = links[slot]
    links[Int(link.older)].newer = link.newer
    links[Int(link.newer)].older = link.older
    membership[slot] = 0
    counts[list] -= 1
  }

  /// Makes the slot the newest of a list, whatever list it was in.
  @inline(__always) mutating func move(_ slot: Int, to list: Int) {
    remove(slot)
    add(slot, to: list)
  }
}
