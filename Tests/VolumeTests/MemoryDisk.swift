import BlockDevice
import CLinux
import PartitionTable
import Reactor
import Volume

/// A disk in memory. Requests that begin in `gated` wait until the gate is opened. Reactor-confined.
final class MemoryDisk: BlockDevice, @unchecked Sendable {
  var content: [UInt8]
  let sector: Int
  var gated: Range<UInt64>?
  var failure: BlockError?
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

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    readCount += 1
    try await enter(offset)
    content.withUnsafeBytes { slice.start.copyMemory(from: $0.baseAddress! + Int(offset), byteCount: slice.byteCount) }
    await afterEach(offset)
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

/// What the tests of partitions need: a disk with a table, and its Volume.
struct PartitionRig: Sendable {
  static let mebibyte: UInt64 = 1 << 20
  let disk: MemoryDisk
  let volume: Volume
  var watch: PartitionWatch { volume.partitions }

  init(_ reactor: any Reactor, mebibytes: Int = 16, sector: Int = 512) {
    disk = MemoryDisk(reactor: reactor, byteCount: mebibytes << 20, sector: sector)
    volume = Volume(disk, label: "tank/disk")
  }

  static func guid(_ number: UInt64) -> GUID { GUID(high: number, low: 7) }

  /// Partitions 1 "first" (4 MiB from 1 MiB on), 2 "second" (4 MiB from 5 MiB on).
  static func table(mebibytes: UInt64 = 16, sector: Int = 512) throws -> GPT {
    var table = try GPT(
      diskGUID: guid(99), diskByteCount: mebibytes * mebibyte, sectorSize: SectorSize(rawValue: sector) ?? .bytes512)
    try table.addPartition(type: .linux, uniqueGUID: guid(1), size: .bytes(4 * mebibyte), name: "first")
    try table.addPartition(type: .linux, uniqueGUID: guid(2), size: .bytes(4 * mebibyte), name: "second")
    return table
  }

  /// Writes through the whole disk's export, as a client's tool would.
  func write(_ bytes: [UInt8], at offset: UInt64) async throws {
    let slice = await volume.reactor.buffers.acquire(byteCount: bytes.count)
    defer { volume.reactor.buffers.release(slice.buffer) }
    slice.bytes.copyBytes(from: bytes)
    try await volume.write(at: offset, from: slice, IORequest())
  }

  func write(_ table: GPT, mbr: ProtectiveMBR = .fresh) async throws {
    for step in try table.encodeSteps(protectiveMBR: mbr) {
      for write in step { try await self.write(write.bytes, at: write.offsetBytes) }
    }
  }

  /// A request of one sector; nil when it succeeded.
  func request(_ operation: BlockOperation, _ device: BlockDevice, at offset: UInt64, byteCount: Int = 512) async -> BlockError? {
    let slice = await device.reactor.buffers.acquire(byteCount: byteCount)
    memset(slice.start, 0, byteCount)
    defer { device.reactor.buffers.release(slice.buffer) }
    do throws(BlockError) {
      switch operation {
      case .read: try await device.read(at: offset, into: slice, IORequest())
      case .write: try await device.write(at: offset, from: slice, IORequest())
      case .flush: try await device.flush(IORequest())
      case .discard: try await device.discard(at: offset, byteCount: UInt64(byteCount), IORequest())
      case .writeZeroes: try await device.writeZeroes(at: offset, byteCount: UInt64(byteCount), IORequest())
      case .blockStatus:
        var extents: [BlockExtent] = []
        try await device.blockStatus(at: offset, byteCount: UInt64(byteCount), limit: 8, into: &extents, IORequest())
      }
      return nil
    } catch { return error }
  }

  /// Waits, at most two seconds, for `condition`.
  func eventually(_ condition: () -> Bool) async -> Bool {
    for _ in 0..<2000 where !condition() { await volume.reactor.sleep(milliseconds: 1) }
    return condition()
  }

  /// Runs the body on a reactor of its own.
  static func run(
    mebibytes: Int = 16, sector: Int = 512, _ body: @escaping @Sendable (PartitionRig) async throws -> Void
  ) async throws {
    let reactor = try RingReactor.start(name: "test")
    defer { reactor.stop() }
    try await reactor.run { () async throws -> Void in try await body(PartitionRig(reactor, mebibytes: mebibytes, sector: sector)) }
  }
}
