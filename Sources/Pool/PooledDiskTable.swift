import BlockDevice
import PartitionTable
import Reactor

/// A disk that is given to a pool.
public struct PoolMember: Sendable {
  public var device: BlockDevice
  /// Where it is now: kept as a hint, never as its identity.
  public var path: String
  /// What the partition table on it counts in: 512 on files, the disk's own sector on block devices.
  public var tableSectorByteCount: Int

  public init(device: BlockDevice, path: String, tableSectorByteCount: Int = 512) {
    self.device = device
    self.path = path
    self.tableSectorByteCount = tableSectorByteCount
  }
}

/// The GPT of a pooled disk: a metadata and a data partition that carry the pool's name, so that every tool shows whose the disk is.
enum PooledDiskTable {
  static func write(
    on member: PoolMember, layout: DiskLayout, poolName: String, reactor: any Reactor
  ) async throws(PoolError) {
    let writes = try table(member, layout, poolName, reactor)
    // The backup first and flushed, then the primary: one copy on the disk is whole at any time.
    for copy in [GPTCopy.backup, .primary] {
      for write in writes where write.copy == copy {
        try await store(write.bytes, at: write.offsetBytes, on: member, "writing its partition table")
      }
      try await flush(member)
    }
  }

  private static func table(
    _ member: PoolMember, _ layout: DiskLayout, _ poolName: String, _ reactor: any Reactor
  ) throws(PoolError) -> [DiskWrite] {
    do throws(GPTError) {
      let gpt = try GPT.pooledDisk(
        diskByteCount: layout.diskByteCount, sectorSize: SectorSize(rawValue: member.tableSectorByteCount) ?? .bytes512,
        metadataByteCount: layout.metadataByteCount, poolName: poolName,
        diskGUID: GUID(randomHigh: reactor.random(), randomLow: reactor.random()),
        metadataGUID: GUID(randomHigh: reactor.random(), randomLow: reactor.random()),
        dataGUID: GUID(randomHigh: reactor.random(), randomLow: reactor.random()))
      return try gpt.encode()
    } catch {
      throw PoolError(.invalid, "\(member.path) cannot carry a partition table: \(error)", remedy: "Use another disk")
    }
  }

  /// Zeros over both copies of the table and over what identifies the pool.
  static func erase(_ member: PoolMember) async throws(PoolError) {
    let size = member.device.geometry.byteCount
    let dataEnd = DiskLayout.dataEnd(diskByteCount: size)
    var ranges = GPT.wipeRanges(diskByteCount: size).map { ($0.offsetBytes, $0.byteCount) }
    for places in DiskLayout.superblockOffsets(dataEnd: dataEnd) {
      for place in places { ranges.append((place, FormatLimits.blockByteCount)) }
    }
    for (offset, byteCount) in ranges {
      try await store([UInt8](repeating: 0, count: byteCount), at: offset, on: member, "erasing it")
    }
    try await flush(member)
  }

  private static func flush(_ member: PoolMember) async throws(PoolError) {
    do throws(BlockError) { try await member.device.flush(IORequest(ioClass: .metadata)) } catch {
      throw PoolError(.ioFailed, "\(member.path): flushing it failed: \(error)", remedy: "Check the disk, or use another one")
    }
  }

  /// Writes `bytes` anywhere: in whole sectors of the disk, the rest of which is kept.
  private static func store(
    _ bytes: [UInt8], at offset: UInt64, on member: PoolMember, _ action: String
  ) async throws(PoolError) {
    let device = member.device
    let alignment = UInt64(max(device.geometry.logicalSector, 512))
    let start = offset & ~(alignment - 1)
    let end = (offset + UInt64(bytes.count) + alignment - 1) & ~(alignment - 1)
    let slice = await device.reactor.buffers.acquire(byteCount: Int(end - start))
    defer { device.reactor.buffers.release(slice.buffer) }
    do throws(BlockError) {
      let request = IORequest(ioClass: .metadata)
      if end - start != UInt64(bytes.count) { try await device.read(at: start, into: slice, request) }
      bytes.withUnsafeBytes { (slice.start + Int(offset - start)).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      try await device.write(at: start, from: slice, request)
    } catch {
      throw PoolError(.ioFailed, "\(member.path): \(action) failed: \(error)", remedy: "Check the disk, or use another one")
    }
  }
}
