import BlockDevice

/// How many requests a disk is given at a time: more while it answers them within a bound and others wait, fewer when it takes longer.
///
/// What a disk is given beyond what it can work on only waits inside of it, in its order and not in ours: an application's read behind
/// a hundred of a neighbour's. What the disk can work on is measured, by the latency of what it has answered lately: adding while it is
/// within the bound, taking away a quarter when it is not. A disk that is slower than the bound with hardly anything to do gets
/// a bound of its own, twice of what it then takes.
struct DepthControl {
  private(set) var depth = StorageBusLimits.firstDepth
  /// Of the last window, in nanoseconds; 0 before the first has passed.
  private(set) var meanLatency: UInt64 = 0
  /// In nanoseconds.
  private(set) var bound: UInt64
  private let target: UInt64
  private var left = StorageBusLimits.shortestDepthWindow
  private var seenRequests: UInt64 = 0
  private var seenNanoseconds: UInt64 = 0
  /// The whole depth was in use, and somebody waited.
  private var wasExhausted = false

  init(isRotational: Bool) {
    target = isRotational ? StorageBusLimits.rotationalLatencyBound : StorageBusLimits.latencyBound
    bound = target
  }

  @inline(__always)
  mutating func someoneWaits() { wasExhausted = true }

  /// To be told of every request that ended, well or not.
  @inline(__always)
  mutating func ended(at disk: BlockDevice) {
    left -= 1
    if left == 0 { judge(disk.statistics) }
  }

  private mutating func judge(_ statistics: LayerStatistics) {
    let (read, write) = (statistics[.read], statistics[.write])
    let answered = (read.requests - read.errors) + (write.requests - write.errors)
    let nanoseconds = read.totalNanoseconds &+ write.totalNanoseconds
    if answered > seenRequests {
      meanLatency = (nanoseconds &- seenNanoseconds) / (answered - seenRequests)
      adjust()
    }
    (seenRequests, seenNanoseconds) = (answered, nanoseconds)
    wasExhausted = false
    // Twice the depth: what is judged next was all asked for under the new depth.
    left = max(StorageBusLimits.shortestDepthWindow, 2 * depth)
  }

  private mutating func adjust() {
    let isLeast = depth == StorageBusLimits.leastDepth
    if isLeast || !wasExhausted { bound = max(target, 2 * meanLatency) }
    if meanLatency > bound {
      depth = max(StorageBusLimits.leastDepth, depth * 3 / 4)
    } else if wasExhausted {
      depth = min(StorageBusLimits.queueDepth, depth + max(1, depth / 8))
    }
  }
}
