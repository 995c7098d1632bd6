import BlockDevice
import CLinux
import Glibc
import Reactor

/// The port over a regular file or a block device: one descriptor, on which the claim is held too, so that writes still in flight after
/// the process was killed keep the claim.
public final class DescriptorPort: DiskPort, @unchecked Sendable {  // reactor-confined
  public let facts: DiskFacts
  public let identity: DiskIdentity
  /// For questions about the disk (SignatureProbe reopens it); I/O goes through the port.
  public let descriptor: Int32
  let reactor: RingReactor
  let blocking: BlockingCalls
  let file: RingFile
  /// The file system is this machine's own: asking for the file's size never waits for another process or machine.
  let isStatusLocal: Bool
  var integrity = FileIntegrity()
  private(set) var isAbandoned = false
  private let zeroMethod: ZeroMethod
  private let discards: BlockingDiscards

  /// Opens the disk at `path` and, unless it is only to be looked at, claims it: flock on the descriptor used for I/O, and O_EXCL on a
  /// block device. A disk that is locked is waited for at most `claimWaitMilliseconds`. On the reactor. `opening` is the thread that opens it,
  /// which may hang; else `blocking` does.
  public static func open(
    path: String, access: DiskAccess = .claimed, on reactor: RingReactor, blocking: BlockingCalls,
    opening: BlockingCalls? = nil, claimWaitMilliseconds: UInt64 = DiskLimits.claimWaitMilliseconds
  ) async throws(DiskOpenError) -> DescriptorPort {
    reactor.assertIsCurrent()
    let giveUp = reactor.now.advanced(milliseconds: claimWaitMilliseconds)
    while true {
      switch await (opening ?? blocking).perform({ DiskOpening.attempt(path: path, access: access) }) {
      case .success(let opened): return DescriptorPort(opened, reactor: reactor, blocking: blocking)
      case .failure(let error):
        guard error.mayPass, reactor.now < giveUp else { throw error }
        await reactor.sleep(milliseconds: DiskLimits.claimRetryMilliseconds)
      }
    }
  }

  private init(_ opened: OpenedDisk, reactor: RingReactor, blocking: BlockingCalls) {
    facts = opened.facts
    identity = opened.identity
    descriptor = opened.descriptor
    zeroMethod = opened.zeroMethod
    isStatusLocal = opened.isStatusLocal
    discards = BlockingDiscards(reactor: reactor)
    self.reactor = reactor
    self.blocking = blocking
    file = reactor.register(opened.descriptor, mayBlock: !opened.isStatusLocal)
  }

