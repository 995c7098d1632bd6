import BlockDevice
import Glibc
import Testing

@testable import StorageBus

/// The directory's promises under reads, fills, removals and pins in any order.
@Suite struct DirectoryTests {
  @Test(arguments: [2, 3, 64, 500]) func promisesHold(capacity: Int) throws {
    check(try PageDirectory<LRUOrder>(capacity: capacity, hash: PageHash(seed: 1)))
    check(try PageDirectory<ARCOrder>(capacity: capacity, hash: PageHash(seed: 1)))
    check(try PageDirectory<S3FIFOOrder>(capacity: capacity, hash: PageHash(seed: 1)))
    check(try PageDirectory<AdaptiveOrder>(capacity: capacity, hash: PageHash(seed: 1)))
  }

  /// A page is where the model says, a frame has one page, and a frame in use is given to no other.
  private func check<Order: EvictionOrder & ~Copyable>(_ directory: consuming PageDirectory<Order>) {
    let capacity = directory.capacity
    var directory = directory
    var random = TestRandom(seed: UInt64(capacity))
    var frames: [UInt64: Int] = [:]
    var pinned: [(frame: Int, page: UInt64)] = []
    for _ in 0..<100_000 {
      let page = random.below(UInt64(capacity) * 3)
      switch random.below(8) {
      case 0:
        let wasThere = directory.remove(page)
        #expect(wasThere == (frames.removeValue(forKey: page) != nil))
      case 1 where !pinned.isEmpty:
        directory.unpin(pinned.remove(at: Int(random.below(UInt64(pinned.count)))).frame)
      default:
        if let frame = directory.read(page) {
          guard frames[page] == frame else {
            Issue.record("page \(page) is said to be in frame \(frame)")
            return
          }
          if pinned.count < capacity / 2, random.below(16) == 0 {
            directory.pin(frame)
            pinned.append((frame, page))
          }
        } else {
          #expect(frames[page] == nil)
          guard let insertion = directory.insert(page) else {
            #expect(!pinned.isEmpty)
            continue
          }
          if let evicted = insertion.evicted { #expect(frames.removeValue(forKey: evicted) == insertion.frame) }
          #expect(!pinned.contains { $0.frame == insertion.frame }, "a frame in use was given away")
          frames[page] = insertion.frame
          if pinned.count < capacity / 2, random.below(16) == 0 {
            pinned.append((insertion.frame, page))
          } else {
            directory.unpin(insertion.frame)
          }
        }
      }
      let count = directory.count
      #expect(count == frames.count)
    }
    #expect(Set(frames.values).count == frames.count)
    for (page, frame) in frames {
      let found = directory.frame(of: page)
      #expect(found == frame)
    }
  }

  @Test func aRemovedPageInUseKeepsItsFrame() throws {
    var directory = try PageDirectory<AdaptiveOrder>(capacity: 2, hash: PageHash(seed: 1))
    let first = directory.insert(7)
    let frame = try #require(first).frame
    directory.remove(7)
    let found = directory.frame(of: 7)
    #expect(found == nil)
    let isHeld = directory.holds(7, in: frame)
    #expect(!isHeld)
    let second = directory.insert(7)
    #expect(try #require(second).frame != frame)
    let third = directory.insert(8)
    #expect(third == nil, "both frames are in use")
    directory.unpin(frame)
    let fourth = directory.insert(8)
    #expect(try #require(fourth).frame == frame)
  }

  /// 700 MB, were all of it used.
  @Test func aLargeDirectoryTakesNoMemoryBeforeItIsUsed() throws {
    let before = try residentByteCount()
    var directory = try PageDirectory<AdaptiveOrder>(capacity: 1 << 22, hash: PageHash(seed: 1))
    for page in 0..<1000 as Range<UInt64> { _ = directory.readThrough(page) }
    let taken = try residentByteCount() - before
    #expect(taken < 300 << 20, "\(taken >> 20) MiB")
    let (count, freeCount) = (directory.count, directory.freeCount)
    #expect(count == 1000 && freeCount == 1 << 22 - 1000)
  }

  private func residentByteCount() throws -> Int {
    let file = try #require(fopen("/proc/self/statm", "r"))
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 200)
    _ = try #require(fgets(&text, 200, file))
    let fields = text.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.split(separator: " ")
    return try #require(Int(fields[1])) * sysconf(Int32(_SC_PAGESIZE))
  }

