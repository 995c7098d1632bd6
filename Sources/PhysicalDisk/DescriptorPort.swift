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
  private let reactor: RingReactor
  let blocking: BlockingCalls
  private let file: RingFile
  private let zeroMethod: ZeroMethod

  /// Opens the disk at `path` and, unless it is only to be looked at, claims it: flock on the descriptor used for I/O, and O_EXCL on a
  /// block device. A disk that is locked is waited for at most `claimWaitMilliseconds`. On the reactor.
  public static func open(
    path: String, access: DiskAccess = .claimed, on reactor: RingReactor, blocking: BlockingCalls,
    claimWaitMilliseconds: UInt64 = DiskLimits.claimWaitMilliseconds
  ) async throws(DiskOpenError) -> DescriptorPort {
    reactor.assertIsCurrent()
    let giveUp = reactor.now.advanced(milliseconds: claimWaitMilliseconds)
    while true {
      switch await blocking.perform({ DiskOpening.attempt(path: path, access: access) }) {
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
    self.reactor = reactor
    self.blocking = blocking
    file = reactor.register(opened.descriptor)
  }

  public func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    assertAligned(slice, offset)
    var done = 0
    var interruptions = 0
    while done < slice.byteCount {
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
    var done = 0
    var interruptions = 0
    while done < slice.byteCount {
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
  public func synchronize() async -> Int32 { await reactor.synchronize(file, dataOnly: true) }

  public func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    guard facts.discardGranularity > 0 else { return -EOPNOTSUPP }
    switch facts.kind {
    case .blockDevice: return await discardBlocks(at: offset, byteCount: byteCount)
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

  public func checkIntegrity() async -> DiskFault? {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      return DiskFault(.gone, description: "\(facts.name): the system does not answer for it: \(String(cString: strerror(errno))).")
    }
    var byteCount = UInt64(max(status.st_size, 0))
    if case .blockDevice = identity {
      let result = clinux_block_size_bytes(descriptor, &byteCount)
      if result != 0 || byteCount == 0 { return DiskFault(.gone, description: "\(facts.name): the device is gone. Connect it again.") }
    } else if status.st_nlink == 0 {
      return DiskFault(
        .deleted, description: "\(facts.name) was deleted while in use: its data is lost when the server stops. Copy it away now.")
    }
    guard byteCount >= facts.byteCount else {
      return DiskFault(
        .shrank, description: "\(facts.name) shrank from \(facts.byteCount) to \(byteCount) bytes while in use: what lay beyond is lost.")
    }
    return nil
  }

  /// Lets the kernel read a block device's partition table again, after it was written or wiped. 0, or -errno; -EBUSY while a partition
  /// is open. Nothing to do for files.
  public func rereadPartitions() async -> Int32 {
    guard case .blockDevice = identity else { return 0 }
    let descriptor = descriptor
    return await blocking.perform { clinux_block_reread_partitions(descriptor) }
  }

  public func close() async {
    // The ring may hold the file a little longer than the descriptor is open.
    if !facts.isReadOnly { flock(descriptor, LOCK_UN) }
    reactor.close(file)
  }

  // MARK: Helpers

  private func allocate(_ mode: Int32, at offset: UInt64, byteCount: UInt64) async -> Int32 {
    var interruptions = 0
    while true {
      let result = await reactor.allocate(file, mode: mode, at: offset, byteCount: byteCount)
      if !isInterruption(result, &interruptions) { return result }
    }
  }

  /// Tried again at once, but not without end: PhysicalDisk repeats with a wait.
  private func isInterruption(_ result: Int32, _ count: inout Int) -> Bool {
    guard result == -EINTR || result == -EAGAIN, count < DiskLimits.interruptions else { return false }
    count += 1
    return true
  }

  /// BLKDISCARD has no operation of the ring on the oldest kernel this runs on.
  private func discardBlocks(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    var done: UInt64 = 0
    while done < byteCount {
      let start = offset + done
      let count = min(byteCount - done, DiskLimits.discardPieceByteCount)
      let descriptor = descriptor
      let result = await blocking.perform { clinux_block_discard(descriptor, start, count) }
      if result != 0 { return result }
      done += count
    }
    return 0
  }

  @inline(__always)
  private func assertAligned(_ slice: BufferSlice, _ offset: UInt64) {
    assert(UInt(bitPattern: slice.start) % UInt(facts.ioAlignment) == 0, "memory is not aligned")
    assert(slice.byteCount % facts.ioAlignment == 0 && offset % UInt64(facts.ioAlignment) == 0, "range is not aligned")
    assert(offset + UInt64(slice.byteCount) <= facts.byteCount, "range is not within the disk")
  }
}
