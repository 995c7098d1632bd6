import BlockDevice
import CLinux
import Reactor

/// The class driver: one disk as a BlockDevice, whatever port it is reached through. It checks alignment, repeats what may pass, answers
/// FLUSH by rule W, replaces what the disk cannot do, and keeps the disk's health.
///
/// A flush that failed is final: the system may have forgotten what it could not write, and a second flush would succeed without it. So
/// every later flush fails with EIO until the disk is opened anew; reads and writes go on.
///
/// A disk that does not answer is given up by `abandon`: then nobody waits for it any more, nothing is asked of it, and it cannot be closed
/// (and so not opened anew, by anyone) before what was sent to it is over.
public final class PhysicalDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  public let port: any DiskPort
  public private(set) var health = DiskHealth()
  /// The disk is not what it was opened as.
  public private(set) var fault: DiskFault?
  private let facts: DiskFacts
  private let storedGeometry: BlockGeometry
  private var gate = FlushGate()
  /// What the port refused once is not asked again.
  private var canZero: Bool
  private var canPunch: Bool
  private var isClosing = false
  public private(set) var isAbandoned = false
  private var inFlight = 0
  private var idleWaiters = WaitQueue()

  public init(reactor: any Reactor, port: any DiskPort) {
    self.port = port
    facts = port.facts
    canZero = facts.zeroesCheaply
    canPunch = facts.discardGranularity > 0
    storedGeometry = BlockGeometry(
      byteCount: facts.byteCount, logicalSector: facts.ioAlignment, physicalSector: facts.physicalSector,
      discardGranularity: facts.discardGranularity, zeroesCheaply: facts.zeroesCheaply, isReadOnly: facts.isReadOnly,
      isRotational: facts.isRotational)
    super.init(reactor: reactor, layerName: "PhysicalDisk", label: facts.name)
  }

  public override var geometry: BlockGeometry { storedGeometry }

  public override var remarks: [String] {
    var remarks = [facts.isDirect ? "direct I/O" : "buffered: the file system refuses direct I/O"]
    if facts.isRotational { remarks.append("rotational") }
    if facts.isReadOnly { remarks.append("read-only") }
    if let ailment { remarks.append(ailment) }
    if port.hungCount > 0 { remarks.append("\(port.hungCount) requests that it was sent may still happen") }
    return remarks
  }

  // MARK: Reading and writing

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try begin(offset, UInt64(slice.byteCount), memory: slice.start)
    defer { end() }
    var tries = 0
    while true {
      let result = await port.read(slice, at: offset)
      if result == 0 {
        if port.isSuspicious(slice) { try await checkIntegrity() }
        return
      }
      try await retryOrThrow(.read, at: offset, result, &tries)
    }
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try begin(offset, UInt64(slice.byteCount), memory: slice.start)
    defer { end() }
    try checkWritable()
    try await write(slice, at: offset, isDurable: request.isForceUnitAccess, as: .write)
  }

  /// A write that was durable by itself leaves nothing for a flush.
  private func write(
    _ slice: BufferSlice, at offset: UInt64, isDurable: Bool, as operation: BlockOperation
  ) async throws(BlockError) {
    var tries = 0
    while true {
      let result = await port.write(slice, at: offset, isDurable: isDurable)
      if result != 0 || !isDurable { gate.changeCompleted() }
      if result == 0 { return }
      try await retryOrThrow(operation, at: offset, result, &tries)
    }
  }

  // MARK: Flushing

  /// The token of the disk flush that covers everything answered before this call, by this server or by the disk's owner before it.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    try checkOpen()
    if facts.isReadOnly { return FlushToken(number: 0) }
    inFlight += 1
    defer { end() }
    return try await flushDisk()
  }

  private func flushDisk() async throws(BlockError) -> FlushToken {
    try checkFlushes()
    if gate.isClean {
      try await checkIntegrity()
      return FlushToken(number: gate.succeeded)
    }
    let number = gate.nextNumber
    while gate.succeeded < number {
      if gate.isInFlight {
        await withUnsafeContinuation { gate.waiters.append($0) }
      } else {
        try await leadFlush()
      }
      try checkFlushes()
    }
    return FlushToken(number: gate.succeeded)
  }

  private func checkFlushes() throws(BlockError) {
    if isAbandoned { throw BlockError(.stalled) }
    if gate.hasFailed { throw BlockError(.ioFailed, errorNumber: EIO) }
  }

  private func leadFlush() async throws(BlockError) {
    gate.begin()
    let result = await port.synchronize()
    if isAbandoned { return gate.end(succeeded: false) }  // the caller's next look says so
    if result != 0 {
      // Whatever the cause (a full file system too), the answer to FLUSH is that data may be lost.
      let error = BlockError(.ioFailed, errorNumber: -result)
      health.countFailure(.flush, at: 0, error)
      gate.end(succeeded: false)
      throw error
    }
    let fault = await port.checkIntegrity()
    if let fault {
      health.count(fault)
      self.fault = fault
    }
    gate.end(succeeded: fault == nil && !isAbandoned)
  }

  /// Looks whether the disk is still what it was opened as; one that is not fails this and every later flush.
  public override func checkIntegrity() async throws(BlockError) {
    if isAbandoned { throw BlockError(.stalled) }
    let fault = await port.checkIntegrity()
    if isAbandoned { throw BlockError(.stalled) }
    guard let fault else { return }
    if !gate.hasFailed || self.fault == nil { health.count(fault) }
    self.fault = fault
    gate.fail()
    throw BlockError(.ioFailed, errorNumber: EIO)
  }

  // MARK: Discarding and zeroing

  /// Done without effect where the disk gives no space back: the data stays.
  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try begin(offset, byteCount, memory: nil)
    defer { end() }
    try checkWritable()
    guard canPunch else { return }
    var tries = 0
    while true {
      let result = await port.punch(at: offset, byteCount: byteCount)
      gate.changeCompleted()
      if result == 0 { break }
      if BlockError(kernelResult: result).cause == .unsupported {
        canPunch = false
        return
      }
      try await retryOrThrow(.discard, at: offset, result, &tries)
    }
    if request.isForceUnitAccess { _ = try await flushDisk() }
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try begin(offset, byteCount, memory: nil)
    defer { end() }
    try checkWritable()
    if try await zeroCheaply(at: offset, byteCount: byteCount) {
      if request.isForceUnitAccess { _ = try await flushDisk() }
      return
    }
    var done: UInt64 = 0
    while done < byteCount {
      guard let piece = ZeroSource.slice(byteCount: Int(min(byteCount - done, UInt64(DiskLimits.zeroPieceByteCount)))) else {
        throw BlockError(.noMemory)
      }
      try await write(piece, at: offset + done, isDurable: request.isForceUnitAccess, as: .writeZeroes)
      done += UInt64(piece.byteCount)
    }
  }

  /// False where zeros have to be written.
  private func zeroCheaply(at offset: UInt64, byteCount: UInt64) async throws(BlockError) -> Bool {
    var tries = 0
    while canZero && byteCount > 0 {
      let result = await port.zero(at: offset, byteCount: byteCount)
      gate.changeCompleted()
      if result == 0 { return true }
      if BlockError(kernelResult: result).cause == .unsupported {
        canZero = false
        break
      }
      try await retryOrThrow(.writeZeroes, at: offset, result, &tries)
    }
    return false
  }

  // MARK: What the pool asks

  public override func oldestRequestAge(now: Instant) -> UInt64 { port.oldestRequestAge(now: now) }

  public override var hasDrained: Bool { port.hungCount == 0 }
  public override var hasFailedFlush: Bool { gate.hasFailed }

  public override var ailment: String? { health.state == .ok ? nil : health.lastError ?? "\(health.state)" }

  // MARK: Ends

  /// Refuses further requests, waits for those in flight, and gives up the claim. Nothing is flushed: that is the caller's decision.
  ///
  /// A disk that was abandoned keeps its claim until what was sent to it is over, lest the next owner's writes be overtaken by these. That is
  /// not waited for: then the answer is `.whenDrained`, and the claim is given up in the background.
  @discardableResult
  public func close() async -> DiskClosing {
    guard !isClosing else { return port.hungCount == 0 ? .closed : .whenDrained }
    isClosing = true
    while inFlight > 0 { await withUnsafeContinuation { idleWaiters.append($0) } }
    if port.hungCount == 0 {
      await port.close()
      return .closed
    }
    reactor.spawn { [port] in
      await port.drained()
      await port.close()
    }
    return .whenDrained
  }

  /// Retries that sleep notice it when they wake, at most a tenth of a second later.
  public override func abandon() {
    guard !isAbandoned else { return }
    isAbandoned = true
    health.countStall(age: port.oldestRequestAge(now: reactor.now))
    port.abandon()
    gate.abandon()
  }

  /// Returns when `hasDrained`, which is only ever worth waiting for after `abandon`.
  public func drained() async { await port.drained() }

  @inline(__always)
  private func begin(_ offset: UInt64, _ byteCount: UInt64, memory: UnsafeMutableRawPointer?) throws(BlockError) {
    if isClosing || isAbandoned { try checkOpen() }
    let all = offset | byteCount | UInt64(UInt(bitPattern: memory))
    if all & UInt64(facts.ioAlignment - 1) != 0 { throw BlockError(.misaligned) }
    inFlight += 1
  }

  @inline(__always)
  private func end() {
    inFlight -= 1
    if isClosing && inFlight == 0 { idleWaiters.wakeAll() }
  }

  private func checkOpen() throws(BlockError) {
    if isAbandoned { throw BlockError(.stalled) }
    if isClosing { throw BlockError(.shuttingDown) }
  }

  private func checkWritable() throws(BlockError) {
    if facts.isReadOnly { throw BlockError(.readOnly) }
  }

  /// Returns after a wait when the request is worth another try; counts and throws when it is not.
  private func retryOrThrow(
    _ operation: BlockOperation, at offset: UInt64, _ result: Int32, _ tries: inout Int
  ) async throws(BlockError) {
    if isAbandoned { throw BlockError(.stalled) }
    guard DiskHealth.mayPass(result), tries < DiskLimits.transientRetries, !isClosing else {
      // That it is not what it was tells more than the error: a block device that shrank calls itself full where it ends.
      try await checkIntegrity()
      let error = BlockError(kernelResult: result)
      health.countFailure(operation, at: offset, error)
      throw error
    }
    health.countTransient(operation, at: offset, result)
    var delay = DiskLimits.retryDelayMilliseconds
    for _ in 0..<tries { delay *= 10 }
    tries += 1
    await reactor.sleep(milliseconds: delay)
    if isAbandoned { throw BlockError(.stalled) }
  }
}

/// What became of the claim when a disk was closed.
public enum DiskClosing: Sendable {
  /// It is given up: the disk can be opened by anyone.
  case closed
  /// It is kept until what was sent to the disk before it was abandoned is over.
  case whenDrained
}