  @Test func whatTheSystemHasNoMemoryForIsRefused() throws {
    #expect(throws: BlockError(.noMemory)) { _ = try FlatArray<UInt64>(count: 1 << 59) }
  }

  @Test func pagesAreRestoredInTheOrderOfTheirFrames() throws {
    var directory = try PageDirectory<AdaptiveOrder>(capacity: 8, hash: PageHash(seed: 1))
    let restored = [(10, 1), (11, 4), (11, 5), (12, 3), (13, 6), (14, 8)].map { directory.restore(UInt64($0), in: $1) }
    #expect(restored == [true, true, false, false, true, false])
    let counts = (directory.count, directory.freeCount)
    #expect(counts == (3, 5))
    var frames: Set<Int> = []
    for page in 20..<25 as Range<UInt64> {
      let insertion = directory.insert(page)
      frames.insert(try #require(insertion).frame)
    }
    #expect(frames == [0, 2, 3, 5, 7])
    let found = [10, 11, 13].map { directory.frame(of: $0) }
    #expect(found == [1, 4, 6])
  }

  /// However pages follow each other, and however a client that does not know the seed chooses them: in a table that is half full a look is short.
  /// This is the longest of all.
  @Test(arguments: [UInt64(1), 2, 0x1234_5678_9ABC_DEF0]) func noLookIsLong(seed: UInt64) throws {
    let count = 1 << 14
    let known = PageHash(seed: 0)
    // Such as would all lie in one place of a table of this size, were there no seed.
    var chosen: [UInt64] = []
    var page: UInt64 = 0
    while chosen.count < 512 {
      if known(page) >> 32 & 0x7FFF < 64 { chosen.append(page) }
      page += 1
    }
    let patterns: [(name: String, pages: [UInt64])] = [
      ("in a row", (0..<UInt64(count)).map { 1 << 48 | $0 }), ("with gaps", (0..<UInt64(count)).map { 2 << 48 | $0 << 12 }),
      ("of many disks", (0..<UInt64(count)).map { $0 << 48 | $0 >> 16 }), ("chosen", chosen),
    ]
    for (name, pages) in patterns {
      var index = try PageIndex(capacity: count, hash: PageHash(seed: seed))
      for (slot, page) in pages.enumerated() { index.insert(page, slot: slot) }
      let longest = index.longestLook
      #expect(longest < 100, "\(name): \(longest)")
    }
    var index = try PageIndex(capacity: count, hash: known)
    for (slot, page) in chosen.enumerated() { index.insert(page, slot: slot) }
    let longest = index.longestLook
    #expect(longest > 500, "they are well chosen")
  }

  @Test func theIndexFindsWhatIsThere() throws {
    var index = try PageIndex(capacity: 64, hash: PageHash(seed: 1))
    var pages = try FlatArray<UInt64>(count: 64)
    var model: [UInt64: Int] = [:]
    var free = Array(0..<64)
    var random = TestRandom(seed: 1)
    for _ in 0..<200_000 {
      let page = random.below(200)
      if let slot = model.removeValue(forKey: page) {
        index.remove(page, in: pages)
        free.append(slot)
      } else if let slot = free.popLast() {
        pages[slot] = page
        index.insert(page, slot: slot)
        model[page] = slot
      }
      let probe = random.below(200)
      let found = index.slot(of: probe, in: pages)
      guard found == model[probe] else {
        Issue.record("page \(probe) is found in slot \(String(describing: found))")
        return
      }
    }
  }
}
