import BlockDevice
import DequeModule
import Reactor

/// The second phase of a connection: requests and replies.
///
/// One task receives (TransmissionReceiver.swift), one sends (TransmissionSender.swift), and each request slot has a task that runs its
/// requests through the stack (here). They meet in this object's queues. Once warmed up, nothing is allocated for a request.
final class Transmission: @unchecked Sendable {  // reactor-confined
  let reactor: RingReactor
  let socket: ClientSocket
  let export: any Export
  let device: BlockDevice
  let limits: NBDLimits
  private let budget: InFlightBudget
  private let share: InFlightBudget.Share
  let rules: RequestRules
  let style: MessageStyle
  let template: IORequest

  // Slots. What is unchecked is so as in RingReactor.
  @exclusivity(unchecked) private var freeSlots: [RequestSlot] = []
  private var slotTasks: [Task<Void, Never>] = []
  /// Requests that were begun and whose replies are not yet sent.
  private(set) var inFlight = 0
  private(set) var inFlightByteCount = 0
  /// Of these, the ones that a slot's task works on.
  private(set) var atWork = 0
  private(set) var requestCount: UInt64 = 0
  /// The receiver, while it waits for a slot or for bytes of the limit.
  @exclusivity(unchecked) private var waitingReceiver: UnsafeContinuation<Void, Never>?

  /// What BLOCK_STATUS gathers extents in.
  var spareExtents: [BlockExtent] = []

  // Between slots and sender
  @exclusivity(unchecked) var ready = Deque<RequestSlot>()
  @exclusivity(unchecked) var waitingSender: UnsafeContinuation<Void, Never>?
  let batch: ReplyBatch
  /// No request comes any more: the sender ends with the last reply.
  var hasReceivedAll = false
  /// Gone when the client takes no replies any more: what it has asked for and is not yet begun is not done.
  let requester = Requester()
  /// What is being sent.
  @exclusivity(unchecked) var sending = Transfer()

  // Receiver
  @exclusivity(unchecked) var pacing = ReceivePacing()
  let staging: ReceiveStaging
  /// The payload that is being received.
  @exclusivity(unchecked) var receiving = Transfer()
  /// Read no more from the socket; what was read is finished and answered.
  private(set) var isStopping = false

  // For giving memory back
  private var idleCount: UInt64 = 0
  private var idleSince = Instant.distantFuture

  init(
    reactor: RingReactor, socket: ClientSocket, export: any Export, negotiated: Negotiated, limits: NBDLimits, budget: InFlightBudget
  ) {
    self.reactor = reactor
    self.socket = socket
    self.export = export
    self.limits = limits
    self.budget = budget
    share = budget.join(export.requestTemplate.virtualDisk)
    device = export.device
    style = negotiated.style
    batch = ReplyBatch(negotiated.style)
    rules = RequestRules(
      isReadOnly: export.isReadOnly || export.device.geometry.isReadOnly, style: negotiated.style,
      metaContexts: negotiated.metaContexts.contexts(of: export.name),
      minimumBlockByteCount: negotiated.keepsToBlockSizes ? UInt64(export.exportDescription.minimumBlockByteCount) : 1)
    var template = export.requestTemplate
    template.requester = requester
    self.template = template
    staging = ReceiveStaging(byteCount: WireLimits.stagingByteCount)
    idleSince = reactor.now  // what the handshake has used is given back, too
  }

  /// Serves the client until it leaves or breaks the protocol, or `stop`. Every request that was begun is done when this returns.
  func run() async -> TransmissionEnd {
    let sender = reactor.spawn { [self] in await send() }
    let end = await receive()
    if end == .streamFailed || (end == .streamEnded && socket.peerIsGone) { requester.isGone = true }
    hasReceivedAll = true
    waitingSender.take()?.resume()
    await sender.value
    for slot in freeSlots { slot.idleTask.take()?.resume() }
    for task in slotTasks { await task.value }
    assert(atWork == 0)
    budget.leave(share)
    return end
  }

  /// Ends the receiving at the next request that has not been read whole.
  func stop() async {
    if isStopping { return }
    isStopping = true
    await socket.cancelReceive()
  }

  /// Ends the stream now, and what was begun as soon as that can be.
  func abort() {
    requester.isGone = true
    socket.abort()
  }

  /// True when a transfer has stood still for too long.
  func isStalled(at now: Instant) -> Bool {
    sending.hasStoodStill(at: now, limits.stallMilliseconds) || receiving.hasStoodStill(at: now, limits.stallMilliseconds)
  }

  /// True when the client moves so little of what it has begun that others must not wait for it.
  func isSlow(at now: Instant) -> Bool { sending.isSlow(at: now, limits) || receiving.isSlow(at: now, limits) }

  // MARK: Slots

  /// A slot for a request that moves `byteCount` payload bytes. Waits while the connection has as much in flight as it may, or all together
  /// have; a single request is never too much.
  func takeSlot(byteCount: Int) async -> RequestSlot {
    while inFlight == limits.requestsInFlight || (inFlight > 0 && inFlightByteCount + byteCount > limits.bytesInFlight) {
      await withUnsafeContinuation { waitingReceiver = $0 }
    }
    if !budget.tryTake(byteCount, for: share) {
      await budget.take(byteCount, for: share)
      if socket.peerIsGone { requester.isGone = true }
    }
    inFlight += 1
    inFlightByteCount += byteCount
    requestCount &+= 1
    let slot = freeSlots.popLast() ?? RequestSlot()
    slot.chargedByteCount = byteCount
    slot.error = .none
    slot.errorOffset = nil
    return slot
  }

