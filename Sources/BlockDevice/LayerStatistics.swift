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
  /// Two significant digits from 1 microsecond to 64 s; longer is counted as that. 20 KB, from the first request on: until then all share
  /// the empty one.
  public internal(set) var latency = OperationStatistics.empty

  private static let empty = Histogram<UInt64>(
    lowestDiscernibleValue: 1024, highestTrackableValue: BlockDeviceLimits.highestLatencyNanoseconds, numberOfSignificantValueDigits: .two)

  @inline(__always)
  mutating func succeed(_ nanoseconds: UInt64, _ byteCount: UInt64) {
    inFlight -= 1
    requests &+= 1
    bytes &+= byteCount
    totalNanoseconds &+= nanoseconds
    latency.record(min(nanoseconds, BlockDeviceLimits.highestLatencyNanoseconds - 1))
  }

  mutating func fail() {
    inFlight -= 1
    requests &+= 1
    errors &+= 1
  }

  /// The latency that `percentile` (0...100) of the requests did not exceed; 0 when there were none.
  public func latencyNanoseconds(atPercentile percentile: Double) -> UInt64 {
    latency.totalCount == 0 ? 0 : latency.valueAtPercentile(percentile)
  }

  public var meanNanoseconds: UInt64 {
    let answered = requests - errors
    return answered == 0 ? 0 : totalNanoseconds / answered
  }
}

/// The counters that every layer keeps in the same way: BlockDevice's own read, write, ... fill them, no layer does.
public final class LayerStatistics: @unchecked Sendable {  // reactor-confined
  /// One for each operation, by its raw value. A pointer, because an array in a class is checked at every access, six times a request.
  private let operations: UnsafeMutablePointer<OperationStatistics>
  private let clock: ReactorClock

  public init(clock: ReactorClock) {
    self.clock = clock
    operations = .allocate(capacity: BlockOperation.allCases.count)
    operations.initialize(repeating: OperationStatistics(), count: BlockOperation.allCases.count)
  }

  deinit {
    operations.deinitialize(count: BlockOperation.allCases.count)
    operations.deallocate()
  }

  public subscript(operation: BlockOperation) -> OperationStatistics { operations[operation.rawValue] }

  @inline(__always)
  func begin(_ operation: BlockOperation) -> Instant {
    operations[operation.rawValue].inFlight += 1
    return clock.now
  }

  @inline(__always)
  func end(_ operation: BlockOperation, began: Instant, byteCount: UInt64) {
    operations[operation.rawValue].succeed(clock.now.nanoseconds(since: began), byteCount)
  }

  /// A request that took no time.
  @inline(__always)
  func countAtOnce(_ operation: BlockOperation, byteCount: UInt64) {
    operations[operation.rawValue].inFlight += 1
    operations[operation.rawValue].succeed(0, byteCount)
  }

  func fail(_ operation: BlockOperation) { operations[operation.rawValue].fail() }
}
