import BlockDevice

/// Finds the slot in which a page is: an open-addressing hash table of at most half load, with linear probing. The pages' numbers lie in
/// an array of the owner's, by slot; the table holds 32 bits of each page's hash beside the slot, so that it seldom looks there in vain.
struct PageIndex: ~Copyable {
  /// The hash's upper half above the slot's number plus one; zero where nothing is.
  private var entries: FlatArray<UInt64>
  private let mask: UInt64
  private let hash: PageHash

  init(capacity: Int, hash: PageHash) throws(BlockError) {
    self.hash = hash
    var size = 4
    while size < 2 * capacity { size *= 2 }
    entries = try FlatArray(count: size)
    mask = UInt64(size - 1)
  }

  @inline(__always) func slot(of page: UInt64, in pages: borrowing FlatArray<UInt64>) -> Int? {
    guard let position = position(of: page, in: pages) else { return nil }
    return slot(at: position)
  }

  /// The page must not be there yet.
  mutating func insert(_ page: UInt64, slot: Int) {
    let tag = hash(page) >> 32
    var position = tag & mask
    while entries[Int(position)] != 0 { position = (position + 1) & mask }
    entries[Int(position)] = tag << 32 | UInt64(slot + 1)
  }

  /// Takes the page out and closes the gap, so that there are never marks of what was.
  mutating func remove(_ page: UInt64, in pages: borrowing FlatArray<UInt64>) {
    guard var gap = position(of: page, in: pages) else { return }
    var position = gap
    while true {
      position = (position + 1) & mask
      let entry = entries[Int(position)]
      guard entry != 0 else { break }
      // It may move back to the gap if its own place does not lie between the two.
      let home = (entry >> 32) & mask
      if (position &- home) & mask >= (position &- gap) & mask {
        entries[Int(gap)] = entry
        gap = position
      }
    }
    entries[Int(gap)] = 0
  }

  @inline(__always) private func position(of page: UInt64, in pages: borrowing FlatArray<UInt64>) -> UInt64? {
    let tag = hash(page) >> 32
    var position = tag & mask
    while true {
      let entry = entries[Int(position)]
      if entry == 0 { return nil }
      if entry >> 32 == tag, pages[slot(at: position)] == page { return position }
      position = (position + 1) & mask
    }
  }

  /// The longest look that there can be at present, in entries. Looks at all.
  var longestLook: Int {
    var (longest, run) = (0, 0)
    // Twice around, for a run over the end.
    for position in 0..<2 * entries.count {
      run = entries[position % entries.count] == 0 ? 0 : run + 1
      longest = max(longest, run)
    }
    return longest + 1
  }

  @inline(__always) private func slot(at position: UInt64) -> Int { Int(entries[Int(position)] & 0xFFFF_FFFF) - 1 }
}
