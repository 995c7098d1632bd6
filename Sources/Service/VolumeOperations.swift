import Management
import NBDServer
import PartitionTable
import Reactor
import Volume

// What is on virtual disks and their partitions. On the reactor, without the operation lock: nothing is changed.

extension StorageService {
  public func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo] {
    try await reactor.run { [self] () async throws(APIError) in
      let wanted = if let pool { [try servedPool(pool)] } else { sortedPools }
      var found: [VolumeInfo] = []
      for served in wanted.flatMap(\.sortedVirtualDisks) where isServed(served) { found += await volumes(of: served) }
      return found
    }
  }

  public func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await reactor.run { [self] () async throws(APIError) in await volumes(of: try servedDisk(path).1) }
  }

  private func volumes(of served: ServedVirtualDisk) async -> [VolumeInfo] {
    let scan = await served.volume.partitions.read().scan
    // While the table was read the virtual disk may have been deleted; so below.
    guard isServed(served) else { return [] }
    guard let partitions = scan.usablePartitions else { return await [wholeDisk(served, scan)] }
    if partitions.isEmpty {
      // An empty table is not a volume.
      return scan.kind == .none || scan.kind == .bootSector ? await [wholeDisk(served, scan)] : []
    }
    var found: [VolumeInfo] = []
    for partition in partitions.sorted(by: { $0.number < $1.number }) where isServed(served) {
      var info = volume(served)
      info.partition = partition.number
      info.partitionLabel = partition.label
      info.offsetBytes = partition.offsetBytes
      info.sizeBytes = partition.byteCount
      info.export = export(
        "\(info.diskPath)/\(partition.number)", uuid: partition.identity.text(number: partition.number),
        clientCount: served.volume.partitions.open.filter { $0.partition.identity == partition.identity }
          .reduce(0) { $0 + $1.clientCount })
      await recognise(partition.offsetBytes..<partition.endBytes, of: served, in: &info)
      found.append(info)
    }
    return found
  }

  /// One without a table that can be relied on. A file system may lie where the table would.
  private func wholeDisk(_ served: ServedVirtualDisk, _ scan: PartitionTableScan) async -> VolumeInfo {
    var info = volume(served)
    await recognise(0..<info.sizeBytes, of: served, in: &info)
    if info.content == nil && info.problem == nil && scan.kind != .none && scan.kind != .bootSector {
      info.problem = "its partition table cannot be relied on: see `spaceport partition verify \(info.diskPath)`"
    }
    return info
  }

  private func volume(_ served: ServedVirtualDisk) -> VolumeInfo {
    let (label, geometry) = (served.volume.label, served.disk.geometry)
    let disk = export(label, uuid: served.disk.record.id.description, clientCount: served.volume.clientCount)
    return VolumeInfo(
      pool: String(label.prefix { $0 != "/" }), virtualDisk: served.disk.name, sizeBytes: geometry.byteCount,
      sectorBytes: geometry.logicalSector, export: disk, diskExport: disk)
  }

  private func export(_ name: String, uuid: String, clientCount: Int) -> ExportInfo {
    let sessions = server?.statistics.connections.filter { $0.exportName == name } ?? []
    let processes = Set(sessions.compactMap { $0.peerProcess.map(Int.init) }.filter { $0 > 0 })
    return ExportInfo(
      name: name, identifier: "\(name) \(uuid.lowercased())", clientCount: clientCount, clientProcesses: processes.sorted())
  }

  // MARK: Content

  private func recognise(_ range: Range<UInt64>, of served: ServedVirtualDisk, in info: inout VolumeInfo) async {
    guard served.canBeServed else {
      info.problem = "the virtual disk is offline"
      return
    }
    // One at a time: that bounds the memory, and the reactor's part of it.
    while !contentLock.tryAcquire() { await withUnsafeContinuation { contentLock.enqueue($0) } }
    defer { contentLock.release() }
    guard isServed(served) else { return }
    do {
      let sample = try await served.volume.sampleContent(range, served.request)
      guard let (content, usage) = try await content(of: sample) else { return }
      info.content = ContentInfo(
        type: content.type, usage: content.usage, label: content.label, uuid: content.uuid, usedBytes: usage?.usedBytes,
        freeBytes: usage?.freeBytes)
    } catch {
      info.problem = "what is on it is not known: \(error)"
    }
  }

  private func content(of sample: ContentSample) async throws -> (FoundContent, FileSystemUsage?)? {
    let thread = try contentThread ?? BlockingCalls.start(name: "content")
    contentThread = thread
    let answer = await thread.perform { () -> Result<(FoundContent, FileSystemUsage?)?, ContentProbe.Failure> in
      do throws(ContentProbe.Failure) {
        guard let content = try ContentProbe().content(of: sample) else { return .success(nil) }
        return .success((content, content.usage(in: sample)))
      } catch { return .failure(error) }
    }
    return try answer.get()
  }
}

extension PartitionIdentity {
  /// The unique GUID; of an MBR partition what Linux calls its PARTUUID.
  func text(number: Int) -> String {
    switch self {
    case .gpt(let guid): return guid.description
    case .mbr(let signature, _):
      let digits = String(signature, radix: 16)
      return String(repeating: "0", count: 8 - digits.count) + digits + "-" + (number < 16 ? "0" : "") + String(number, radix: 16)
    }
  }
}
