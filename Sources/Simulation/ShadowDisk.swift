/// A sector that must not be as it is.
public struct ShadowError: Error, CustomStringConvertible, Sendable {
  public let sector: UInt64
  public let description: String
}

/// What a disk may hold, kept beside it: for each sector the value that a reader must see, and those that a crash may bring back.
///
/// A write is told twice, when it begins and when it was answered: between the two, a reader and a crash may show it or not. Of two writes
/// of which one began before the other was answered, either may be the last. A value once seen stays: see `check`.
public final class ShadowDisk: @unchecked Sendable {  // used by one thread at a time: who runs the reactor
  /// A write that was begun.
  public struct Write: Sendable {
    let sectors: Range<UInt64>
    let began: UInt64
    let crashCount: UInt64
  }

  /// A flush, or a read, that was begun.
  public struct Moment: Sendable {
    let time: UInt64
    let crashCount: UInt64
  }

  fileprivate struct Value {
    var fill: Fill
    var began: UInt64
    var answered: UInt64?
    /// Since when a reader must not see it any more, because a later write was answered or another value was read.
    var superseded: UInt64?
    /// No crash can bring it back. It is remembered for reads that were under way.
    var isGone = false
  }

  public let sectorByteCount: Int
  public let sectorCount: UInt64
  /// Sectors that may hold something else than zeros.
  private var values: [UInt64: [Value]] = [:]
  /// Sectors with more than one value.
  private var unsettled: Set<UInt64> = []
  /// Counts what was told, as a clock.
  private var time: UInt64 = 0
  private var lastCrash: UInt64 = 0
  private var crashCount: UInt64 = 0
  private var lastFill: UInt64 = 0
  /// Reads that were begun and neither checked nor given up.
  private var openReadCount = 0

  public init(sectorCount: UInt64, sectorByteCount: Int = 512) {
    self.sectorCount = sectorCount
    self.sectorByteCount = sectorByteCount
  }

  /// A fill that was never used before.
  public func newFill() -> Fill {
    lastFill += 1
    return Fill(lastFill)
  }

  private func tick() -> UInt64 {
    time += 1
    return time
  }

  private static let untouched = Value(fill: .zeros, began: 0, answered: 0)

  /// All that is known, to go back to after trying what would happen if.
  public struct Saved: Sendable {
    fileprivate let values: [UInt64: [Value]]
    fileprivate let unsettled: Set<UInt64>
    fileprivate let numbers: [UInt64]
    fileprivate let openReadCount: Int
  }

  public func save() -> Saved {
    Saved(values: values, unsettled: unsettled, numbers: [time, lastCrash, crashCount, lastFill], openReadCount: openReadCount)
  }

  public func restore(_ saved: Saved) {
    (values, unsettled, openReadCount) = (saved.values, saved.unsettled, saved.openReadCount)
    (time, lastCrash, crashCount, lastFill) = (saved.numbers[0], saved.numbers[1], saved.numbers[2], saved.numbers[3])
  }

  // MARK: What was done

  public func writeBegan(_ sectors: Range<UInt64>, _ fill: Fill) -> Write {
    let began = tick()
    for sector in sectors {
      values[sector, default: [ShadowDisk.untouched]].append(Value(fill: fill, began: began))
      unsettled.insert(sector)
    }
    return Write(sectors: sectors, began: began, crashCount: crashCount)
  }

  /// `isDurable`: it was written with FUA.
  public func writeAnswered(_ write: Write, isDurable: Bool = false) {
    guard write.crashCount == crashCount else { return }
    let now = tick()
    for sector in write.sectors {
      change(sector) { list in
        for index in list.indices {
          if list[index].began == write.began {
            list[index].answered = now
          } else if let answered = list[index].answered, answered < write.began, list[index].superseded == nil {
            list[index].superseded = now
          }
        }
        if isDurable { bury(&list) { ($0.answered ?? .max) < write.began } }
      }
    }
  }

  /// It was answered with an error: it may have been done, or parts of it.
  public func writeFailed(_ write: Write) {
    guard write.crashCount == crashCount else { return }
    let now = tick()
    for sector in write.sectors {
      change(sector) { list in
        for index in list.indices where list[index].began == write.began { list[index].answered = now }
      }
    }
  }

  public func flushBegan() -> Moment { Moment(time: tick(), crashCount: crashCount) }

  /// What was answered before the flush began can no longer be undone by a crash.
  public func flushAnswered(_ flush: Moment) {
    guard flush.crashCount == crashCount else { return }
    for sector in unsettled { change(sector) { list in bury(&list) { ($0.superseded ?? .max) < flush.time } } }
    settle()
  }

  /// Values that no crash brings back.
  private func bury(_ list: inout [Value], _ isReplaced: (Value) -> Bool) {
    if openReadCount == 0 { return list.removeAll { $0.isGone || isReplaced($0) } }
    for index in list.indices where isReplaced(list[index]) { list[index].isGone = true }
  }

