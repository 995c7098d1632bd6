/// Deals the slabs of a pool's disks. It holds what is taken; whether that is durable is the business of who asks.
///
/// A row's slabs lie on different disks. Dealing always from the disks with the most free slabs keeps the disks equally full in the end,
/// and strands nothing that another deal would use: with `n` columns, capacity is stranded only where fewer than `n` disks have any left.
public struct SlabAllocator {
  public typealias Dealt = (disk: DiskNumber, slab: SlabNumber)

  private struct Disk {
    var number: DiskNumber
    /// Slabs are dealt from it: it is there, and not being emptied.
    var isDealing = true
    var words: [UInt64]
    var slabCount: Int
    var freeCount: Int
    /// No word before this one has a free slab.
    var firstCandidate = 0
  }

  private var disks: [Disk] = []

  public init() {}

  public mutating func addDisk(_ number: DiskNumber, slabCount: Int) {
    var words = [UInt64](repeating: 0, count: (slabCount + 63) / 64)
    // Bits behind the last slab are taken for ever.
    if slabCount % 64 != 0 { words[words.count - 1] = ~UInt64(0) << UInt64(slabCount % 64) }
    disks.append(Disk(number: number, words: words, slabCount: slabCount, freeCount: slabCount))
  }

  public var totalSlabCount: Int { disks.reduce(0) { $0 + $1.slabCount } }
  public var freeSlabCount: Int { disks.reduce(0) { $0 + ($1.isDealing ? $1.freeCount : 0) } }
  public func freeSlabCount(of number: DiskNumber) -> Int { disks.first { $0.number == number }?.freeCount ?? 0 }

  public func slabCount(of number: DiskNumber) -> Int { disks.first { $0.number == number }?.slabCount ?? 0 }

  /// Marks a slab that the metadata says is in use. False when there is no such slab or it is taken already.
  public mutating func take(_ slab: SlabNumber, on number: DiskNumber) -> Bool {
    guard let index = disks.firstIndex(where: { $0.number == number }), Int(slab.value) < disks[index].slabCount else { return false }
    let position = Int(slab.value)
    let bit = UInt64(1) << UInt64(position & 63)
    if disks[index].words[position >> 6] & bit != 0 { return false }
    disks[index].words[position >> 6] |= bit
    disks[index].freeCount -= 1
    return true
  }

  /// Whether slabs are dealt from a disk.
  public mutating func setDealing(from number: DiskNumber, _ isDealing: Bool) {
    for index in disks.indices where disks[index].number == number { disks[index].isDealing = isDealing }
  }

  /// A disk that left the pool for good.
  public mutating func removeDisk(_ number: DiskNumber) { disks.removeAll { $0.number == number } }

  /// The slabs of one row, each on another disk, in the order of their places: `column * copies + copy`. Nil when fewer disks than columns
  /// have any left. Of a row for whose copies there are too few disks at present the last copies are nil; where the pool is merely full
  /// (there are disks enough, with too little room) nothing is dealt.
  public mutating func allocate(columns: Int, copies: Int = 1, without excluded: Set<DiskNumber> = []) -> [Dealt?]? {
    let dealing = disks.indices.filter { disks[$0].isDealing }
    let candidates = dealing.filter { disks[$0].freeCount > 0 && !excluded.contains(disks[$0].number) }
    let wanted = columns * copies
    guard candidates.count >= min(wanted, max(columns, dealing.count)) else { return nil }
    // By free slabs, not by fraction: it is what strands nothing when disks are unequal.
    let chosen = candidates.sorted { (disks[$1].freeCount, $0) < (disks[$0].freeCount, $1) }.prefix(wanted)
    var dealt = [Dealt?](repeating: nil, count: wanted)
    for (order, index) in chosen.enumerated() {
      let (copy, column) = order.quotientAndRemainder(dividingBy: columns)
      dealt[column * copies + copy] = (disks[index].number, takeFirstFree(on: index))
    }
    return dealt
  }

  /// One slab on the emptiest of `allowed`, spares among them; nil when none has any.
  public mutating func allocateSlab(on allowed: Set<DiskNumber>) -> Dealt? {
    let candidates = disks.indices.filter { disks[$0].freeCount > 0 && allowed.contains(disks[$0].number) }
    guard let index = candidates.max(by: { (disks[$0].freeCount, $1) < (disks[$1].freeCount, $0) }) else { return nil }
    return (disks[index].number, takeFirstFree(on: index))
  }

  private mutating func takeFirstFree(on index: Int) -> SlabNumber {
    var word = disks[index].firstCandidate
    while disks[index].words[word] == .max { word += 1 }
    let bit = (~disks[index].words[word]).trailingZeroBitCount
    disks[index].words[word] |= 1 << UInt64(bit)
    disks[index].firstCandidate = word
    disks[index].freeCount -= 1
    return SlabNumber(UInt32(word * 64 + bit))
  }

  public mutating func release(_ slab: SlabNumber, on number: DiskNumber) {
    guard let index = disks.firstIndex(where: { $0.number == number }) else { return }
    let position = Int(slab.value)
    let bit = UInt64(1) << UInt64(position & 63)
    assert(disks[index].words[position >> 6] & bit != 0, "a free slab was released")
    disks[index].words[position >> 6] &= ~bit
    disks[index].freeCount += 1
    disks[index].firstCandidate = min(disks[index].firstCandidate, position >> 6)
  }

  /// How many rows of `columns` could still be dealt.
  public func rowsAvailable(columns: Int) -> Int {
    // The most rows r such that the disks can give r slabs each to `columns` rows at once: sum of min(free, r) >= r * columns.
    var low = 0
    var high = freeSlabCount / max(columns, 1)
    while low < high {
      let middle = (low + high + 1) / 2
      let given = disks.reduce(0) { $0 + ($1.isDealing ? min($1.freeCount, middle) : 0) }
      if given >= middle * columns { low = middle } else { high = middle - 1 }
    }
    return low
  }
}
