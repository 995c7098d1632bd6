import BlockDevice
import Management
import PartitionTable
import Reactor
import Volume

// Changes of partition tables. All on the reactor, under the operation lock.

extension StorageService {
  func initPartitionTable(_ path: VirtualDiskPath, _ request: InitPartitionTable) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    if !request.acceptLoss { try await checkIsEmpty(disk, path, reading.scan) }
    let geometry = disk.disk.geometry
    let change = try explainedTable(path) { () throws(GPTError) in
      try TableChange(
        GPT(
          diskGUID: randomGUID(), diskByteCount: geometry.byteCount,
          sectorSize: SectorSize(rawValue: geometry.logicalSector) ?? .bytes512), .fresh)
    }
    try await write(change, to: disk, path, readAs: reading, force: request.force)
    return await partitionTable(disk, in: pool)
  }

  private func checkIsEmpty(_ disk: ServedVirtualDisk, _ path: VirtualDiskPath, _ scan: PartitionTableScan) async throws(APIError) {
    var held: String?
    let count = scan.gpt?.partitions.count ?? scan.mbr?.partitions.count ?? 0
    switch scan.kind {
    case .none: held = nil
    case .bootSector: held = "the boot sector of a file system"
    case .damagedGPT: held = "a damaged GPT"
    case .mbr: held = "an MBR with \(count) partition\(count == 1 ? "" : "s")"
    case .gpt, .hybrid, .mbrOverGPT: held = "a GPT with \(count) partition\(count == 1 ? "" : "s")"
    }
    if held == nil {
      let data = try await dataByteCount(of: disk.disk, from: 0, to: disk.disk.geometry.byteCount)
      if data > 0 { held = "\(ByteSize(byteCount: data)) of data without a partition table, perhaps a file system on the whole disk" }
    }
    guard let held else { return }
    throw APIError(
      .badRequest, "Nothing was done: \(path) has \(held), which would be lost", remedy: "Repeat the command with --yes to make a new table"
    )
  }

  func createPartition(_ path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    var table = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.editableTable() }
    let type = try partitionType(request.type ?? "linux")
    let attributes = try partitionAttributes(request.attributes ?? [])
    let size = try partitionSize(request.size)
    let change = try explainedTable(path) { () throws(GPTError) in
      try table.addPartition(
        type: type, uniqueGUID: randomGUID(), size: size, name: request.label ?? "", attributes: attributes, number: request.number,
        alignmentByteCount: request.alignmentBytes ?? alignment(of: disk))
      return try TableChange(table)
    }
    try await write(change, to: disk, path, readAs: reading, force: false)
    return await partitionTable(disk, in: pool)
  }

  func deletePartitions(_ path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    var table = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.editableTable() }
    guard !request.partitions.isEmpty else {
      throw APIError(.badRequest, "No partition was named", remedy: "Name each by its number, its label or its unique GUID")
    }
    var numbers: Set<Int> = []
    for name in request.partitions { numbers.insert(try find(name, in: table, path).number) }
    let change = try explainedTable(path) { () throws(GPTError) in
      try table.removePartitions(numbers: numbers)
      return try TableChange(table)
    }
    try await write(change, to: disk, path, readAs: reading, force: request.force)
    return await partitionTable(disk, in: pool)
  }

  func resizePartition(_ path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    var table = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.editableTable() }
    let old = try find(request.partition, in: table, path)
    let size = try partitionSize(request.size)
    let alignment = alignment(of: disk)
    let (resized, change) = try explainedTable(path) { () throws(GPTError) in
      (try table.resizePartition(number: old.number, to: size, alignmentByteCount: alignment), try TableChange(table))
    }
    if resized.lastLBA < old.lastLBA && !request.acceptLoss { throw try await lossByShrinking(old, to: resized, of: disk, path) }
    try await write(change, to: disk, path, readAs: reading, force: request.force)
    return await partitionTable(disk, in: pool)
  }

  private func lossByShrinking(
    _ old: GPTPartition, to new: GPTPartition, of disk: ServedVirtualDisk, _ path: VirtualDiskPath
  ) async throws(APIError) -> APIError {
    let sector = UInt64(disk.disk.geometry.logicalSector)
    // A sound table's sectors are on the disk.
    let (start, end) = ((new.lastLBA.value + 1) * sector, (old.lastLBA.value + 1) * sector)
    let data = try await dataByteCount(of: disk.disk, from: start, to: end)
    let what = data == 0 ? "none of which hold data" : "of which \(ByteSize(byteCount: data)) hold data"
    return APIError(
      .badRequest,
      "Nothing was done: partition \(old.number) of \(path) would lose its last \(ByteSize(byteCount: end - start)), \(what)",
      remedy: "Shrink the file system below \(ByteSize(byteCount: new.sectorCount * sector)) first, then repeat the command with --yes")
  }

  func setPartition(_ path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    var table = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.editableTable() }
    var partition = try find(request.partition, in: table, path)
    if let type = request.type { partition.type = try partitionType(type) }
    if let label = request.label { partition.name = label }
    partition.attributes.formUnion(try partitionAttributes(request.set ?? []))
    partition.attributes.subtract(try partitionAttributes(request.clear ?? []))
    let changed = partition
    let change = try explainedTable(path) { () throws(GPTError) in
      try table.updatePartition(changed)
      return try TableChange(table)
    }
    try await write(change, to: disk, path, readAs: reading, force: false)
    return await partitionTable(disk, in: pool)
  }

  func repairPartitionTable(_ path: VirtualDiskPath, _ request: RepairPartitionTable) async throws(APIError) -> PartitionRepairInfo {
    let (_, disk, reading) = try await readTable(path)
    let source: GPTCopy? =
      switch request.source {
      case nil: nil
      case "primary": .primary
      case "backup": .backup
      case let other?: throw APIError(.badRequest, "There is no copy \"\(other)\" of a GPT", remedy: "Give primary or backup")
      }
    let plan = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.repair(from: source) }
    let info = PartitionRepairInfo(
      findings: reading.scan.findings.map(\.description), actions: plan.actions, isDone: request.apply && !plan.steps.isEmpty)
    if info.isDone { try await write(TableChange(plan), to: disk, path, readAs: reading, force: request.force) }
    return info
  }

  /// After the disk has grown: the backup goes to the new end. Says what was done and what is left to do.
  func fitPartitionTable(of disk: ServedVirtualDisk, as before: PartitionWatch.Reading) async -> String? {
    let watch = disk.volume.partitions
    await watch.tableChanged()
    let path = disk.disk.label
    if before.scan.kind == .none { return "A client sees the new size when it attaches again; then grow its file system" }
    do throws(PartitionTableRefusal) {
      guard before.isStable else { throw PartitionTableRefusal("a client was writing it", remedy: "") }
      let table = try before.scan.editableTable()
      let now = await watch.read()
      guard now.isStable, now.scan.gpt?.partitions == table.partitions else {
        throw PartitionTableRefusal("a client was writing it", remedy: "")
      }
      let change = TableChange(try now.scan.repair())
      do throws(APIError) { try await write(change, to: disk, VirtualDiskPath(parsing: path), readAs: now, force: false) } catch {
        throw PartitionTableRefusal(error.message, remedy: error.remedy)
      }
      return "The backup of the partition table was moved to the new end. Next: `spaceport partition resize \(path) NUMBER`, attach again, "
        + "then grow the file system (resize2fs, xfs_growfs)"
    } catch {
      return "The partition table was left as it is: \(error.message). See `spaceport partition verify \(path)`"
    }
  }

  // MARK: What requests name

  private func randomGUID() -> GUID { GUID(randomHigh: reactor.random(), randomLow: reactor.random()) }

  /// A number wins over a label, a label over a GUID.
  private func find(_ name: String, in table: GPT, _ path: VirtualDiskPath) throws(APIError) -> GPTPartition {
    if let number = Int(name), let partition = table.partition(number: number) { return partition }
    let labelled = table.partitions.filter { $0.name == name && !name.isEmpty }
    if labelled.count > 1 {
      throw APIError(
        .badRequest, "More than one partition of \(path) has the label \"\(name)\"",
        remedy: "Name it by its number: \(labelled.map { "\($0.number)" }.joined(separator: ", "))")
    }
    let byGUID = GUID(name).flatMap { guid in table.partitions.first { $0.uniqueGUID == guid } }
    guard let partition = labelled.first ?? byGUID else {
      throw APIError(.notFound, "\(path) has no partition \(name)", remedy: "`spaceport partition list \(path)` shows those there are")
    }
    return partition
  }

  private func partitionType(_ text: String) throws(APIError) -> GUID {
    guard let type = GPTPartitionType.parse(text) else {
      throw APIError(
        .badRequest, "\"\(text)\" is no partition type",
        remedy: "Give a GUID, or one of: " + GPTPartitionType.all.compactMap(\.aliases.first).joined(separator: ", "))
    }
    return type
  }

  private func partitionAttributes(_ words: [String]) throws(APIError) -> GPTAttributes {
    var attributes: GPTAttributes = []
    for word in words {
      guard let attribute = GPTAttributes(parsing: word) else {
        throw APIError(
          .badRequest, "\"\(word)\" is no attribute of a partition",
          remedy: "Give a bit from 0 to 63, or one of: " + GPTAttributes.knownNames.joined(separator: ", "))
      }
      attributes.formUnion(attribute)
    }
    return attributes
  }

  private func partitionSize(_ size: PartitionSize) throws(APIError) -> GPT.PartitionSize {
    switch (size.bytes, size.percentOfDisk, size.percentOfFree) {
    case (nil, nil, nil): return .largestFree
    case (let bytes?, nil, nil): return .bytes(bytes)
    case (nil, let percent?, nil): return .percentOfDisk(percent)
    case (nil, nil, let percent?): return .percentOfFree(percent)
    default: throw APIError(.badRequest, "More than one size was given", remedy: "Give one")
    }
  }
}