  /// The reply is sent, or never will be.
  func giveBack(_ slot: RequestSlot) {
    if let payload = slot.payload {
      reactor.buffers.release(payload.buffer)
      slot.payload = nil
    }
    inFlight -= 1
    inFlightByteCount -= slot.chargedByteCount
    budget.giveBack(slot.chargedByteCount, of: share)
    freeSlots.append(slot)
    waitingReceiver.take()?.resume()
  }

  /// Lets the slot's own task do the request.
  func dispatch(_ slot: RequestSlot) {
    atWork += 1
    slot.hasWork = true
    if slot.hasTask {
      slot.idleTask.take()?.resume()
    } else {
      slot.hasTask = true
      slotTasks.append(reactor.spawn { [self] in await work(slot) })
    }
  }

  /// Puts the slot's reply into the queue of the sender.
  func finish(_ slot: RequestSlot) {
    ready.append(slot)
    waitingSender.take()?.resume()
  }

  private func work(_ slot: RequestSlot) async {
    while true {
      while slot.hasWork {
        if let places = share.longRanges.places(for: slot.command, byteCount: slot.header.length) {
          await performLong(slot, places)
        } else {
          await perform(slot)
        }
        slot.hasWork = false
        atWork -= 1
        finish(slot)
      }
      if (hasReceivedAll && inFlight == 0) || slot.isRetired { return }
      await withUnsafeContinuation { slot.idleTask = $0 }
    }
  }

  private func performLong(_ slot: RequestSlot, _ places: Places) async {
    await places.enter()
    defer { places.leave() }
    if requester.isGone {
      slot.error = ReplyError(BlockError(.shuttingDown), of: slot.command, flags: slot.header.flags)  // nobody is told
      return
    }
    await reactor.sleep(milliseconds: 0)  // a place is for a turn of the reactor at least
    await perform(slot)
  }

  /// For tests.
  var hasGivenMemoryBack: Bool { requestCount > 0 && idleCount == requestCount && idleSince == .distantFuture }

  /// Gives back what busier times have made, once nothing was asked for long enough: a thousand idle clients cost little, whatever they did before.
  /// How many slots that were.
  func giveBackIdleMemory(at now: Instant) -> Int {
    if inFlight > 0 || idleCount != requestCount {
      idleCount = requestCount
      idleSince = now
    } else if idleSince.advanced(milliseconds: limits.idleMilliseconds) < now {
      idleSince = .distantFuture
      let count = freeSlots.count
      for slot in freeSlots {
        slot.isRetired = true
        slot.idleTask.take()?.resume()
      }
      freeSlots = []
      slotTasks = []
      spareExtents = []
      ready = Deque()
      // In the middle of a payload the next byte may be anything: see `ReceiveStaging.giveBackMemory`.
      if !receiving.isBegun {
        staging.giveBackMemory()
        socket.giveBackMemory()
      }
      return count
    }
    return 0
  }

  private func perform(_ slot: RequestSlot) async {
    let offset = slot.header.offset
    let length = slot.header.length
    do throws(BlockError) {
      switch slot.command {
      case .read:
        try await read(slot)
      case .write:
        guard let slice = slot.payload else { preconditionFailure("a WRITE was handed on without its payload") }
        try await device.write(at: offset, from: slice, request(slot))
      case .flush:
        try await device.flush(template)
      case .trim:
        try await device.discard(at: offset, byteCount: length, request(slot))
      case .writeZeroes:
        try await device.writeZeroes(at: offset, byteCount: length, request(slot))
      case .cache:
        try await fillCache(slot)
      case .blockStatus:
        try await tellStatus(slot)
      case .disconnect:
        return  // never gets a slot
      }
    } catch {
      if slot.command == .trim && error.cause == .unsupported { return }  // a hint: keeping the data is a way to follow it
      slot.error = ReplyError(error, of: slot.command, flags: slot.header.flags)
    }
  }

  /// A disk that was given up while it read keeps the buffer, and may fill it at any time: what is sent comes from another.
  private func read(_ slot: RequestSlot) async throws(BlockError) {
    let span = slot.parts.count > 1 ? dataSpan(of: slot) : Int(slot.header.length)
    for tries in 1... {
      let slice = await reactor.buffers.acquire(byteCount: span)
      slot.payload = slice
      do throws(BlockError) {
        if slot.parts.count > 1 {
          try await readParts(of: slot, into: slice)
        } else {
          try await device.read(at: slot.header.offset, into: slice, template)
        }
        if reactor.buffers.isExclusive(slice.buffer) { return }
      } catch {
        if error.cause != .stalled { throw error }
      }
      slot.payload = nil
      reactor.buffers.release(slice.buffer)
      if tries > WireLimits.stalledReadRetries { throw BlockError(.stalled) }
    }
  }

  private func request(_ slot: RequestSlot) -> IORequest { template.with(flags: IOFlags(slot.header.flags)) }
}

/// Why a transmission ended, for the log.
enum TransmissionEnd: Sendable {
  case disconnected, streamEnded, streamFailed, protocolBroken, stopped
}
