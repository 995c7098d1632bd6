import BlockDevice
import CLinux
import Glibc
import Reactor

/// Is the disk still what it was opened as? A file that someone truncates re-extends by our own writes beyond its new end, and then reads as
/// zeros without any error; one that was deleted goes on working until it is closed.
///
/// - The size is looked at once a second, before each FLUSH is answered, and right before a write to the disk's end: no other write of ours
///   brings a truncated file back to its full size.
/// - What our writes beyond the cut put back in between reads as zeros. So where a read gives zeros from a file of this machine's own file
///   systems, the size is looked at before they are believed.
/// - A file that was truncated and extended again in between is back at its size but has lost its space: when the space has fallen by a
///   quarter, the last block is read. If that was not zeros and now is, the file was cut.
///
/// What this leaves open: cutting and extending again where the last block was zeros anyway, or between the look before a write to the end
/// and that write; a file that is cut and filled with other content; deleting on file systems that only hide an open file (NFS, FUSE).
struct FileIntegrity {
  enum Tail { case unknown, zeros, content }

  /// Holes of files are whole blocks of the file system: 512 bytes at least, and then a look more often than needed does no harm.
  static let holeByteCount = 512

  /// What the last block holds, as far as that is known.
  var tail = Tail.unknown
  /// Rises with every change of the last block that begins or ends, so that a look at it in between counts for nothing.
  var tailChanges: UInt64 = 0
  /// At the last look, in bytes; 0 before the first.
  var allocatedByteCount: UInt64 = 0

  /// Whether the last block is to be looked at, which now has so much space.
  mutating func mustReadTail(allocated: UInt64) -> Bool {
    let before = allocatedByteCount
    allocatedByteCount = allocated
    return tail == .unknown || (tail == .content && allocated < before - before / 4)
  }

  mutating func tailChanges(to tail: Tail) {
    tailChanges &+= 1
    self.tail = tail
  }
}

extension DescriptorPort {
  public func checkIntegrity() async -> DiskFault? {
    if isAbandoned { return nil }  // no more is asked of it, and nothing it does is believed
    if case .blockDevice = identity { return checkBlockDevice() }
    var status = clinux_file_status()
    let result = await fileStatus(&status)
    if result == IOResult.abandoned { return nil }
    guard result == 0 else {
      return DiskFault(.gone, description: "\(facts.name): the system does not answer for it: \(String(cString: strerror(-result))).")
    }
    if status.links == 0 {
      return DiskFault(
        .deleted, description: "\(facts.name) was deleted while in use: its content is gone when the server stops.")
    }
    if let fault = shrinkage(to: status.byte_count) { return fault }
    guard integrity.mustReadTail(allocated: status.allocated_byte_count) else { return nil }
    return await checkTail()
  }

  /// A block that begins with zeros may be a hole. Those that do are few, or cheap: the look is one call that does not wait.
  public func isSuspicious(_ slice: BufferSlice) -> Bool {
    guard isStatusLocal, facts.kind == .file else { return false }
    for start in stride(from: 0, to: slice.byteCount, by: FileIntegrity.holeByteCount)
    where slice.start.loadUnaligned(fromByteOffset: start, as: UInt64.self) == 0 { return true }
    return false
  }

  private func checkBlockDevice() -> DiskFault? {
    var byteCount: UInt64 = 0
    let result = clinux_block_size_bytes(descriptor, &byteCount)
    if result != 0 || byteCount == 0 { return DiskFault(.gone, description: "\(facts.name): the device is gone. Connect it again.") }
    return shrinkage(to: byteCount)
  }

  private func shrinkage(to byteCount: UInt64) -> DiskFault? {
    if byteCount >= facts.byteCount { return nil }
    return DiskFault(
      .shrank, description: "\(facts.name) shrank from \(facts.byteCount) to \(byteCount) bytes while in use: what lay beyond is lost.")
  }

  /// fstat(2) where that only looks into memory; else by the ring, so that a server that does not answer cannot stop the reactor.
  private func fileStatus(_ status: inout clinux_file_status) async -> Int32 {
    if isStatusLocal {
      var answer = stat()
      guard fstat(descriptor, &answer) == 0 else { return -errno }
      status = clinux_file_status(
        byte_count: UInt64(max(answer.st_size, 0)), allocated_byte_count: UInt64(max(answer.st_blocks, 0)) &* 512,
        links: UInt32(truncatingIfNeeded: answer.st_nlink))
      return 0
    }
    // Reserved: a look that waited for a buffer could wait for requests which wait for this FLUSH.
    guard let answer = reactor.buffers.reserve(byteCount: Int(CLINUX_STATUS_BYTES)) else { return 0 - ENOMEM }
    defer { reactor.buffers.release(answer.buffer) }
    let result = await reactor.status(file, into: answer)
    if result == 0 { status = clinux_status_from_answer(answer.start) }
    return result
  }

  /// Learns what the last block holds, or finds that it is gone.
  private func checkTail() async -> DiskFault? {
    let byteCount = facts.ioAlignment
    guard facts.byteCount >= UInt64(byteCount), let block = reactor.buffers.reserve(byteCount: byteCount) else { return nil }
    defer { reactor.buffers.release(block.buffer) }
    let changes = integrity.tailChanges
    let result = await reactor.read(file, block, at: facts.byteCount - UInt64(byteCount))
    guard integrity.tailChanges == changes, !isAbandoned else { return nil }
    guard Int(result) == byteCount else {
      integrity.tail = .zeros  // unreadable: not asked for again
      return nil
    }
    let before = integrity.tail
    integrity.tail = block.isZero(from: 0) ? .zeros : .content
    guard before == .content, integrity.tail == .zeros else { return nil }
    integrity.tail = .content  // still missing: every later look says so, too
    integrity.allocatedByteCount = .max
    return DiskFault(.shrank, description: "\(facts.name) was truncated and extended again while in use: what it held is lost.")
  }

  // MARK: Changes of the last block

  /// Before a write, zeroing or discard that reaches the end. A write to the end of a file that was cut would hide it.
  func beginTailChange() async -> Int32 {
    if facts.kind == .file, !facts.isReadOnly, await checkIntegrity() != nil { return -EIO }
    integrity.tailChanges(to: .unknown)
    return isAbandoned ? IOResult.abandoned : 0
  }

  /// `slice` is what was written at the end; nil when that is not known.
  func endTailChange(_ slice: BufferSlice?) {
    integrity.tailChanges(to: slice.map { $0.isZero(from: $0.byteCount - facts.ioAlignment) ? .zeros : .content } ?? .unknown)
  }
}

extension BufferSlice {
  fileprivate func isZero(from start: Int) -> Bool { bytes[start...].allSatisfy { $0 == 0 } }
}
