import BlockDevice

/// How many requests a disk is given at a time: more while it answers them within a bound and others wait, fewer when it takes longer.
///
/// What a disk is given beyond what it can work on only waits inside of it, in its order and not in ours: an application's read behind
/// a hundred of a neighbour's. What the disk can work on is measured, by the latency of what it has answered lately: adding while it is
/// within the bound, taking away a quarter when it is not. A disk that takes long with hardly anything to do gets a bound of its own, by what it
/// then takes (`measureBound`); now and then it is given hardly anything to do, to see whether it still does. Whether heads move is believed
/// only as far as the latency bears it out: many fast disks of virtual machines say so.
struct DepthControl {
  private(set) var depth = StorageBusLimits.firstDepth
  /// Of the last window, in nanoseconds; 0 before the first has passed.
  private(set) var meanLatency: UInt64 = 0
  /// In nanoseconds.
  private(set) var bound = StorageBusLimits.latencyBound
  private let isRotational: Bool
  private var left = StorageBusLimits.shortestDepthWindow
  private var seenRequests: UInt64 = 0
  private var seenNanoseconds: UInt64 = 0
  /// The whole depth was in use, and somebody waited.
  private var wasExhausted = false
  /// Most requests of applications that were in flight together.
  private var mostInFlight = 0
  /// A look at what the disk takes with hardly anything to do, and the depth to go back to; see `probe`.
  private enum Probe {
    case none
    /// What was asked for before is still being answered.
    case draining(depth: Int)
    case measuring(depth: Int)
  }
  private var probe = Probe.none
  /// Windows since the bound was measured.
  private var age = 0

  init(isRotational: Bool) {
    self.isRotational = isRotational
  }

  @inline(__always)
  mutating func someoneWaits() { wasExhausted = true }

  @inline(__always)
  mutating func hasBegun(inFlight: Int) { mostInFlight = max(mostInFlight, inFlight) }

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
    let formerDepth = depth
    if answered > seenRequests {
      meanLatency = (nanoseconds &- seenNanoseconds) / (answered - seenRequests)
      adjust()
    }
    (seenRequests, seenNanoseconds) = (answered, nanoseconds)
    wasExhausted = false
    mostInFlight = 0
    // Twice the depth: most of what is judged next was asked for under the new depth.
    left = max(StorageBusLimits.shortestDepthWindow, 2 * max(depth, formerDepth))
  }

  private mutating func adjust() {
    age += 1
    switch probe {
    case .draining(let former): probe = .measuring(depth: former)
    case .measuring(let former):
      measureBound()
      probe = .none
      depth = former
    case .none:
      // With more at a time the latency is that of what waits in the disk, and would raise its own bound.
      if depth == StorageBusLimits.leastDepth || mostInFlight <= StorageBusLimits.leastDepth { measureBound() }
      if meanLatency > bound {
        depth = max(StorageBusLimits.leastDepth, depth * 3 / 4)
      } else if wasExhausted {
        depth = min(StorageBusLimits.queueDepth, depth + max(1, depth / 8))
      }
      // Only of a bound that the disk has for being slow: it may have become quick.
      if bound > StorageBusLimits.latencyBound && age >= StorageBusLimits.windowsPerProbe && depth > StorageBusLimits.leastDepth {
        probe = .draining(depth: depth)
        depth = StorageBusLimits.leastDepth
      }
    }
  }

  /// What the disk is kept under, from what it takes with hardly anything to do: twice that; where heads move four times, within a limit, as
  /// each further request shortens their way.
  private mutating func measureBound() {
    bound = max(StorageBusLimits.latencyBound, 2 * meanLatency)
    if isRotational { bound = max(bound, min(4 * meanLatency, StorageBusLimits.rotationalLatencyBound)) }
    age = 0
  }
}
