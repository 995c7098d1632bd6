import Reactor

/// Locks byte ranges of one slab row: many readers or one writer of each byte, first come first served, so that nobody starves.
struct RangeLock {
  enum Mode: UInt8 { case shared, exclusive }

  struct Ticket: Equatable { fileprivate var number: UInt64 }

  private struct Entry {
    var ticket: Ticket
    var start: UInt64
    var end: UInt64
    var mode: Mode
    var waiter: UnsafeContinuation<Void, Never>?

    /// Whether the two may not hold their ranges at the same time.
    @inline(__always)
    func conflicts(_ start: UInt64, _ end: UInt64, _ mode: Mode) -> Bool {
      self.start < end && start < self.end && (self.mode == .exclusive || mode == .exclusive)
    }
  }

  /// In the order they came, those that hold and those that wait.
  private var entries: [Entry] = []
  private var nextNumber: UInt64 = 0

  /// Whether somebody who may change bytes of the range holds it.
  func isBeingChanged(_ range: Range<UInt64>) -> Bool {
    entries.contains { $0.waiter == nil && $0.mode == .exclusive && $0.start < range.upperBound && range.lowerBound < $0.end }
  }

  var isIdle: Bool { entries.isEmpty }

  /// Takes the range at once if nobody before conflicts; nil when it has to be waited for with `enqueue`.
  @inline(__always)
  mutating func tryAcquire(_ start: UInt64, _ end: UInt64, _ mode: Mode) -> Ticket? {
    for index in entries.indices where entries[index].conflicts(start, end, mode) { return nil }
    return append(start, end, mode, waiter: nil)
  }

  /// Waits in line; the continuation is resumed when the range is held.
  mutating func enqueue(_ start: UInt64, _ end: UInt64, _ mode: Mode, _ waiter: UnsafeContinuation<Void, Never>) -> Ticket {
    append(start, end, mode, waiter: waiter)
  }

  @inline(__always)
  private mutating func append(_ start: UInt64, _ end: UInt64, _ mode: Mode, waiter: UnsafeContinuation<Void, Never>?) -> Ticket {
    let ticket = Ticket(number: nextNumber)
    nextNumber &+= 1
    entries.append(Entry(ticket: ticket, start: start, end: end, mode: mode, waiter: waiter))
    return ticket
  }

  @inline(__always)
  mutating func release(_ ticket: Ticket) {
    guard let index = entries.firstIndex(where: { $0.ticket == ticket }) else {
      assertionFailure("released a range that was not held")
      return
    }
    entries.remove(at: index)
    if !entries.isEmpty { grant(from: index) }
  }

  /// Resumes those behind `index` whom nobody before them hinders any more.
  private mutating func grant(from index: Int) {
    for candidate in index..<entries.count where entries[candidate].waiter != nil {
      let entry = entries[candidate]
      let isHindered = entries[..<candidate].contains { $0.conflicts(entry.start, entry.end, entry.mode) }
      if !isHindered { entries[candidate].waiter.take()?.resume() }
    }
  }
}
