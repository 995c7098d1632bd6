import BlockDevice
import Reactor

/// A physical disk as the pool sees it: the storage bus layer (SBL) decides which request goes next, the application's before the
/// pool's own background work. It knows nothing of resiliency. The read cache will live here.
public final class BusDevice: BlockDevice, @unchecked Sendable {  // reactor-confined
  public let disk: BlockDevice
  private var inFlight = 0
  private var backgroundInFlight = 0
  private var waitingApplication = WaitQueue()
  private var waitingBackground = WaitQueue()
  private var isAbandoned = false

  public init(disk: BlockDevice) {
    self.disk = disk
    super.init(reactor: disk.reactor, layerName: "StorageBus", label: disk.label)
  }

  public override var geometry: BlockGeometry { disk.geometry }
  public override var lowerDevices: [BlockDevice] { [disk] }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let isBackground = request.ioClass.isBackground
    if mustWait(isBackground) { try await waitForTurn(isBackground) }
    start(isBackground)
    defer { finish(isBackground) }
    try await disk.read(at: offset, into: slice, request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let isBackground = request.ioClass.isBackground
    if mustWait(isBackground) { try await waitForTurn(isBackground) }
    start(isBackground)
    defer { finish(isBackground) }
    try await disk.write(at: offset, from: slice, request)
  }

  /// Not queued: a flush that waited behind writes would hold up the acknowledgement of all of them.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await disk.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await disk.discard(at: offset, byteCount: byteCount, request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await disk.writeZeroes(at: offset, byteCount: byteCount, request)
  }

  // MARK: What the pool asks of the disk

  public override func oldestRequestAge(now: Instant) -> UInt64 { disk.oldestRequestAge(now: now) }

  /// Requests that wait here for their turn are sent away, too.
  public override func abandon() {
    isAbandoned = true
    disk.abandon()
    waitingApplication.wakeAll()
    waitingBackground.wakeAll()
  }

  public override var hasDrained: Bool { disk.hasDrained }
  public override var hasFailedFlush: Bool { disk.hasFailedFlush }
  public override func checkIntegrity() async throws(BlockError) { try await disk.checkIntegrity() }
  public override var ailment: String? { disk.ailment }

  // MARK: Whose turn it is

  @inline(__always)
  private func mustWait(_ isBackground: Bool) -> Bool {
    if inFlight >= StorageBusLimits.queueDepth { return true }
    guard isBackground else { return !waitingApplication.isEmpty }
    // Applications hold most of the depth: background work gets its small share and no more, but never nothing.
    let applicationsAreBusy = inFlight - backgroundInFlight > 0
    return applicationsAreBusy && backgroundInFlight >= StorageBusLimits.backgroundDepthUnderContention
  }

  private func waitForTurn(_ isBackground: Bool) async throws(BlockError) {
    repeat {
      if isAbandoned { throw BlockError(.stalled) }
      await withUnsafeContinuation {
        if isBackground { waitingBackground.append($0) } else { waitingApplication.append($0) }
      }
      if isAbandoned { throw BlockError(.stalled) }
    } while isBackground ? mustWait(true) : inFlight >= StorageBusLimits.queueDepth
  }

  @inline(__always)
  private func start(_ isBackground: Bool) {
    inFlight += 1
    if isBackground { backgroundInFlight += 1 }
  }

  @inline(__always)
  private func finish(_ isBackground: Bool) {
    inFlight -= 1
    if isBackground { backgroundInFlight -= 1 }
    if !waitingApplication.isEmpty { waitingApplication.wakeFirst() } else if !waitingBackground.isEmpty { waitingBackground.wakeFirst() }
    if !waitingBackground.isEmpty && backgroundInFlight < StorageBusLimits.backgroundDepthUnderContention { waitingBackground.wakeFirst() }
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
