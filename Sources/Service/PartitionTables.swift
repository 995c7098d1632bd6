import BlockDevice
import Management
import PartitionTable
import Reactor
import VirtualDisk
import Volume

// Partition tables as the management plane's objects, and what all changes of them have in common.

extension StorageService {
  func partitionTable(_ served: ServedVirtualDisk, in pool: ServedPool) async -> PartitionTableInfo {
    let reading = await served.volume.partitions.read()
    let scan = reading.scan
    let geometry = served.disk.geometry
    var info = PartitionTableInfo(
      pool: pool.name, virtualDisk: served.disk.name, sizeBytes: geometry.byteCount, sectorBytes: geometry.logicalSector,
      kind: PartitionTableInfo.Kind(rawValue: scan.kind.rawValue), alignmentBytes: alignment(of: served),
      findings: scan.findings.map(\.description), isBeingWritten: !reading.isStable, wholeDiskClientCount: served.volume.clientCount)
    if let gpt = scan.gpt {
      info.diskID = gpt.diskGUID.description
      let ranges = (try? gpt.freeRanges(alignmentByteCount: info.alignmentBytes)) ?? []
      info.freeBytes = ranges.reduce(0) { $0 + $1.sectorCount * UInt64(info.sectorBytes) }
      info.largestFreeBytes = (ranges.map(\.sectorCount).max() ?? 0) * UInt64(info.sectorBytes)
      info.partitions = gpt.partitions.map { partition($0, sectorBytes: info.sectorBytes) }
    } else if let mbr = scan.mbr {
      let digits = String(mbr.diskSignature, radix: 16)
      info.diskID = String(repeating: "0", count: 8 - digits.count) + digits
      info.partitions = mbr.partitions.map { partition($0, sectorBytes: info.sectorBytes) }
    }
    addExports(scan.usablePartitions ?? [], of: served, to: &info)
    return info
  }

  private func partition(_ partition: GPTPartition, sectorBytes: Int) -> PartitionInfo {
    let size = partition.byteRange(sectorSize: sectorBytes == 4096 ? .bytes4096 : .bytes512)?.byteCount ?? 0
    return PartitionInfo(
      number: partition.number, label: partition.name, type: GPTPartitionType.shortName(partition.type),
      typeID: partition.type.description, uuid: partition.uniqueGUID.description, firstSector: partition.firstLBA.value,
      lastSector: partition.lastLBA.value, sizeBytes: size, attributes: partition.attributes.words)
  }

  private func partition(_ partition: MBRPartition, sectorBytes: Int) -> PartitionInfo {
    let digits = String(partition.type, radix: 16)
    let type = digits.count == 1 ? "0" + digits : digits
    return PartitionInfo(
      number: partition.number, type: partition.isExtended ? "extended" : type, typeID: type, firstSector: partition.firstLBA.value,
      lastSector: partition.lastLBA.value, sizeBytes: partition.sectorCount * UInt64(sectorBytes),
      attributes: partition.isBootable ? ["active"] : [])
  }

  private func addExports(_ usable: [UsablePartition], of served: ServedVirtualDisk, to info: inout PartitionTableInfo) {
    let names = UsablePartition.exportNames(of: usable)
    for index in info.partitions.indices {
      let number = info.partitions[index].number
      info.partitions[index].exports = names.filter { $0.partition.number == number }.map { "\(info.path)/\($0.name)" }
      let volumes = served.volume.partitions.open.filter { $0.partition.number == number }
      info.partitions[index].clientCount = volumes.reduce(0) { $0 + $1.clientCount }
    }
  }

  /// A file system's stripes match the disk's when its partition begins where a stripe does.
  func alignment(of served: ServedVirtualDisk) -> UInt64 {
    let record = served.disk.record
    return GPT.alignmentByteCount(stripeByteCount: UInt64(record.interleave) * UInt64(max(1, record.columns)))
  }

  // MARK: Changing

  /// A table as it is to be written.
  struct TableChange {
    var steps: [[DiskWrite]]
    /// What can be exported then.
    var usable: [UsablePartition]

