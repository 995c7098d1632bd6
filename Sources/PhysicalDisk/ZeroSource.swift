import CLinux
import Reactor

/// Zeros to write from: one mapping for the whole process, never written to, so that the kernel backs it with its one page of zeros.
enum ZeroSource {
  /// A slice of at most `DiskLimits.zeroPieceByteCount` bytes. It belongs to no buffer pool, and need not: it is there as long as the
  /// process and is never written, so that a hung request may go on using it.
  static func slice(byteCount: Int) -> BufferSlice? {
    guard let start = memory.start else { return nil }
    return BufferSlice(start: start, byteCount: min(byteCount, DiskLimits.zeroPieceByteCount), buffer: .unpooled)
  }

  private struct Memory: @unchecked Sendable {  // read-only for everyone
    let start: UnsafeMutableRawPointer?
  }

  private static let memory: Memory = {
    let start = mmap(nil, DiskLimits.zeroPieceByteCount, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return Memory(start: start == UnsafeMutableRawPointer(bitPattern: -1) ? nil : start)  // MAP_FAILED
  }()
}
