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
    let change = try explainedTable(path) { () throws(GPTError) in
      try TableChange(
        GPT(diskGUID: randomGUID(), diskByteCount: disk.disk.geometry.byteCount, sectorSize: reading.scan.sectorSize), .fresh)
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
    if held == nil, disk.disk.allocatedByteCount > 0 {
      let data = try await data(of: disk.disk, from: 0, to: disk.disk.geometry.byteCount, onlyFirst: true)
      if data.byteCount > 0 || !data.isWhole { held = "data without a partition table, perhaps a file system on the whole disk" }
    }
    guard let held else { return }
    throw APIError(
      .badRequest, "Nothing was done: \(path) has \(held), which would be lost", remedy: "Repeat the command with --yes to make a new table"
    )
  }

  /// Changes a GPT that may be changed: reads it, lets `body` change it, and writes it.
  private func changeTable(
    _ path: VirtualDiskPath, force: Bool = false,
    _ body: (inout GPT, ServedVirtualDisk) async throws(APIError) -> Void
  ) async throws(APIError) -> PartitionTableInfo {
    let (pool, disk, reading) = try await readTable(path)
    var table = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.editableTable() }
    try await body(&table, disk)
    let change = try explainedTable(path) { [table] () throws(GPTError) in try TableChange(table) }
    try await write(change, to: disk, path, readAs: reading, force: force)
    return await partitionTable(disk, in: pool)
  }

  func createPartition(_ path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo {
    let type = try partitionType(request.type ?? "linux")
    let attributes = try partitionAttributes(request.attributes ?? [])
    let size = try partitionSize(request.size)
    return try await changeTable(path) { (table, disk) async throws(APIError) in
      _ = try explainedTable(path) { () throws(GPTError) in
        try table.addPartition(
          type: type, uniqueGUID: randomGUID(), size: size, name: request.label ?? "", attributes: attributes, number: request.number,
          alignmentByteCount: request.alignmentBytes ?? alignment(of: disk))
      }
    }
  }

  func deletePartitions(_ path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo {
    guard !request.partitions.isEmpty else {
      throw APIError(.badRequest, "No partition was named", remedy: "Name each by its number, its label or its unique GUID")
    }
    return try await changeTable(path, force: request.force) { (table, disk) async throws(APIError) in
      var partitions: [Int: GPTPartition] = [:]
      for name in request.partitions {
        let partition = try find(name, in: table, path)
        partitions[partition.number] = partition
      }
      if !request.acceptLoss { throw lossByDeleting(partitions.values.sorted { $0.number < $1.number }, of: disk, path) }
      try explainedTable(path) { () throws(GPTError) in try table.removePartitions(numbers: Set(partitions.keys)) }
    }
  }

  private func lossByDeleting(_ partitions: [GPTPartition], of disk: ServedVirtualDisk, _ path: VirtualDiskPath) -> APIError {
    let clientCounts = disk.volume.partitions.clientCounts
    let what = partitions.map { partition in
      let count = clientCounts[.gpt(partition.uniqueGUID)] ?? 0
      let clients = count == 0 ? "" : ", \(count) client\(count == 1 ? "" : "s") connected"
      let label = partition.name.isEmpty ? "" : " \"\(partition.name)\""
      let size = ByteSize(byteCount: partition.sectorCount * UInt64(disk.disk.geometry.logicalSector))
      return "\(partition.number)\(label) (\(GPTPartitionType.shortName(partition.type)), \(size)\(clients))"
    }
    return APIError(
      .badRequest, "Nothing was done: of \(path) partition \(what.joined(separator: ", ")) would be lost",
      remedy: "Repeat the command with --yes to delete it")
  }

  func resizePartition(_ path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo {
    let size = try partitionSize(request.size)
    return try await changeTable(path, force: request.force) { (table, disk) async throws(APIError) in
      let old = try find(request.partition, in: table, path)
      let resized = try explainedTable(path) { () throws(GPTError) in
        try table.resizePartition(number: old.number, to: size, alignmentByteCount: alignment(of: disk))
      }
      if resized.lastLBA < old.lastLBA && !request.acceptLoss { throw try await lossByShrinking(old, to: resized, of: disk, path) }
    }
  }

  private func lossByShrinking(
    _ old: GPTPartition, to new: GPTPartition, of disk: ServedVirtualDisk, _ path: VirtualDiskPath
  ) async throws(APIError) -> APIError {
    let sector = UInt64(disk.disk.geometry.logicalSector)
    // A sound table's sectors are on the disk.
    let (start, end) = ((new.lastLBA.value + 1) * sector, (old.lastLBA.value + 1) * sector)
    let data = try await data(of: disk.disk, from: start, to: end)
    let what = data.byteCount == 0 && data.isWhole ? "none of which hold data" : "of which \(data) hold data"
    return APIError(
      .badRequest,
      "Nothing was done: partition \(old.number) of \(path) would lose its last \(ByteSize(byteCount: end - start)), \(what)",
      remedy: "Shrink the file system below \(ByteSize(byteCount: new.sectorCount * sector)) first, then repeat the command with --yes")
  }

  func setPartition(_ path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo {
    let type = try request.type.map { (text) throws(APIError) in try partitionType(text) }
    let (set, cleared) = (try partitionAttributes(request.set ?? []), try partitionAttributes(request.clear ?? []))
    return try await changeTable(path) { (table, _) async throws(APIError) in
      var partition = try find(request.partition, in: table, path)
      partition.type = type ?? partition.type
      partition.name = request.label ?? partition.name
      partition.attributes.formUnion(set)
      partition.attributes.subtract(cleared)
      try explainedTable(path) { [partition] () throws(GPTError) in try table.updatePartition(partition) }
    }
  }

  // MARK: What requests name

  private func randomGUID() -> GUID { GUID(randomHigh: reactor.random(), randomLow: reactor.random()) }

  /// A number wins over a label, a label over a GUID. Numbers as they are listed: "02" is a label.
  private func find(_ name: String, in table: GPT, _ path: VirtualDiskPath) throws(APIError) -> GPTPartition {
    if let partition = table.partitions.first(where: { "\($0.number)" == name }) { return partition }
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
