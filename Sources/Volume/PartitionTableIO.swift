import BlockDevice
import PartitionTable
import Reactor

/// Reads and writes the partition table of a device. Its memory is apart from the payload buffers: a request that holds one of those may wait
/// for a table to be read.
public enum PartitionTableIO {
  /// Reads and judges whatever table is there. What cannot be read counts as that.
  /// - Parameter willRead: told of each range before it is read.
  public static func scan(
    _ device: BlockDevice, _ request: IORequest, willRead: (DiskByteRange) -> Void = { _ in }
  ) async -> PartitionTableScan {
    let geometry = device.geometry
    let sectorSize = SectorSize(rawValue: geometry.logicalSector) ?? .bytes512
    return await PartitionTableScan.scan(diskByteCount: geometry.byteCount, sectorSize: sectorSize) { range async in
      willRead(range)
      let bytes = await read(range, of: device, request)
      // Others have their turn: what is read is judged now, and a guest chooses how much that is.
      await device.reactor.sleep(milliseconds: 0)
      return bytes
    }
  }

  /// nil where it cannot be read, or the system has no memory.
  private static func read(_ range: DiskByteRange, of device: BlockDevice, _ request: IORequest) async -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.byteCount)
    while bytes.count < range.byteCount {
      let count = min(range.byteCount - bytes.count, VolumeLimits.tableTransferByteCount)
      do throws(BlockError) {
        try await readPiece(at: range.offsetBytes + UInt64(bytes.count), byteCount: count, of: device, request, into: &bytes)
      } catch { return nil }
    }
    return bytes
  }

  /// A disk that was given up while it read keeps the buffer, and may fill it at any time: then another is read into.
  /// - Parameter byteCount: at most VolumeLimits.tableTransferByteCount.
  static func readPiece(
    at offset: UInt64, byteCount: Int, of device: BlockDevice, _ request: IORequest, into bytes: inout [UInt8]
  ) async throws(BlockError) {
    for _ in 0...VolumeLimits.stalledReadRetries {
      guard let slice = device.reactor.buffers.reserve(byteCount: byteCount) else { throw BlockError(.noMemory) }
      defer { device.reactor.buffers.release(slice.buffer) }
      do throws(BlockError) {
        try await device.read(at: offset, into: slice, request)
        guard device.reactor.buffers.isExclusive(slice.buffer) else { continue }
        bytes += slice.bytes
        return
      } catch {
        if error.cause != .stalled { throw error }
      }
    }
    throw BlockError(.stalled)
  }

  /// Writes each step and flushes it before the next.
  public static func write(_ steps: [[DiskWrite]], to device: BlockDevice, _ request: IORequest) async throws(BlockError) {
    for step in steps {
      for write in step { try await self.write(write, to: device, request) }
      try await device.flush(request)
    }
  }

  private static func write(_ write: DiskWrite, to device: BlockDevice, _ request: IORequest) async throws(BlockError) {
    var done = 0
    while done < write.bytes.count {
      let count = min(write.bytes.count - done, VolumeLimits.tableTransferByteCount)
      guard let slice = device.reactor.buffers.reserve(byteCount: count) else { throw BlockError(.noMemory) }
      defer { device.reactor.buffers.release(slice.buffer) }
      slice.bytes.copyBytes(from: write.bytes[done..<(done + count)])
      try await device.write(at: write.offsetBytes + UInt64(done), from: slice, request)
      done += count
    }
  }
}