  public func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    assertAligned(slice, offset)
    var done = 0
    var interruptions = 0
    while done < slice.byteCount {
      if isAbandoned { return IOResult.abandoned }
      let result = await reactor.read(file, slice.part(from: done, byteCount: slice.byteCount - done), at: offset + UInt64(done))
      if isInterruption(result, &interruptions) { continue }
      if result < 0 { return result }
      // Within the size that was found at open, only a disk that shrank ends early. What is left may be no whole block to ask for.
      if result == 0 || Int(result) % facts.ioAlignment != 0 { return -EIO }
      done += Int(result)
    }
    return 0
  }

  public func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    assertAligned(slice, offset)
    if offset + UInt64(slice.byteCount) == facts.byteCount { return await writeTail(slice, at: offset, isDurable: isDurable) }
    return await writeAll(slice, at: offset, isDurable: isDurable)
  }

  private func writeTail(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    let obstacle = await beginTailChange()
    if obstacle != 0 { return obstacle }
    let result = await writeAll(slice, at: offset, isDurable: isDurable)
    endTailChange(result == 0 ? slice : nil)
    return result
  }

  @inline(__always)
  private func writeAll(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    var done = 0
    var interruptions = 0
    while done < slice.byteCount {
      if isAbandoned { return IOResult.abandoned }
      let rest = slice.part(from: done, byteCount: slice.byteCount - done)
      let result = await reactor.write(file, rest, at: offset + UInt64(done), isDurable: isDurable)
      if isInterruption(result, &interruptions) { continue }
      if result < 0 { return result }
      if result == 0 || Int(result) % facts.ioAlignment != 0 { return -EIO }
      done += Int(result)
    }
    return 0
  }

  /// Not repeated on any error: what a failed flush forgot, a second one does not know of.
  public func synchronize() async -> Int32 { isAbandoned ? IOResult.abandoned : await reactor.synchronize(file, dataOnly: true) }

  public func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    guard facts.discardGranularity > 0 else { return -EOPNOTSUPP }
    switch facts.kind {
    case .blockDevice: return isAbandoned ? IOResult.abandoned : await discards.perform(descriptor, at: offset, byteCount: byteCount)
    default: return await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at: offset, byteCount: byteCount)
    }
  }

  public func zero(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    switch zeroMethod {
    case .none: return -EOPNOTSUPP
    case .zeroRange: return await allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, at: offset, byteCount: byteCount)
    case .punchAndAllocate:
      let punched = await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at: offset, byteCount: byteCount)
      return punched == 0 ? await allocate(FALLOC_FL_KEEP_SIZE, at: offset, byteCount: byteCount) : punched
    }
  }

  /// Lets the kernel read a block device's partition table again, after it was written or wiped. 0, or -errno; -EBUSY while a partition
  /// is open. Nothing to do for files.
  public func rereadPartitions() async -> Int32 {
    guard case .blockDevice = identity else { return 0 }
    let descriptor = descriptor
    return await blocking.perform { clinux_block_reread_partitions(descriptor) }
  }

  // MARK: Giving up

  public func oldestRequestAge(now: Instant) -> UInt64 { max(reactor.oldestOperationAge(file), discards.oldestAge(now: now)) }

  public func abandon() {
    isAbandoned = true
    reactor.abandon(file)
    discards.abandon()
  }

  public var hungCount: Int { reactor.hungCount(file) + discards.hungCount }

  public func drained() async {
    await reactor.drained(file)
    await discards.drained()
  }

  public func close() async {
    let descriptor = descriptor
    // The ring may hold the file a little longer than the descriptor is open.
    if isStatusLocal {
      flock(descriptor, LOCK_UN)
      return reactor.close(file)
    }
    // Closing asks the other side, too, which may take its time. A thread of its own: others must not wait for this one.
    reactor.unregister(file)
    let thread = (try? BlockingCalls.start(name: "close")) ?? blocking
    await thread.perform {
      flock(descriptor, LOCK_UN)
      CLinux.close(descriptor)
    }
  }

  // MARK: Helpers

  private func allocate(_ mode: Int32, at offset: UInt64, byteCount: UInt64) async -> Int32 {
    let reachesTail = offset + byteCount == facts.byteCount
    if reachesTail {
      let obstacle = await beginTailChange()
      if obstacle != 0 { return obstacle }
    }
    defer { if reachesTail { endTailChange(nil) } }
    var interruptions = 0
    while !isAbandoned {
      let result = await reactor.allocate(file, mode: mode, at: offset, byteCount: byteCount)
      if !isInterruption(result, &interruptions) { return result }
    }
    return IOResult.abandoned
  }

  /// Tried again at once, but not without end: PhysicalDisk repeats with a wait.
  private func isInterruption(_ result: Int32, _ count: inout Int) -> Bool {
    guard result == -EINTR || result == -EAGAIN, count < DiskLimits.interruptions else { return false }
    count += 1
    return true
  }

  @inline(__always)
  private func assertAligned(_ slice: BufferSlice, _ offset: UInt64) {
    assert(UInt(bitPattern: slice.start) % UInt(facts.ioAlignment) == 0, "memory is not aligned")
    assert(slice.byteCount % facts.ioAlignment == 0 && offset % UInt64(facts.ioAlignment) == 0, "range is not aligned")
    assert(offset + UInt64(slice.byteCount) <= facts.byteCount, "range is not within the disk")
  }
}
