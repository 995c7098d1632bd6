/// Tells whether a page was written while something else went on: a fill that a write has overtaken must not be believed.
///
/// Pages share counters by their number, so that nothing is allocated and a page needs no entry anywhere. Two pages that share one can
/// only make a page look written that was not: it is read from the disk once more.
struct WriteWatch: ~Copyable {
  private struct Counter {
    /// The moment when the last write ended.
    var lastEnd: UInt64 = 0
    /// Writes under way.
    var underWay: UInt32 = 0
    /// Of the writes under way, and those that ended since there was none, some were at the same time: nobody knows in which order the
    /// disk did them.
    var isContested = false
  }

  /// A moment in the life of the disk: it passes with every write that ends.
  private(set) var now: UInt64 = 0
  private let counters: UnsafeMutablePointer<Counter>
  private static let count = 4096  // a power of two; 64 KiB a disk

  init() {
    counters = .allocate(capacity: WriteWatch.count)
    counters.initialize(repeating: Counter(), count: WriteWatch.count)
  }

  deinit { counters.deallocate() }

  @inline(__always)
  private func index(_ page: UInt64) -> Int { Int(truncatingIfNeeded: (page &* 0x9e37_79b9_7f4a_7c15) >> 52) }

  /// Whether no write of the page was under way at that moment or since.
  @inline(__always)
  func isUntouched(_ page: UInt64, since moment: UInt64) -> Bool {
    let counter = counters[index(page)]
    return counter.underWay == 0 && counter.lastEnd <= moment
  }

  @inline(__always)
  func beginWrite(_ page: UInt64) { begin(index(page)) }

  /// True when no other write of the page was under way at the same time: then the disk has what this one wrote.
  @inline(__always)
  mutating func endWrite(_ page: UInt64) -> Bool { end(index(page)) }

  /// A write, trim or zeroing of many pages. One of more pages than there are counters counts as one of all pages, so that it takes no longer.
  func beginChange(_ pages: Range<UInt64>) {
    if pages.count < WriteWatch.count {
      for page in pages { begin(index(page)) }
    } else {
      for index in 0..<WriteWatch.count { begin(index) }
    }
  }

  mutating func endChange(_ pages: Range<UInt64>) {
    if pages.count < WriteWatch.count {
      for page in pages { _ = end(index(page)) }
    } else {
      for index in 0..<WriteWatch.count { _ = end(index) }
    }
  }

  @inline(__always)
  private func begin(_ index: Int) {
    let counter = counters + index
    if counter.pointee.underWay > 0 { counter.pointee.isContested = true }
    counter.pointee.underWay += 1
  }

  @inline(__always)
  private mutating func end(_ index: Int) -> Bool {
    now += 1
    let counter = counters + index
    counter.pointee.lastEnd = now
    counter.pointee.underWay -= 1
    let wasAlone = !counter.pointee.isContested
    if counter.pointee.underWay == 0 { counter.pointee.isContested = false }
    return wasAlone
  }
}
