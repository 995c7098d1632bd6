/// Finds a record by its key: an open-addressing table of 32-bit places, 4 bytes a slot. The keys themselves stay in the page images, so
/// millions of records cost some 6 to 11 bytes each.
struct RecordIndex {
  /// A page number and an offset in it, in units of 8 bytes.
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

  private var slots: [UInt32]
  private var removedCount = 0
  private(set) var count = 0
  /// Keys come from disks, which may be anyone's: without a secret a disk could be made whose keys all collide.
  private let secret: UInt64

  init(secret: UInt64) {
    self.secret = secret
    slots = [UInt32](repeating: RecordIndex.empty, count: 1024)
  }

  @inline(__always)
  private func hash(_ kind: UInt16, _ first: UInt64, _ second: UInt64) -> Int {
    func mix(_ value: UInt64) -> UInt64 {  // the finaliser of SplitMix64
      var z = value
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
    let mixed = mix(mix(first ^ secret) ^ second &+ UInt64(kind) &* 0x9e37_79b9_7f4a_7c15)
    return Int(truncatingIfNeeded: mixed & UInt64(slots.count - 1))
  }

  @inline(__always) private func hash(_ key: RecordKey) -> Int { hash(key.kind.rawValue, key.first, key.second) }

  /// The place of `key`; `view` shows the record at a place.
  @inline(__always)
  func find(_ key: RecordKey, view: (Place) -> RecordView) -> Place? {
    var slot = hash(key)
    while slots[slot] != RecordIndex.empty {
      if slots[slot] != RecordIndex.removed {
        let place = Place(rawValue: slots[slot])
        let record = view(place)
        if record.first == key.first && record.second == key.second && record.kind == key.kind.rawValue { return place }
      }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  /// Adds a key that is not there.
  mutating func insert(_ key: RecordKey, at place: Place, view: (Place) -> RecordView) {
    if (count + removedCount + 1) * 4 > slots.count * 3 { rehash(view) }
    var slot = hash(key)
    while slots[slot] > RecordIndex.removed { slot = (slot + 1) & (slots.count - 1) }
    if slots[slot] == RecordIndex.removed { removedCount -= 1 }
    slots[slot] = place.rawValue
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
    if let slot = slot(of: key, old) { slots[slot] = new.rawValue }
  }

  private func slot(of key: RecordKey, _ place: Place) -> Int? {
    var slot = hash(key)
    while slots[slot] != RecordIndex.empty {
      if slots[slot] == place.rawValue { return slot }
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
      let record = view(Place(rawValue: value))
      var slot = hash(record.kind, record.first, record.second)
      while slots[slot] != RecordIndex.empty { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = value
    }
  }
}
