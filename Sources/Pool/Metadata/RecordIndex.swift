/// Finds a record by its key: an open-addressing table of 32-bit slots. The keys themselves stay in the page images, so millions of records
/// cost some 5 to 9 bytes each. A slot holds a place, of 27 bits, and 5 bits of the key's hash: whoever looks for a key nearly never has to
/// look at another's record, which would be a cache miss each, so the table may be fairly full.
struct RecordIndex {
  /// A page number and an offset in it, in units of 8 bytes. Pages are fewer than 2^16 (`FormatLimits.pageCount`).
  struct Place: Equatable {
    let rawValue: UInt32
    @inline(__always) init(rawValue: UInt32) { self.rawValue = rawValue }
    @inline(__always) init(page: Int, offset: Int) {
      rawValue = UInt32(truncatingIfNeeded: page << 11 | offset >> 3)
    }
    var page: Int { Int(rawValue >> 11) }
    var offset: Int { Int(rawValue & 2047) << 3 }
  }

  // Offsets 0 and 8 lie in a page's header: never a record's.
  private static let empty: UInt32 = 0
  private static let removed: UInt32 = 1

  private static let placeBits: UInt32 = 27
  private static let placeMask: UInt32 = 1 << placeBits - 1

  private var slots: [UInt32]
  private var removedCount = 0
  private(set) var count = 0
  /// Keys come from disks, which may be anyone's: without a secret a disk could be made whose keys all collide.
  private let secret: UInt64

  init(secret: UInt64) {
    self.secret = secret
    slots = [UInt32](repeating: RecordIndex.empty, count: 1024)
  }

  /// Where the search for a key begins, and its bits in a slot.
  private struct Hash {
    var slot: Int
    var tag: UInt32
  }

  @inline(__always)
  private func hash(_ kind: UInt16, _ first: UInt64, _ second: UInt64) -> Hash {
    func mix(_ value: UInt64) -> UInt64 {  // the finaliser of SplitMix64
      var z = value
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
    let mixed = mix(mix(first ^ secret) ^ second &+ UInt64(kind) &* 0x9e37_79b9_7f4a_7c15)
    return Hash(
      slot: Int(truncatingIfNeeded: mixed & UInt64(slots.count - 1)),
      tag: UInt32(truncatingIfNeeded: mixed >> 59) << RecordIndex.placeBits)
  }

  @inline(__always) private func hash(_ key: RecordKey) -> Hash { hash(key.kind.rawValue, key.first, key.second) }

  /// The slot of `key`, or nil; `view` shows the record at a place.
  @inline(__always)
  private func search(_ hash: Hash, _ key: RecordKey, view: (Place) -> RecordView) -> Int? {
    var slot = hash.slot
    while slots[slot] != RecordIndex.empty {
      if slots[slot] & ~RecordIndex.placeMask == hash.tag && slots[slot] != RecordIndex.removed {
        let record = view(place(in: slot))
        if record.first == key.first && record.second == key.second && record.kind == key.kind.rawValue { return slot }
      }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  @inline(__always)
  private func place(in slot: Int) -> Place { Place(rawValue: slots[slot] & RecordIndex.placeMask) }

  /// The place of `key`; `view` shows the record at a place.
  @inline(__always)
  func find(_ key: RecordKey, view: (Place) -> RecordView) -> Place? { search(hash(key), key, view: view).map(place(in:)) }

  /// Makes room for so many records, so that adding them costs no rehashing.
  mutating func reserve(_ capacity: Int) {
    assert(count == 0, "only of an empty index")
    var size = slots.count
    while capacity * 8 > size * 7 { size *= 2 }
    if size > slots.count { slots = [UInt32](repeating: RecordIndex.empty, count: size) }
  }

  /// Adds a key unless it is there; whether it was not.
  mutating func insertIfAbsent(_ key: RecordKey, at place: Place, view: (Place) -> RecordView) -> Bool {
    if find(key, view: view) != nil { return false }
    insert(key, at: place, view: view)
    return true
  }

  /// Adds a key that is not there.
  mutating func insert(_ key: RecordKey, at place: Place, view: (Place) -> RecordView) {
    if (count + removedCount + 1) * 8 > slots.count * 7 { rehash(view) }
    let hash = hash(key)
    var slot = hash.slot
    while slots[slot] > RecordIndex.removed { slot = (slot + 1) & (slots.count - 1) }
    if slots[slot] == RecordIndex.removed { removedCount -= 1 }
    slots[slot] = hash.tag | place.rawValue
    count += 1
  }

  mutating func remove(_ key: RecordKey, at place: Place) {
    guard let slot = slot(of: key, place) else { return }
    slots[slot] = RecordIndex.removed
    removedCount += 1
    count -= 1
  }

  /// A record was moved within its page.
  mutating func move(_ key: RecordKey, from old: Place, to new: Place) {
    if let slot = slot(of: key, old) { slots[slot] = slots[slot] & ~RecordIndex.placeMask | new.rawValue }
  }

  private func slot(of key: RecordKey, _ place: Place) -> Int? {
    let hash = hash(key)
    var slot = hash.slot
    while slots[slot] != RecordIndex.empty {
      if slots[slot] == hash.tag | place.rawValue { return slot }
      slot = (slot + 1) & (slots.count - 1)
    }
    assertionFailure("a record that is in a page is in the index")
    return nil
  }

  private mutating func rehash(_ view: (Place) -> RecordView) {
    let old = slots
    let capacity = (count + 1) * 2 > slots.count ? slots.count * 2 : slots.count
    slots = [UInt32](repeating: RecordIndex.empty, count: capacity)
    removedCount = 0
    for value in old where value > RecordIndex.removed {
      let record = view(Place(rawValue: value & RecordIndex.placeMask))
      var slot = hash(record.kind, record.first, record.second).slot
      while slots[slot] != RecordIndex.empty { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = value
    }
  }
}
