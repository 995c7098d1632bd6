import PhysicalDisk
import Reactor

/// What outlives power cuts: the disks, the plan of faults, and the record of what happened. Each `powerOn` gives a new reactor, as each
/// start of the server does; ports of an earlier power-on answer -EIO from then on.
public final class SimulatedMachine: @unchecked Sendable {  // used by one thread at a time: who runs the reactor
  public let seed: UInt64
  public private(set) var disks: [SimulatedDisk] = []
  public var plan: FaultPlan
  public internal(set) var coverage = Coverage()
  public internal(set) var trace: Trace
  /// Starts so far; 0 before the first.
  public private(set) var powerOnCount: UInt64 = 0
  public private(set) var isPowered = false
  /// The reactor of the present, or else the last, power-on.
  public private(set) var reactor: SimulatedReactor?
  private var reactors: [SimulatedReactor] = []
  public var jobOrder = JobOrder.seeded
  /// Pages of the read cache that each power-on has; 0 for none.
  public var cachePageCount = 0
  /// Bytes of one of them.
  public var cachePageByteCount = 16 << 10
  /// The read cache of this power-on, once there is one. It lives as long as its reactor, as in the server: who has closed all disks may have
  /// left requests behind that hang, with pages that the disks still fill.
  public var pageKeeper: (any PageKeeper)?
  /// Another number is another outcome of each power cut, with everything before it the same.
  public var crashVariant: UInt64 = 0
  var faultRandom: SeededRandom

  public init(seed: UInt64, plan: FaultPlan = FaultPlan()) {
    self.seed = seed
    self.plan = plan
    trace = Trace(seed: seed)
    faultRandom = SeededRandom(seed: seed, stream: 3)
  }

  public var now: Instant { reactor?.now ?? Instant(nanoseconds: 0) }
  public var digest: TraceDigest { trace.digest }

  @discardableResult
  public func addDisk(_ options: SimulatedDiskOptions) -> SimulatedDisk {
    let disk = SimulatedDisk(options, index: disks.count, machine: self)
    disks.append(disk)
    return disk
  }

  /// A disk with the same content as `original`, under another name: a clone, or a copy from the past.
  @discardableResult
  public func addClone(of original: SimulatedDisk, name: String) -> SimulatedDisk {
    var options = original.options
    options.name = name
    let disk = SimulatedDisk(options, index: disks.count, machine: self, medium: original.copyOfMedium())
    disks.append(disk)
    return disk
  }

  /// A new start, one virtual second after the end of the last one. Power that is still on is cut first.
  @discardableResult
  public func powerOn() -> SimulatedReactor {
    if isPowered { cutPower() }
    powerOnCount += 1
    isPowered = true
    let start = now.advanced(milliseconds: 1000)
    var buffers = SimulationLimits.buffers
    buffers.pageCount = cachePageCount
    buffers.pageByteCount = cachePageByteCount
    let reactor = SimulatedReactor(
      seed: SeededRandom.mix(seed &+ powerOnCount &* 0x1_0000_0001), jobOrder: jobOrder, startingAt: start, bufferLimits: buffers)
    reactor.describePending = { [weak self] in self?.describePending() ?? "" }
    self.reactor = reactor
    pageKeeper = nil
    reactors.append(reactor)
    for disk in disks { disk.powerOn() }
    note("power on \(powerOnCount)")
    return reactor
  }

  /// The power of everything goes: what was not flushed is kept, lost or torn by the seed; operations in flight, too. They and all later
  /// ones of this power-on answer -EIO, and change nothing any more.
  public func cutPower() {
    guard isPowered else { return }
    isPowered = false
    coverage.count(.powerCut)
    note("power cut at point \(plan.pointCount)")
    for disk in disks { disk.losePower() }
  }

  /// The end of the machine: its disks' contents and its reactors' buffers are given back, though tasks that wait for ever since a power cut
  /// keep hold of it. Nothing may run on it afterwards.
  public func scrap() {
    cutPower()
    for disk in disks { disk.scrap() }
    for reactor in reactors { reactor.buffers.discardMemory() }
    reactors.removeAll()
    reactor = nil
    pageKeeper = nil
  }

  /// Counts what a layer above the disks did.
  package func count(_ event: CoverageEvent, _ amount: UInt64 = 1) { coverage.count(event, amount) }

  /// A line of the trace (and part of the digest).
  public func note(_ text: String) { trace.note(text, at: now) }

  /// Hands every line of the trace to `sink` as it comes.
  public func printTrace(to sink: @escaping @Sendable (String) -> Void) { trace.sink = sink }

  /// For the report of a failure: seed, digest, what is in flight, the last events.
  public func report(lines: Int = SimulationLimits.printedTraceLines) -> String {
    let hashing =
      SimulatedReactor.isHashingDeterministic
      ? "" : " (set SWIFT_DETERMINISTIC_HASHING=1 where the order of a dictionary may have a part in it)"
    let head = "seed \(seed)\(hashing), digest \(digest), \(trace.eventCount) events, power on \(powerOnCount). \(describePending())"
    return ([head] + trace.lines(last: lines)).joined(separator: "\n")
  }

  private func describePending() -> String {
    let operations = disks.flatMap(\.inFlightDescriptions)
    if operations.isEmpty { return "No disk operation is in flight." }
    let more = operations.count > 16 ? ", and \(operations.count - 16) more" : ""
    return "In flight: \(operations.prefix(16).joined(separator: ", "))\(more)."
  }
}