    init(_ table: GPT, _ protectiveMBR: ProtectiveMBR = .untouched) throws(GPTError) {
      steps = try table.encodeSteps(protectiveMBR: protectiveMBR)
      usable = table.usablePartitions ?? []
    }

    init(_ repair: PartitionTableRepair) {
      steps = repair.steps
      usable = repair.table?.usablePartitions ?? []
    }
  }

  /// The virtual disk whose table is to be changed, with the table as it is.
  func readTable(
    _ path: VirtualDiskPath
  ) async throws(APIError) -> (pool: ServedPool, disk: ServedVirtualDisk, reading: PartitionWatch.Reading) {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    let reading = await disk.volume.partitions.read()
    guard reading.isStable else { throw beingWritten(path) }
    return (served, disk, reading)
  }

  private func beingWritten(_ path: VirtualDiskPath) -> APIError {
    APIError(
      .busy, "The partition table of \(path) is being written by a client of the whole disk",
      remedy: "Try again when that has ended, and change it with one tool at a time")
  }

  /// Writes a table, unless it was changed since it was read, or a partition that is open would be lost.
  func write(
    _ change: TableChange, to served: ServedVirtualDisk, _ path: VirtualDiskPath, readAs reading: PartitionWatch.Reading, force: Bool
  ) async throws(APIError) {
    let watch = served.volume.partitions
    let lost = watch.openPartitions(lostBy: change.usable)
    guard force || lost.isEmpty else {
      let names = lost.map { "\($0.partition.number) (\(connections($0.clientCount)))" }.joined(separator: ", ")
      throw APIError(
        .busy, "Clients have partitions of \(path) open that this would take from them: \(names)",
        remedy: "Detach the clients first (nbd-client -d DEVICE), or send them away with --force")
    }
    guard watch.isCurrent(reading) else { throw beingWritten(path) }
    var failure: BlockError?
    do throws(BlockError) { try await PartitionTableIO.write(change.steps, to: served.disk, served.request) } catch { failure = error }
    await watch.tableChanged()
    if let failure {
      throw APIError(
        failure.cause == .noSpace ? .noSpace : .ioError, "The partition table of \(path) could not be written: \(failure)",
        remedy: "See what is there now with `spaceport partition verify \(path)`")
    }
  }

  /// Bytes of a range that are not known to be zeros.
  func dataByteCount(of disk: VirtualDisk, from start: UInt64, to end: UInt64) async throws(APIError) -> UInt64 {
    var extents: [BlockExtent] = []
    var position = start
    var sum: UInt64 = 0
    while position < end {
      extents.removeAll(keepingCapacity: true)
      let count = min(end - position, ServiceLimits.statusByteCount)
      do throws(BlockError) {
        try await disk.blockStatus(
          at: position, byteCount: count, limit: ServiceLimits.statusExtents, into: &extents, IORequest(virtualDisk: disk.handle))
      } catch { throw APIError(.ioError, "What \(disk.label) holds is not known: \(error)", remedy: "Look at the pool's disks") }
      sum += extents.reduce(0) { $1.isZero ? $0 : $0 + $1.byteCount }
      let covered = extents.reduce(UInt64(0)) { $0 + $1.byteCount }
      if covered == 0 { break }
      position += covered
      await reactor.sleep(milliseconds: 0)  // clients go first
    }
    return sum
  }

  func explainedTable<Value>(_ path: VirtualDiskPath, _ body: () throws(GPTError) -> Value) throws(APIError) -> Value {
    do throws(GPTError) { return try body() } catch {
      let code: APIError.Code =
        switch error {
        case .noSpace, .noRoomBehind, .tableFull, .diskTooSmall: .noSpace
        case .noSuchPartition: .notFound
        case .numberInUse: .alreadyExists
        default: .badRequest
        }
      throw APIError(code, "The partition table of \(path) stays as it is: \(error)", remedy: "")
    }
  }

  func explainedRefusal<Value>(
    _ path: VirtualDiskPath, _ body: () throws(PartitionTableRefusal) -> Value
  ) throws(APIError) -> Value {
    do throws(PartitionTableRefusal) { return try body() } catch {
      throw APIError(.wrongState, "\(path): \(error.message)", remedy: error.remedy)
    }
  }
}
