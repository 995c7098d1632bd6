/// What happened in one run or in many, counted: a fault that never fires shows as a 0.
public enum CoverageEvent: String, CaseIterable, Sendable {
  case read, write, durableWrite, flush, punch, zero
  case readError, writeError, flushError, noSpace, stall, hang
  /// A disk was abandoned by the stack; callers sent away from a request in flight; what such requests did later.
  case diskAbandoned, callerSentAway, abandonedWriteLanded, abandonedReadLanded
  case bitFlip, phantomWrite, misdirectedWrite
  case powerCut, operationInFlightAtPowerCut, operationWithoutPower
  case diskVanished, diskReturned, operationOnVanishedDisk
  /// Unflushed operations at a power cut, whole: all of it survived, nothing, or some sectors.
  case unflushedKept, unflushedLost, unflushedTorn
  case dataGoneAfterFailedFlush
  case punchLeftContent, punchLeftZeros, punchLeftGarbage
  case overlappingWritesInFlight
  /// Pages of the read cache: what reads found in it, and of that what clients were sent in place; what they did not find; what left for room;
  /// what was written while it was read from the disk; what writes, trims and lost disks made worthless. And bytes that writes refreshed.
  case cacheHit, cacheHitInPlace, cacheMiss, cacheEviction, cacheFillOvertaken, cachePageDropped, cacheRefreshedBytes
  case cacheDiskHit, cacheDiskMiss, cacheDiskFill, cacheDiskEviction, cacheDiskPageDropped, cacheDiskLieFound, cacheDiskTimeout
  /// A page of an earlier power-on that was believed.
  case cacheDiskWarmPage
}

public struct Coverage: Sendable, CustomStringConvertible {
  private var counts = [UInt64](repeating: 0, count: CoverageEvent.allCases.count)
  private static let index: [CoverageEvent: Int] = Dictionary(
    uniqueKeysWithValues: CoverageEvent.allCases.enumerated().map { ($1, $0) })

  public init() {}

  /// For another process.
  package var numbers: [UInt64] {
    get { counts }
    set { if newValue.count == counts.count { counts = newValue } }
  }

  public subscript(event: CoverageEvent) -> UInt64 { counts[Coverage.index[event] ?? 0] }

  public mutating func count(_ event: CoverageEvent, _ amount: UInt64 = 1) { counts[Coverage.index[event] ?? 0] += amount }

  public mutating func add(_ other: Coverage) {
    for index in counts.indices { counts[index] += other.counts[index] }
  }

  /// Those that never happened.
  public var missing: [CoverageEvent] { CoverageEvent.allCases.filter { self[$0] == 0 } }

  /// One line for each event, the count first.
  public var description: String {
    CoverageEvent.allCases.map { event in
      let count = String(self[event])
      return String(repeating: " ", count: max(0, 12 - count.count)) + count + "  " + event.rawValue
    }.joined(separator: "\n")
  }
}
