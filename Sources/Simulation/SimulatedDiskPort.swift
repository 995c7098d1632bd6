import CLinux
import PhysicalDisk
import Reactor

/// A simulated disk as the stack sees it during one power-on.
public final class SimulatedDiskPort: DiskPort, @unchecked Sendable {  // reactor-confined
  public let disk: SimulatedDisk
  public let facts: DiskFacts
  private let reactor: SimulatedReactor
  private let machine: SimulatedMachine
  private let powerOnNumber: UInt64
  private let powerCycle: UInt64
  private var inFlight: [InFlightOperation] = []
  private var isAbandoned = false
  public private(set) var hungCount = 0
  private var drainWaiters = WaitQueue()
  private var isClosed = false
  /// False once the disk vanished under this port: it may come back, but for another port.
  var isAttached: Bool { disk.attachment == attachment }
  private let attachment: UInt64

  init(disk: SimulatedDisk, reactor: SimulatedReactor, machine: SimulatedMachine) {
    self.disk = disk
    self.reactor = reactor
    self.machine = machine
    facts = disk.facts
    powerOnNumber = machine.powerOnCount
    powerCycle = disk.powerCycle
    attachment = disk.attachment
  }

  /// The power that was on when this port was opened has not been off since.
  var hasPower: Bool { machine.isPowered && machine.powerOnCount == powerOnNumber && disk.powerCycle == powerCycle }

  public func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    await perform(.read, offset, UInt64(slice.byteCount), slice)
  }

  public func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    await perform(isDurable ? .durableWrite : .write, offset, UInt64(slice.byteCount), slice)
  }

  public func synchronize() async -> Int32 { await perform(.flush, 0, 0, nil) }

  public func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 { await perform(.punch, offset, byteCount, nil) }

  public func zero(at offset: UInt64, byteCount: UInt64) async -> Int32 { await perform(.zero, offset, byteCount, nil) }

  public func close() async {
    if !inFlight.isEmpty { reactor.report(violation: "\(facts.name) was closed with \(inFlight.count) operations in flight") }
    if hungCount > 0 { reactor.report(violation: "\(facts.name) was closed with \(hungCount) operations hung") }
    _ = await perform(.close, 0, 0, nil)
    isClosed = true
  }

  /// Takes virtual time whatever comes of it, so that who tries again and again meets the limit on steps and not an endless loop.
  private func perform(_ operation: DiskOperation, _ offset: UInt64, _ byteCount: UInt64, _ slice: BufferSlice?) async -> Int32 {
    reactor.assertIsCurrent()
    if let refusal = refusal(operation, offset, byteCount) {
      reactor.report(violation: refusal)
      await reactor.sleep(milliseconds: 1)
      return -EINVAL
    }
    if isAbandoned && operation != .close { return IOResult.abandoned }
    let begun = disk.begin(operation, offset..<offset + byteCount, slice)
    inFlight.append(begun)
    reactor.spawn { [self] in await live(begun) }
    return await withUnsafeContinuation { begun.waiter = $0 }
  }

  /// An operation's life, which is no shorter when its caller is sent away.
  private func live(_ operation: InFlightOperation) async {
    let delay = disk.delay(of: operation)
    await reactor.sleep(until: Instant(nanoseconds: reactor.now.nanoseconds &+ delay.nanoseconds))
    if delay.stallSeconds > 0 || delay.hangs { operation.stall() }
    let end = reactor.now.advanced(milliseconds: delay.stallSeconds &* 1000)
    // By the second: a disk that loses its power or is pulled out does not stall on.
    while reactor.now < end && hasPower && isAttached { await reactor.sleep(until: min(end, reactor.now.advanced(milliseconds: 1000))) }
    if delay.hangs && hasPower && isAttached { await withUnsafeContinuation { disk.hang($0) } }
    let result = disk.complete(operation, of: self)
    if let waiter = operation.waiter {
      inFlight.removeAll { $0 === operation }
      return waiter.resume(returning: result)
    }
    if let slice = operation.slice { reactor.buffers.release(slice.buffer) }
    hungCount -= 1
    if hungCount == 0 { drainWaiters.wakeAll() }
  }

  // MARK: Giving up

  /// As a block device that was pulled: the system does not answer for it.
  public func checkIntegrity() async -> DiskFault? {
    isAttached ? nil : DiskFault(.gone, description: "\(facts.name) is not there any more")
  }

  public func oldestRequestAge(now: Instant) -> UInt64 { inFlight.first.map { now.nanoseconds(since: $0.began) } ?? 0 }

  public func abandon() {
    if isAbandoned { return }
    isAbandoned = true
    disk.count(.diskAbandoned)
    disk.note("is abandoned with \(inFlight.count) operations in flight")
    for operation in inFlight {
      disk.count(.callerSentAway)
      if let slice = operation.slice { reactor.buffers.retain(slice.buffer) }
      hungCount += 1
      operation.waiter.take()?.resume(returning: IOResult.abandoned)
    }
    inFlight.removeAll()
  }

  public func drained() async {
    while hungCount > 0 { await withUnsafeContinuation { drainWaiters.append($0) } }
  }

  private func refusal(_ operation: DiskOperation, _ offset: UInt64, _ byteCount: UInt64) -> String? {
    if isClosed { return "\(operation) on \(facts.name) after it was closed" }
    let (end, overflow) = offset.addingReportingOverflow(byteCount)
    if overflow || end > facts.byteCount {
      return "\(operation) of \(byteCount) bytes at \(offset) reaches beyond the end of \(facts.name) (\(facts.byteCount))"
    }
    let alignment = UInt64(facts.ioAlignment)
    if offset % alignment != 0 || byteCount % alignment != 0 {
      return "\(operation) of \(byteCount) bytes at \(offset) on \(facts.name) is not aligned to \(alignment)"
    }
    return nil
  }
}
