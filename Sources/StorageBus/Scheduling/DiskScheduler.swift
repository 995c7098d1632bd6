import BlockDevice
import DequeModule
import Reactor

/// Whose turn it is at one disk.
///
/// - Applications: as many requests as the disk works on at a time (`DepthControl`). When more are wanted, each virtual disk waits in a queue
///   of its own, and the queues are served in proportion to their shares (start-time fair queueing: a request starts, in virtual time, where
///   the one before it of the same virtual disk ended, and the earliest start goes next). Who has been idle gains nothing by it and owes nothing.
/// - The pool's metadata, which everybody waits for, never waits.
/// - Background work (repair, scrub, ...) takes what is left, and a few places in any case: it is never starved, and cannot fill the disk.
///
/// A request that may go at once allocates nothing and does not suspend.
final class DiskScheduler: @unchecked Sendable {  // reactor-confined
  /// A place in a queue.
  struct Turn {
    /// In virtual time.
    var start: UInt64
  }

  private struct Waiter {
    var start: UInt64
    var continuation: UnsafeContinuation<Void, Never>
  }

  /// The requests of one virtual disk.
  private struct Flow {
    /// Virtual time when its last request, so far, will have had its share.
    var end: UInt64 = 0
    var waiters = Deque<Waiter>()
  }

  private let shares: VirtualDiskShares
  private let disk: BlockDevice
  /// What a request costs beside its bytes, in bytes: what the disk could have moved meanwhile.
  private let fixedCost: UInt64
  private var control: DepthControl
  /// By the virtual disks' handles.
  private var flows: [Flow] = []
  /// Those that wait.
  private var waitingFlows: [Int] = []
  private(set) var waitingCount = 0
  /// Not private for tests, which begin near its limit.
  var virtualTime: UInt64 = 0
  private var waitingBackground = WaitQueue()
  private(set) var inFlight = 0
  private(set) var backgroundInFlight = 0
  private(set) var isAbandoned = false

  init(disk: BlockDevice, shares: VirtualDiskShares) {
    self.disk = disk
    self.shares = shares
    let isRotational = disk.geometry.isRotational
    fixedCost = isRotational ? StorageBusLimits.rotationalRequestCost : StorageBusLimits.requestCost
    control = DepthControl(isRotational: isRotational)
    waitingFlows.reserveCapacity(16)
  }

  /// The requests of applications that the disk is given at a time, at present.
  var depth: Int { control.depth }
  /// Of what the disk answered lately, in nanoseconds; and what it is kept under.
  var meanLatency: UInt64 { control.meanLatency }
  var latencyBound: UInt64 { control.bound }

  /// nil: the request may go. Else it has to `wait`, with what is returned. Either way, once it is over, it has to `leave`; not when `wait` threw.
  ///
  /// Not one asynchronous function with `wait`: calling one costs even where it does not suspend.
  @inline(__always)
  func enter(_ request: IORequest, byteCount: Int) -> Turn? {
    if request.ioClass.isBackground {
      if !mayRunBackground { return Turn(start: 0) }
      backgroundInFlight += 1
    } else if request.ioClass == .metadata {
      inFlight += 1
    } else {
      let start = charge(Int(request.virtualDisk.number), byteCount)
      if waitingCount > 0 || inFlight >= control.depth { return Turn(start: start) }
      virtualTime = max(virtualTime, start)
      inFlight += 1
      control.hasBegun(inFlight: inFlight)
    }
    return nil
  }

  func wait(_ turn: Turn, _ request: IORequest) async throws(BlockError) {
    if isAbandoned { throw BlockError(.stalled) }
    if request.ioClass.isBackground {
      await withUnsafeContinuation { waitingBackground.append($0) }
    } else {
      let number = Int(request.virtualDisk.number)
      control.someoneWaits()
      await withUnsafeContinuation { continuation in
        if flows[number].waiters.isEmpty { waitingFlows.append(number) }
        flows[number].waiters.append(Waiter(start: turn.start, continuation: continuation))
        waitingCount += 1
      }
    }
    guard isAbandoned else { return }
    if request.ioClass.isBackground { backgroundInFlight -= 1 } else { inFlight -= 1 }
    throw BlockError(.stalled)
  }

  @inline(__always)
  func leave(_ request: IORequest) {
    if request.ioClass.isBackground { backgroundInFlight -= 1 } else { inFlight -= 1 }
    control.ended(at: disk)
    if waitingCount > 0 { wakeApplications() }
    while !waitingBackground.isEmpty && mayRunBackground {
      backgroundInFlight += 1
      waitingBackground.wakeFirst()
    }
  }

  /// Sends away who waits, and who comes.
  func abandon() {
    isAbandoned = true
    for flow in waitingFlows {
      while let waiter = flows[flow].waiters.popFirst() {
        inFlight += 1
        waiter.continuation.resume()
      }
    }
    waitingFlows.removeAll()
    waitingCount = 0
    backgroundInFlight += waitingBackground.count
    waitingBackground.wakeAll()
  }

  // MARK: Applications

  /// Adds the request to what its virtual disk has had; returns its start, in virtual time.
  @inline(__always)
  private func charge(_ number: Int, _ byteCount: Int) -> UInt64 {
    if number >= flows.count { makeFlows(upTo: number) }
    if virtualTime > StorageBusLimits.virtualTimeLimit { beginTimeAnew() }
    let start = max(virtualTime, flows[number].end)
    // In sectors: bytes would only make the numbers larger.
    flows[number].end = start &+ (fixedCost + UInt64(byteCount)) / 512 * shares.price(of: number)
    return start
  }

  private func makeFlows(upTo number: Int) { flows += (flows.count...number).map { _ in Flow() } }

  /// Once in billions of requests: takes from all times what has passed, before they run over, which would put some flows ahead for good.
  private func beginTimeAnew() {
    for number in flows.indices {
      flows[number].end -= min(flows[number].end, virtualTime)
      for index in flows[number].waiters.indices {
        flows[number].waiters[index].start -= min(flows[number].waiters[index].start, virtualTime)
      }
    }
    virtualTime = 0
  }

  private func wakeApplications() {
    while waitingCount > 0 && inFlight < control.depth {
      let next = earliest()
      let flow = waitingFlows[next]
      guard let waiter = flows[flow].waiters.popFirst() else { preconditionFailure("a queue without requests waits for a disk") }
      if flows[flow].waiters.isEmpty {
        waitingFlows.swapAt(next, waitingFlows.count - 1)
        waitingFlows.removeLast()
      }
      waitingCount -= 1
      virtualTime = max(virtualTime, waiter.start)
      // The place is taken for it now: nobody gets in between.
      inFlight += 1
      control.hasBegun(inFlight: inFlight)
      waiter.continuation.resume()
    }
  }

  /// Where in `waitingFlows` the request stands that starts first.
  private func earliest() -> Int {
    var best = 0
    var bestStart = UInt64.max
    for (index, flow) in waitingFlows.enumerated() {
      guard let start = flows[flow].waiters.first?.start, start < bestStart else { continue }
      (best, bestStart) = (index, start)
    }
    return best
  }

  // MARK: Background work

  private var mayRunBackground: Bool {
    let isContended = inFlight > 0 || waitingCount > 0
    return backgroundInFlight < (isContended ? StorageBusLimits.backgroundDepthUnderContention : control.depth)
  }
}

extension IOClass {
  /// Work of the pool's own that nobody waits for.
  public var isBackground: Bool {
    switch self {
    case .application, .metadata: false
    case .repair, .resync, .rebalance, .scrub: true
    }
  }
}
