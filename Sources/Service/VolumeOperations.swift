import Management
import NBDServer
import PartitionTable
import Reactor
import Synchronization
import Volume

// What is on virtual disks and their partitions. On the reactor, without the operation lock: nothing is changed.

extension StorageService {
  public func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo] {
    try await untilTimeIsOver { [self] (limit) async throws(APIError) in
      let wanted = if let pool { [try servedPool(pool)] } else { sortedPools }
      var found: [VolumeInfo] = []
      for served in wanted.flatMap(\.sortedVirtualDisks) where isServed(served) { found += await volumes(of: served, limit) }
      return found
    }
  }

  public func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await untilTimeIsOver { [self] (limit) async throws(APIError) in await volumes(of: try servedDisk(path).1, limit) }
  }

  public func volumesWithoutContent(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await reactor.run { [self] () async throws(APIError) in
      let served = try servedDisk(path).1
      return await listed(served).volumes.map(\.info)
    }
  }

  /// Whoever asked waits no longer.
  final class CallEnd: Sendable {
    private let isOverNow = Atomic(false)
    var isOver: Bool { isOverNow.load(ordering: .relaxed) }
    func end() { isOverNow.store(true, ordering: .relaxed) }
  }

  /// Runs a question on the reactor, which is told when the caller's time limit has passed.
  private func untilTimeIsOver<Value: Sendable>(
    _ body: @escaping @Sendable (CallEnd) async throws(APIError) -> Value
  ) async throws(APIError) -> Value {
    let limit = CallEnd()
    let result = await withTaskCancellationHandler { () async -> Result<Value, APIError> in
      do throws(APIError) { return .success(try await reactor.run { () async throws(APIError) in try await body(limit) }) } catch {
        return .failure(error)
      }
    } onCancel: {
      limit.end()
    }
    return try result.get()
  }

  /// A volume, and where it lies.
  private struct ListedVolume {
    var info: VolumeInfo
    var range: Range<UInt64>
  }

  /// What there is, without what is on it.
  private func listed(_ served: ServedVirtualDisk) async -> (volumes: [ListedVolume], scan: PartitionTableScan) {
    let scan = await served.volume.partitions.read().scan
    // While the table was read the virtual disk may have been deleted; so below.
    guard isServed(served) else { return ([], scan) }
    // A guest may have made very many: what is the same for all is made once.
    let processes = clientProcesses
    let disk = volume(served, processes)
    let hasTable = scan.kind != .none && scan.kind != .bootSector
    guard let partitions = scan.usablePartitions, !partitions.isEmpty || hasTable else {
      // One without a table that can be relied on. A file system may lie where the table would.
      return ([ListedVolume(info: disk, range: 0..<disk.sizeBytes)], scan)
    }
    let clientCounts = served.volume.partitions.clientCounts
    // An empty table is not a volume.
    let volumes = partitions.sorted { $0.number < $1.number }.map { partition in
      var info = disk
      info.partition = partition.number
      info.partitionLabel = partition.label
      info.offsetBytes = partition.offsetBytes
      info.sizeBytes = partition.byteCount
      info.export = export(
        "\(info.diskPath)/\(partition.number)", uuid: partition.identity.partitionUUID,
        clientCount: clientCounts[partition.identity] ?? 0, processes)
      return ListedVolume(info: info, range: partition.offsetBytes..<partition.endBytes)
    }
    return (volumes, scan)
  }

  private func volumes(of served: ServedVirtualDisk, _ limit: CallEnd) async -> [VolumeInfo] {
    let (listed, scan) = await listed(served)
    var found: [VolumeInfo] = []
    let hasTable = scan.kind != .none && scan.kind != .bootSector
    for (index, var volume) in listed.enumerated() {
      if index < ServiceLimits.recognisedPartitions {
        guard isServed(served), !limit.isOver else { return found }
        await recognise(volume.range, of: served, limit, in: &volume.info)
      } else {
        volume.info.problem = "it was not looked at: of a virtual disk only the first \(ServiceLimits.recognisedPartitions) partitions are"
      }
      if hasTable && volume.info.partition == nil && volume.info.content == nil && volume.info.problem == nil {
        volume.info.problem = "its partition table cannot be relied on: see `spaceport partition verify \(volume.info.diskPath)`"
      }
      found.append(volume.info)
    }
    return found
  }

  private func volume(_ served: ServedVirtualDisk, _ processes: [String: Set<Int>]) -> VolumeInfo {
    let (label, geometry) = (served.volume.label, served.disk.geometry)
    let disk = export(label, uuid: served.disk.record.id.description, clientCount: served.volume.clientCount, processes)
    return VolumeInfo(
      pool: String(label.prefix { $0 != "/" }), virtualDisk: served.disk.name, sizeBytes: geometry.byteCount,
      sectorBytes: geometry.logicalSector, export: disk, diskExport: disk)
  }

  private func export(_ name: String, uuid: String, clientCount: Int, _ processes: [String: Set<Int>]) -> ExportInfo {
    ExportInfo(
      name: name, identifier: "\(name) \(uuid.lowercased())", clientCount: clientCount,
      clientProcesses: processes[name, default: []].sorted())
  }

  /// Of this machine, by the export that they are connected to.
  private var clientProcesses: [String: Set<Int>] {
    var processes: [String: Set<Int>] = [:]
    for connection in server?.statistics.connections ?? [] {
      guard let process = connection.peerProcess, process > 0, let name = connection.exportName else { continue }
      processes[name, default: []].insert(Int(process))
    }
    return processes
  }

  // MARK: Content

  private func recognise(_ range: Range<UInt64>, of served: ServedVirtualDisk, _ limit: CallEnd, in info: inout VolumeInfo) async {
    guard served.canBeServed else {
      info.problem = "the virtual disk is offline"
      return
    }
    do {
      guard let (content, usage) = try await recognised(range, of: served, limit) else { return }
      info.content = ContentInfo(
        type: content.type, usage: content.usage, label: content.label, uuid: content.uuid, usedBytes: usage?.usedBytes,
        freeBytes: usage?.freeBytes)
    } catch {
      info.problem = "what is on it is not known: \(error)"
    }
  }

  /// What a range of the virtual disk holds; nil for nothing that is known.
  func recognised(
    _ range: Range<UInt64>, of served: ServedVirtualDisk, _ limit: CallEnd = CallEnd()
  ) async throws -> (FoundContent, FileSystemUsage?)? {
    // One at a time: that bounds the memory, and the reactor's part of it.
    while !contentLock.tryAcquire() { await withUnsafeContinuation { contentLock.enqueue($0) } }
    defer { contentLock.release() }
    guard isServed(served), !limit.isOver else { return nil }
    return try await content(of: try await served.volume.sampleContent(range, served.request))
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
  /// What Linux calls its PARTUUID: the unique GUID; of an MBR partition disk signature and number.
  var partitionUUID: String {
    switch self {
    case .gpt(let guid): return guid.description
    case .mbr(let signature, let number, _):
      let digits = String(signature, radix: 16)
      return String(repeating: "0", count: 8 - digits.count) + digits + "-" + (number < 16 ? "0" : "") + String(number, radix: 16)
    }
  }
}
