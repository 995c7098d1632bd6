import BlockDevice
import CLinux
import PartitionTable
import Reactor
import Volume

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

/// How far the tasks beside a test have come. Reactor-confined.
final class Progress: @unchecked Sendable {
  var write: BlockError?
  var isWriteDone = false
  var isTableDone = false
  var isOpened = false
  var openError: PartitionWatch.OpenError?
}