  /// A write that was begun and answered with nothing in between.
  public func written(_ sectors: Range<UInt64>, _ fill: Fill, isDurable: Bool = false) {
    writeAnswered(writeBegan(sectors, fill), isDurable: isDurable)
  }

  public func trimmed(_ sectors: Range<UInt64>, isDurable: Bool = false) { written(sectors, .zeros, isDurable: isDurable) }

  public func flushed() { flushAnswered(flushBegan()) }

  /// The power went. Call it once the tasks of that power-on have ended, before anything is read again.
  public func crashed() {
    let now = tick()
    for sector in unsettled {
      change(sector) { list in
        list.removeAll(where: \.isGone)
        for index in list.indices {
          list[index].answered = list[index].answered ?? now
          list[index].superseded = nil
        }
      }
    }
    lastCrash = now
    crashCount += 1
    openReadCount = 0
    settle()
  }

  private func change(_ sector: UInt64, _ body: (inout [Value]) -> Void) {
    guard let place = values.index(forKey: sector) else { return }
    body(&values.values[place])
  }

  private func settle() { unsettled = unsettled.filter { (values[$0]?.count ?? 0) > 1 } }

  // MARK: What is read

  /// To be taken before a read that runs beside writes; `check` ends it, or `readFailed`.
  public func readBegan() -> Moment {
    openReadCount += 1
    return Moment(time: tick(), crashCount: crashCount)
  }

  public func readFailed(_ read: Moment) { if read.crashCount == crashCount { openReadCount -= 1 } }

  /// Throws for the first sector of `bytes` (whole sectors from `firstSector` on) that holds what it must not. What was read becomes the
  /// only value of its sector that may be read from then on, until it is written again; where it was there before the last crash, not
  /// even another crash may bring the others back. `since`: when the read began; nil if nothing ran beside it.
  public func check(_ bytes: UnsafeRawBufferPointer, firstSector: UInt64, since: Moment? = nil) throws(ShadowError) {
    let now = tick()
    let began = since?.time ?? now
    defer { if let since { readFailed(since) } }
    for index in 0..<bytes.count / sectorByteCount {
      let sector = firstSector + UInt64(index)
      let content = UnsafeRawBufferPointer(rebasing: bytes[index * sectorByteCount..<(index + 1) * sectorByteCount])
      let found = Fill.read(content, number: sector)
      guard let list = values[sector] else {
        if found != .zeros { throw wrong(sector, content, found, [ShadowDisk.untouched]) }
        continue
      }
      guard let seen = list.lastIndex(where: { $0.fill == found && ($0.superseded ?? .max) > began }) else {
        throw wrong(sector, content, found, list)
      }
      if list.count > 1 { change(sector) { $0 = narrowed($0, to: seen, began: began, now: now) } }
    }
  }

  private func narrowed(_ list: [Value], to seen: Int, began: UInt64, now: UInt64) -> [Value] {
    var narrowed = list
    // Two values with the same content, or a write that ran beside the read: it is not known which one was seen.
    let twins = list.count { $0.fill == list[seen].fill }
    let isAmbiguous = twins > 1 || list.contains { ($0.answered ?? .max) > began }
    if !isAmbiguous {
      for index in narrowed.indices where index != seen && narrowed[index].superseded == nil { narrowed[index].superseded = now }
    }
    let isFromBeforeCrash = { (value: Value) in self.crashCount > 0 && (value.answered ?? .max) <= self.lastCrash }
    if isFromBeforeCrash(list[seen]) {
      let fill = list[seen].fill
      narrowed.removeAll { isFromBeforeCrash($0) && $0.fill != fill }
    }
    return narrowed
  }

  private func wrong(_ sector: UInt64, _ content: UnsafeRawBufferPointer, _ found: Fill?, _ list: [Value]) -> ShadowError {
    let allowed = list.map { value in
      let state = value.superseded != nil ? "superseded" : value.answered == nil ? "in flight" : "answered"
      return "\(value.fill) (\(state))"
    }
    let holds = found.map { "\($0)" } ?? "bytes that were never written there, beginning \(ShadowDisk.hexadecimal(content.prefix(16)))"
    return ShadowError(
      sector: sector,
      description: "sector \(sector) (offset \(sector * UInt64(sectorByteCount))) holds \(holds); written there: "
        + "\(allowed.joined(separator: ", ")); crashes so far: \(crashCount)")
  }

  private static func hexadecimal(_ bytes: Slice<UnsafeRawBufferPointer>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Values that a sector may hold after a crash now.
  public func possibleFills(ofSector sector: UInt64) -> Set<Fill> {
    Set((values[sector] ?? [ShadowDisk.untouched]).filter { !$0.isGone }.map(\.fill))
  }
}
