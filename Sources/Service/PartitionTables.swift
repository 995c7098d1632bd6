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
      let clientCounts = served.volume.partitions.clientCounts
      let ranges = (try? gpt.freeRanges(alignmentByteCount: info.alignmentBytes)) ?? []
      info.freeBytes = ranges.reduce(0) { $0 + $1.sectorCount * UInt64(info.sectorBytes) }
      info.largestFreeBytes = (ranges.map(\.sectorCount).max() ?? 0) * UInt64(info.sectorBytes)
      info.partitions = gpt.partitions.map { partition($0, scan.sectorSize, clientCount: clientCounts[.gpt($0.uniqueGUID)] ?? 0) }
    } else if let mbr = scan.mbr {
      let digits = String(mbr.diskSignature, radix: 16)
      info.diskID = String(repeating: "0", count: 8 - digits.count) + digits
      let clientCounts = served.volume.partitions.clientCounts
      info.partitions = mbr.partitions.map {
        partition($0, scan.sectorSize, clientCount: clientCounts[mbr.identity(of: $0, scan.sectorSize)] ?? 0)
      }
    }
    let names = Dictionary(grouping: PartitionNames(scan.usablePartitions ?? []).listed()) { $0.partition.number }
    for index in info.partitions.indices {
      info.partitions[index].exports = names[info.partitions[index].number, default: []].map { "\(info.path)/\($0.name)" }
    }
    return info
  }

  private func partition(_ partition: GPTPartition, _ sectorSize: SectorSize, clientCount: Int) -> PartitionInfo {
    let size = partition.byteRange(sectorSize: sectorSize)?.byteCount ?? 0
    return PartitionInfo(
      number: partition.number, label: partition.name, type: GPTPartitionType.shortName(partition.type),
      typeID: partition.type.description, uuid: partition.uniqueGUID.description, firstSector: partition.firstLBA.value,
      lastSector: partition.lastLBA.value, sizeBytes: size, attributes: partition.attributes.words,
      clientCount: clientCount)
  }

  private func partition(_ partition: MBRPartition, _ sectorSize: SectorSize, clientCount: Int) -> PartitionInfo {
    let digits = String(partition.type, radix: 16)
    let type = digits.count == 1 ? "0" + digits : digits
    return PartitionInfo(
      number: partition.number, type: partition.isExtended ? "extended" : type, typeID: type, firstSector: partition.firstLBA.value,
      lastSector: partition.lastLBA.value, sizeBytes: partition.sectorCount * UInt64(sectorSize.byteCount),
      attributes: partition.isBootable ? ["active"] : [], clientCount: clientCount)
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
  /// - Parameter acceptUnreadable: a part of it that cannot be read is no reason to refuse.
  func readTable(
    _ path: VirtualDiskPath, acceptUnreadable: Bool = false
  ) async throws(APIError) -> (pool: ServedPool, disk: ServedVirtualDisk, reading: PartitionWatch.Reading) {
    let (served, disk) = try servedDisk(path)
    try checkWritable(served)
    let reading = await disk.volume.partitions.read()
    guard reading.isStable else { throw beingWritten(path) }
    if !acceptUnreadable, let range = reading.scan.unreadableRange {
      throw APIError(
        .ioError, "The partition table of \(path) cannot be read: \(range.byteCount) bytes from byte \(range.offsetBytes) on",
        remedy: "Look at the pool's disks (`spaceport pool show \(path.pool)`) and try again. What is lost for good is written anew by "
          + "`spaceport partition repair` with --from, from the copy that is left")
    }
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
    // Between the look at who has partitions open and this nothing was waited for; from here on nobody opens any.
    do throws(BlockError) { try await watch.write(change.steps, served.request) } catch {
      throw APIError(
        error.cause == .noSpace ? .noSpace : .ioError, "The partition table of \(path) could not be written: \(error)",
        remedy: "See what is there now with `spaceport partition verify \(path)`")
    }
  }

  /// How much of a range is not known to be zeros.
  struct DataAmount: CustomStringConvertible {
    var byteCount: UInt64 = 0
    /// All of the range was looked at.
    var isWhole = true

    var description: String { "\(isWhole ? "" : "at least ")\(ByteSize(byteCount: byteCount))" }
  }

  /// Other operations wait meanwhile: after the limit's rounds it is at least so much.
  /// - Parameter onlyFirst: ends with the first data that is found.
  func data(of disk: VirtualDisk, from start: UInt64, to end: UInt64, onlyFirst: Bool = false) async throws(APIError) -> DataAmount {
    var extents: [BlockExtent] = []
    var position = start
    var amount = DataAmount()
    for _ in 0..<ServiceLimits.statusRounds where position < end {
      extents.removeAll(keepingCapacity: true)
      let count = min(end - position, ServiceLimits.statusByteCount)
      do throws(BlockError) {
        try await disk.blockStatus(
          at: position, byteCount: count, limit: ServiceLimits.statusExtents, into: &extents, IORequest(virtualDisk: disk.handle))
      } catch { throw APIError(.ioError, "What \(disk.label) holds is not known: \(error)", remedy: "Look at the pool's disks") }
      amount.byteCount += extents.reduce(0) { $1.isZero ? $0 : $0 + $1.byteCount }
      let covered = extents.reduce(UInt64(0)) { $0 + $1.byteCount }
      if covered == 0 { break }
      position += covered
      if onlyFirst && amount.byteCount > 0 { break }
      await reactor.sleep(milliseconds: 0)  // clients go first
    }
    amount.isWhole = position >= end
    return amount
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
