import Histogram
import Reactor

/// The kinds of request that are counted apart.
public enum BlockOperation: Int, CaseIterable, Sendable {
  case read, write, flush, discard, writeZeroes, blockStatus
}

/// What a layer did of one kind of request. Latency is of requests that succeeded, in nanoseconds.
public struct OperationStatistics: Sendable {
  public internal(set) var requests: UInt64 = 0
  public internal(set) var bytes: UInt64 = 0
  public internal(set) var errors: UInt64 = 0
  public internal(set) var inFlight: Int = 0
  /// Sum of the latencies, for the mean.
  public internal(set) var totalNanoseconds: UInt64 = 0
  /// Two significant digits from 1 microsecond to 64 s; longer is counted as that. About 20 KB, made at the first request.
  public internal(set) var latency: Histogram<UInt64>?

  static let highestLatency: UInt64 = 64_000_000_000

  mutating func record(_ nanoseconds: UInt64) {
    if latency == nil {
      latency = Histogram(
        lowestDiscernibleValue: 1024, highestTrackableValue: OperationStatistics.highestLatency, numberOfSignificantValueDigits: .two)
    }
    totalNanoseconds &+= nanoseconds
    latency?.record(min(nanoseconds, OperationStatistics.highestLatency - 1))
  }

  /// The latency that `percentile` (0...100) of the requests did not exceed; 0 when there were none.
  public func latencyNanoseconds(atPercentile percentile: Double) -> UInt64 {
    latency?.valueAtPercentile(percentile) ?? 0
  }

  public var meanNanoseconds: UInt64 {
    let answered = requests - errors
    return answered == 0 ? 0 : totalNanoseconds / answered
  }
}

/// The counters that every layer keeps in the same way: BlockDevice's own read, write, ... fill them, no layer does.
public final class LayerStatistics: @unchecked Sendable {  // reactor-confined
  private var operations: [OperationStatistics]
  private let clock: ReactorClock

  public init(clock: ReactorClock) {
    self.clock = clock
    operations = Array(repeating: OperationStatistics(), count: BlockOperation.allCases.count)
  }

  public subscript(operation: BlockOperation) -> OperationStatistics { operations[operation.rawValue] }

  @inline(__always)
  func begin(_ operation: BlockOperation) -> Instant {
    operations[operation.rawValue].inFlight += 1
    return clock.now
  }

  @inline(__always)
  func end(_ operation: BlockOperation, began: Instant, byteCount: UInt64) {
    let elapsed = clock.now.nanoseconds(since: began)
    operations[operation.rawValue].inFlight -= 1
    operations[operation.rawValue].requests &+= 1
    operations[operation.rawValue].bytes &+= byteCount
    operations[operation.rawValue].record(elapsed)
  }

  func fail(_ operation: BlockOperation) {
    operations[operation.rawValue].inFlight -= 1
    operations[operation.rawValue].requests &+= 1
    operations[operation.rawValue].errors &+= 1
  }
}
