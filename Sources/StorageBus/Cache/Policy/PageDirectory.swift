import BlockDevice

/// Which page of a disk is in which frame of a cache, and which goes when room is needed. It holds no data and does no I/O; all memory is
/// taken at the start, and every call takes a short time that does not depend on the capacity.
///
/// A miss: `insert` names the frame, pinned, for the disk to be read into; then `unpin`, and before that `remove` if the fill failed or
/// the page was written meanwhile. A hit: `read`, `pin` while the frame is sent from, `unpin`. Before a write, trim or zeroing is
/// acknowledged: `remove`, or refresh what `frame(of:)` names.
struct PageDirectory<Order: EvictionOrder & ~Copyable>: ~Copyable {
  /// What came of bringing a page in.
  struct Insertion: Equatable {
    /// 0 ..< capacity.
    var frame: Int
    /// The page that had to go for it.
    var evicted: UInt64?
  }

  private enum State {
    static var free: UInt8 { 0 }
    static var used: UInt8 { 1 }
    /// Its page was removed, but someone still uses the frame.
    static var orphaned: UInt8 { 2 }
  }

  /// Frames.
  let capacity: Int
  /// Pages.
  private(set) var count = 0
  private var pages: FlatArray<UInt64>
  private var index: PageIndex
  private var pins: PinCounts
  private var states: FlatArray<UInt8>
  /// A stack of the frames that are free again.
  private var free: FlatArray<UInt32>
  private var freeAgainCount = 0
  /// Frames from here on were never used: nothing is written down of them, so that a large directory is made in no time.
  private var fresh = 0
  private(set) var order: Order

  /// - Parameter capacity: 1 ... `CacheLimits.frames`.
  /// - Throws: `.noMemory`.
  init(capacity: Int, hash: PageHash) throws(BlockError) {
    precondition(capacity >= 1 && capacity <= CacheLimits.frames)
    let pages = try FlatArray<UInt64>(count: capacity)
    let index = try PageIndex(capacity: capacity, hash: hash)
    let pins = try PinCounts(count: capacity)
    let states = try FlatArray<UInt8>(count: capacity)
    let free = try FlatArray<UInt32>(count: capacity)
    let order = try Order(capacity: capacity, hash: hash)
    self.capacity = capacity
    self.pages = pages
    self.index = index
    self.pins = pins
    self.states = states
    self.free = free
    self.order = order
  }

  var freeCount: Int { freeAgainCount + capacity - fresh }

  /// The page's frame, if it is in the cache. Counts as no use of it.
  @inline(__always) func frame(of page: UInt64) -> Int? { index.slot(of: page, in: pages) }

  /// The page's frame, if it is in the cache, for a read.
  @inline(__always) mutating func read(_ page: UInt64) -> Int? {
    guard let frame = index.slot(of: page, in: pages) else { return nil }
    order.hit(frame, page: page)
    return frame
  }

  /// The page's frame, if it is in the cache, for a write: a use of it as a read is.
  @inline(__always) @discardableResult mutating func write(_ page: UInt64) -> Int? {
    let frame = index.slot(of: page, in: pages)
    order.wrote(frame, page: page)
    return frame
  }

  /// Makes room for a page that is not in the cache. Its frame is pinned once.
  /// - Returns: nil if all frames are in use by I/O.
  mutating func insert(_ page: UInt64) -> Insertion? {
    assert(frame(of: page) == nil)
    order.announce(page)
    var insertion: Insertion
    if freeAgainCount > 0 {
      freeAgainCount -= 1
      insertion = Insertion(frame: Int(free[freeAgainCount]))
    } else if fresh < capacity {
      insertion = Insertion(frame: fresh)
      fresh += 1
    } else {
      guard let victim = order.victim(pins: pins) else { return nil }
      insertion = Insertion(frame: victim, evicted: pages[victim])
      take(victim, isEvicted: true)
    }
    let frame = insertion.frame
    pages[frame] = page
    states[frame] = State.used
    pins[frame] = 1
    index.insert(page, slot: frame)
    order.insert(frame, page: page)
    count += 1
    return insertion
  }

  /// The page in the cache, if any, is valid no more. Its frame is free once nobody uses it.
  /// - Returns: whether there was such a page.
  @discardableResult mutating func remove(_ page: UInt64) -> Bool {
    guard let frame = index.slot(of: page, in: pages) else { return false }
    take(frame, isEvicted: false)
    if pins[frame] == 0 { release(frame) } else { states[frame] = State.orphaned }
    return true
  }

  /// Keeps the frame's content while an I/O uses it.
  @inline(__always) mutating func pin(_ frame: Int) {
    precondition(pins[frame] < .max)
    pins[frame] += 1
  }

  @inline(__always) mutating func unpin(_ frame: Int) {
    precondition(pins[frame] > 0)
    pins[frame] -= 1
    if pins[frame] == 0, states[frame] == State.orphaned { release(frame) }
  }

  /// Whether one more may use the frame.
  @inline(__always) func mayPin(_ frame: Int) -> Bool { pins[frame] < CacheLimits.usersPerPage }

  @inline(__always) func isPinned(_ frame: Int) -> Bool { pins[frame] > 0 }

  /// The page that the frame holds, if any.
  func page(in frame: Int) -> UInt64? { states[frame] == State.used ? pages[frame] : nil }

  /// Whether the frame still holds this page: false once it was removed, even while it is pinned.
  func holds(_ page: UInt64, in frame: Int) -> Bool { states[frame] == State.used && pages[frame] == page }

  /// Puts a page into a frame of its own choosing, before anything else is done: a cache that is taken over as it was left, in the order of
  /// its frames. False, and nothing done, where a later frame, or the page, is there already.
  mutating func restore(_ page: UInt64, in frame: Int) -> Bool {
    guard frame >= fresh && frame < capacity, self.frame(of: page) == nil else { return false }
    while fresh < frame {
      release(fresh)
      fresh += 1
    }
    fresh += 1
    pages[frame] = page
    states[frame] = State.used
    index.insert(page, slot: frame)
    order.insert(frame, page: page)
    count += 1
    return true
  }

  private mutating func take(_ frame: Int, isEvicted: Bool) {
    order.remove(frame, page: pages[frame], isEvicted: isEvicted)
    index.remove(pages[frame], in: pages)
    count -= 1
  }

  private mutating func release(_ frame: Int) {
    states[frame] = State.free
    free[freeAgainCount] = UInt32(frame)
    freeAgainCount += 1
  }
}

extension PageDirectory where Order: ~Copyable {
  /// Reads a page of a cache without data: what is not there is brought in at once.
  /// - Returns: whether it was there.
  mutating func readThrough(_ page: UInt64) -> Bool {
    if read(page) != nil { return true }
    if let insertion = insert(page) { unpin(insertion.frame) }
    return false
  }
}
