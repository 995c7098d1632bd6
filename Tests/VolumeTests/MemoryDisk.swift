import BlockDevice
import CLinux
import Reactor

/// A disk in memory. Requests that begin in `gated` wait until the gate is opened. Reactor-confined.
final class MemoryDisk: BlockDevice, @unchecked Sendable {
  var content: [UInt8]
  let sector: Int
  var gated: Range<UInt64>?
  var failure: BlockError?
  /// Reads that touch it fail.
  var unreadable: Range<UInt64>?
  /// So many of the next reads fail, as if the disk had been given up.
  var stalledReads = 0
  /// So many of the next reads leave their buffer with a disk that was given up.
  var keptBuffers = 0
  private var kept: [BufferID] = []
  /// Called after each read and write was done and before it is answered.
  var afterEach: (UInt64) async -> Void = { _ in }
  private(set) var readCount = 0
  private var gate = WaitQueue()

  init(reactor: any Reactor, byteCount: Int, sector: Int = 512) {
    content = [UInt8](repeating: 0, count: byteCount)
    self.sector = sector
    super.init(reactor: reactor, layerName: "Memory", label: "tank/disk")
  }

  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: UInt64(content.count), logicalSector: sector, physicalSector: 4096, discardGranularity: 4096)
  }

  var waitingCount: Int { gate.count }

  func openGate() {
    gated = nil
    gate.wakeAll()
  }

  // By whole spans: a debug build takes its time with single bytes.

  func fill(_ range: Range<UInt64>, with byte: UInt8) {
    content.withUnsafeMutableBytes { memset($0.baseAddress! + Int(range.lowerBound), Int32(byte), range.count) }
  }

  func holdsOnly(_ byte: UInt8, in range: Range<UInt64>) -> Bool {
    content.withUnsafeBytes { bytes in
      let start = bytes.baseAddress! + Int(range.lowerBound)
      return bytes[Int(range.lowerBound)] == byte && memcmp(start, start + 1, range.count - 1) == 0
    }
  }

  private func enter(_ offset: UInt64) async throws(BlockError) {
    if gated?.contains(offset) == true { await withUnsafeContinuation { gate.append($0) } }
    if let failure { throw failure }
  }

  func giveBuffersBack() {
    for buffer in kept { reactor.buffers.release(buffer) }
    kept = []
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    readCount += 1
    try await enter(offset)
    if let unreadable, unreadable.overlaps(offset..<offset + UInt64(slice.byteCount)) { throw BlockError(.ioFailed) }
    if stalledReads > 0 {
      stalledReads -= 1
      throw BlockError(.stalled)
    }
    if keptBuffers > 0 {
      keptBuffers -= 1
      reactor.buffers.retain(slice.buffer)
      kept.append(slice.buffer)
      return  // whatever was in it
    }
    content.withUnsafeBytes { slice.start.copyMemory(from: $0.baseAddress! + Int(offset), byteCount: slice.byteCount) }
    await afterEach(offset)
  }

  override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    guard let slice = reactor.buffers.reserve(byteCount: byteCount) else { return nil }
    content.withUnsafeBytes { slice.start.copyMemory(from: $0.baseAddress! + Int(offset), byteCount: byteCount) }
    return slice
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await enter(offset)
    content.withUnsafeMutableBytes { ($0.baseAddress! + Int(offset)).copyMemory(from: slice.start, byteCount: slice.byteCount) }
    await afterEach(offset)
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    try await enter(.max)
    return FlushToken(number: 1)
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await performWriteZeroes(at: offset, byteCount: byteCount, request)
  }

  override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await enter(offset)
    fill(offset..<offset + byteCount, with: 0)
  }

  override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    extents.append(BlockExtent(byteCount: byteCount, isAllocated: true, isZero: false, row: offset))
  }
}
