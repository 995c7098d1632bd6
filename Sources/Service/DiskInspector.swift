import BlockDevice
import Management
import PartitionTable
import PhysicalDisk
import Pool
import Reactor

/// What `spaceport inspect` tells of a disk.
public struct DiskInspection: Sendable, Codable {
  public var path: String
  public var sizeBytes: UInt64
  /// What lies on the disk, as libblkid recognises it.
  public var content: [String]
  /// "gpt", "none", ...
  public var partitionTable: String
  /// What is wrong with the partition table, in words.
  public var partitionTableFindings: [String]
  public var metadata: MetadataInspection
  /// False where nothing says that the disk is, or ever was, a pool's.
  public var isPoolDisk: Bool

  public var isSound: Bool { partitionTable == "gpt" && partitionTableFindings.isEmpty && metadata.isSound }
}

/// Looks at a disk offline: without a server, without a claim, without writing.
public enum DiskInspector {
  public static func inspect(path: String) async throws -> DiskInspection {
    let reactor = try RingReactor.start(name: "inspect")
    let blocking = try BlockingCalls.start(name: "inspect-io")
    let result = await reactor.run { () async -> Result<DiskInspection, DiskOpenError> in
      do throws(DiskOpenError) {
        let port = try await DescriptorPort.open(path: path, access: .readOnly, on: reactor, blocking: blocking, claimWaitMilliseconds: 0)
        let disk = PhysicalDisk(reactor: reactor, port: port)
        let inspection = await inspect(disk, port)
        await disk.close()
        return .success(inspection)
      } catch { return .failure(error) }
    }
    reactor.stop()
    do { return try result.get() } catch { throw APIError(error) }
  }

  private static func inspect(_ disk: PhysicalDisk, _ port: DescriptorPort) async -> DiskInspection {
    let size = disk.geometry.byteCount
    let metadata = await MetadataInspection.inspect(disk, rowLimit: ServiceLimits.inspectedRowCount)
    // Where this fails the disk cannot be read, and the metadata's findings say so.
    let found = try? await port.scanSignatures()
    let hasPoolPartition = found?.partitions.contains { StoragePool.partitionTypes.contains($0.type) } ?? true
    var inspection = DiskInspection(
      path: port.facts.name, sizeBytes: size, content: found?.signatures.map(\.description) ?? [], partitionTable: "unreadable",
      partitionTableFindings: [], metadata: metadata, isPoolDisk: metadata.hasTraces || hasPoolPartition)
    do {
      let sector = port.facts.kind == .file ? SectorSize.bytes512 : SectorSize(rawValue: disk.geometry.logicalSector) ?? .bytes512
      let scan = try await PartitionTableScan.scan(
        diskByteCount: size, sectorSize: sector,
        readAsync: { range in
          try await read(disk, at: range.offsetBytes, byteCount: range.byteCount)
        })
      inspection.partitionTable = scan.kind.rawValue
      inspection.partitionTableFindings = scan.findings.map(\.description)
    } catch { inspection.partitionTableFindings = ["\(error)"] }
    return inspection
  }

  /// Any range, through whole blocks.
  private static func read(_ disk: PhysicalDisk, at offset: UInt64, byteCount: Int) async throws -> [UInt8] {
    let unit = UInt64(disk.geometry.logicalSector)
    let start = offset / unit * unit
    let end = min(disk.geometry.byteCount, (offset + UInt64(byteCount) + unit - 1) / unit * unit)
    let slice = await disk.reactor.buffers.acquire(byteCount: Int(end - start))
    defer { disk.reactor.buffers.release(slice.buffer) }
    try await disk.read(at: start, into: slice, IORequest(ioClass: .metadata))
    let skip = Int(offset - start)
    return Array(slice.bytes[skip..<min(slice.byteCount, skip + byteCount)])
  }
}
