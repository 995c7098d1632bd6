import BlockDevice
import Management
import NBDServer
import PartitionTable
import Volume

/// What one client was let in as. A rule that has changed since, so that it would be let in to do less, withdraws its export.
struct Grant: Sendable {
  private unowned let service: StorageService
  private let client: ClientIdentity
  private let target: AccessRules.Target
  let admission: Admission

  /// - Throws: when the client may not open it.
  init(_ service: StorageService, _ client: ClientIdentity, _ target: AccessRules.Target, of name: String) throws(ExportError) {
    self.service = service
    self.client = client
    self.target = target
    admission = service.admission(of: client, to: target)
    if admission == .denied { throw service.denial(of: client, by: [service.access.effective(target)], name) }
  }

  var isReadOnly: Bool { admission == .readOnly }
  var isLost: Bool { service.admission(of: client, to: target) < admission }
}

/// A virtual disk as one NBD client has it open.
final class OpenVirtualDisk: Export {
  let name: String
  let description: String
  let requestTemplate: IORequest
  private let volume: Volume
  private let grant: Grant

  init(_ served: ServedVirtualDisk, _ grant: Grant) {
    self.grant = grant
    name = served.volume.label
    description = "spaceport virtual disk \(served.volume.label)"
    volume = served.volume
    requestTemplate = served.request
    volume.addClient()
  }

  var device: BlockDevice { volume }
  var isReadOnly: Bool { grant.isReadOnly }
  var isWithdrawn: Bool { grant.isLost }

  func close() { volume.removeClient() }
}

/// A partition as one NBD client has it open.
final class OpenPartition: Export {
  let name: String
  let description: String
  let requestTemplate: IORequest
  private let volume: PartitionVolume
  private let watch: PartitionWatch
  private let grant: Grant

  /// Takes over a volume that was opened for it.
  init(_ volume: PartitionVolume, of served: ServedVirtualDisk, _ grant: Grant) {
    self.grant = grant
    name = volume.label
    description = partitionDescription(volume.partition.number, volume.partition.label, of: served)
    self.volume = volume
    watch = served.volume.partitions
    requestTemplate = served.request
  }

  var device: BlockDevice { volume }
  var isReadOnly: Bool { grant.isReadOnly }
  var isWithdrawn: Bool { volume.isWithdrawn || grant.isLost }

  func close() { watch.close(volume) }
}

private func partitionDescription(_ number: Int, _ label: String, of served: ServedVirtualDisk) -> String {
  "spaceport partition \(number)\(label.isEmpty ? "" : " (\(label))") of \(served.volume.label)"
}

/// What one client may do with the partitions of a virtual disk, by the rules as they are: each rule is judged once, whatever the number of
/// partitions.
private struct PartitionJudge {
  /// Also with every partition that has no rule of its own.
  let ofDisk: Admission
  private let ofPartitions: [String: Admission]
  let rules: [AccessRule]

  init(_ service: StorageService, _ client: ClientIdentity, _ served: ServedVirtualDisk) {
    let target = AccessRules.Target(served)
    ofDisk = service.admission(of: client, to: target)
    let own = service.access.ofPartitions(target.virtualDisk)
    ofPartitions = own.mapValues { $0.admission(of: client) }
    rules = [service.access.effective(target)] + own.values
  }

  var admitsAny: Bool { ofDisk != .denied || ofPartitions.values.contains { $0 != .denied } }

  func admission(to partition: UsablePartition) -> Admission {
    ofPartitions.isEmpty ? ofDisk : ofPartitions[partition.identity.accessKey] ?? ofDisk
  }
}

extension StorageService: ExportDirectory {
  /// Every virtual disk that the client may open, and its partitions by number and by label.
  public func listExports(for client: ClientIdentity, _ send: ([String]) async -> Bool) async {
    var names: [String] = []
    // While one table is read, another virtual disk may be closed.
    for (index, served) in allVirtualDisks.enumerated() where isServed(served) && served.canBeServed {
      let judge = PartitionJudge(self, client, served)
      if judge.ofDisk != .denied { names.append(served.volume.label) }
      if judge.admitsAny {
        for (name, partition) in await served.volume.partitions.named(limit: ServiceLimits.listedPartitions)
        where judge.admission(to: partition) != .denied {
          names.append("\(served.volume.label)/\(name)")
        }
      }
      if names.count >= ServiceLimits.listedNamesAtATime {
        if !(await send(names)) { return }
        names.removeAll()
      } else if index % ServiceLimits.listedDisksPerTurn == 0 {
        await reactor.sleep(milliseconds: 0)
      }
    }
    if !names.isEmpty { _ = await send(names) }
  }

  public func describeExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> ExportDescription {
    let (served, partition) = try export(named: name, for: client)
    guard let partition else {
      let grant = try Grant(self, client, AccessRules.Target(served), of: name)
      return ExportDescription(
        name: served.volume.label, description: "spaceport virtual disk \(served.volume.label)", geometry: served.volume.geometry,
        isReadOnly: grant.isReadOnly)
    }
    let judge = try checkAdmitted(client, toAnyPartitionOf: served, name)
    let found: UsablePartition
    do throws(PartitionWatch.OpenError) { found = try await served.volume.partitions.find(partition) } catch {
      throw refusal(error, of: served, to: client, judge, name)
    }
    let grant = try grant(client, found, of: served, judge, name)
    var geometry = served.volume.geometry
    geometry.byteCount = found.byteCount
    return ExportDescription(
      name: "\(served.volume.label)/\(found.number)", description: partitionDescription(found.number, found.label, of: served),
      geometry: geometry, isReadOnly: grant.isReadOnly
    )
  }

  public func openExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> any Export {
    if isStopping { throw ExportError(.shuttingDown, "The server is stopping.") }
    let (served, partition) = try export(named: name, for: client)
    if let partition { return try await openPartition(partition, of: served, name, for: client) }
    return try openDisk(served, name, for: client)
  }

  // Whoever may not open it is told nothing else of it: found and judged first, then told what is the matter.

  private func openDisk(_ served: ServedVirtualDisk, _ name: String, for client: ClientIdentity) throws(ExportError) -> OpenVirtualDisk {
    let grant = try Grant(self, client, AccessRules.Target(served), of: name)
    try checkIsOnline(served)
    return OpenVirtualDisk(served, grant)
  }

  private func openPartition(
    _ partition: String, of served: ServedVirtualDisk, _ name: String, for client: ClientIdentity
  ) async throws(ExportError) -> OpenPartition {
    let judge = try checkAdmitted(client, toAnyPartitionOf: served, name)
    let watch = served.volume.partitions
    let volume: PartitionVolume
    do throws(PartitionWatch.OpenError) { volume = try await watch.open(partition) } catch {
      try checkIsOnline(served)  // why its table cannot be read
      throw refusal(error, of: served, to: client, judge, name)
    }
    do throws(ExportError) {
      // While the table was read the virtual disk may have been deleted, or its pool closed.
      guard !isStopping, isServed(served) else { throw ExportError(.shuttingDown, "\(served.volume.label) is being closed.") }
      let grant = try grant(client, volume.partition, of: served, judge, name)
      try checkIsOnline(served)
      return OpenPartition(volume, of: served, grant)
    } catch {
      watch.close(volume)
      throw error
    }
  }

  /// Before the table is looked at: a client that no rule of the virtual disk lets in is not told of it either.
  private func checkAdmitted(
    _ client: ClientIdentity, toAnyPartitionOf served: ServedVirtualDisk, _ name: String
  ) throws(ExportError) -> PartitionJudge {
    let judge = PartitionJudge(self, client, served)
    if !judge.admitsAny { throw denial(of: client, by: judge.rules, name) }
    return judge
  }

  // A client that may open some partitions of a virtual disk, and not the disk itself, is told the same of one that it may not open and of one that
  // is not there: labels cannot be guessed.

  private func grant(
    _ client: ClientIdentity, _ partition: UsablePartition, of served: ServedVirtualDisk, _ judge: PartitionJudge, _ name: String
  ) throws(ExportError) -> Grant {
    do throws(ExportError) { return try Grant(self, client, AccessRules.Target(served, partition), of: name) } catch {
      throw judge.ofDisk == .denied ? denial(of: client, by: judge.rules, name) : error
    }
  }

  private func refusal(
    _ error: PartitionWatch.OpenError, of served: ServedVirtualDisk, to client: ClientIdentity, _ judge: PartitionJudge, _ name: String
  ) -> ExportError {
    if judge.ofDisk == .denied, case .unknown = error { return denial(of: client, by: judge.rules, name) }
    return ExportError(error, of: served)
  }

  /// What a client is told that none of these rules admits: to begin TLS, where one of them may admit it then.
  fileprivate func denial(of client: ClientIdentity, by rules: [AccessRule], _ name: String) -> ExportError {
    guard tls != nil, rules.contains(where: { $0.needsTLS(of: client) }) else { return ExportError(denied: name) }
    return ExportError(.tlsRequired, "\(name) is for clients over TLS: begin with STARTTLS. `spaceport export show \(name)` says for whom.")
  }

  private func checkIsOnline(_ served: ServedVirtualDisk) throws(ExportError) {
    guard !served.canBeServed, let row = served.disk.firstLostRow else { return }
    throw ExportError(
      .unavailable,
      "\(served.volume.label) is offline: row \(row) of its data has no whole copy on the disks that are there. "
        + "Bring the missing disks back; `spaceport vdisk show \(served.volume.label)` says more.")
  }

  func isServed(_ served: ServedVirtualDisk) -> Bool { pools.values.contains { $0.virtualDisks[served.disk.name] === served } }

  /// POOL/VDISK, or POOL/VDISK/PARTITION. The empty name is the only virtual disk that the client may open.
  private func export(named name: String, for client: ClientIdentity) throws(ExportError) -> (ServedVirtualDisk, partition: String?) {
    if name.isEmpty {
      let all = allVirtualDisks
      let open = all.filter { admission(of: client, to: AccessRules.Target($0)) != .denied }
      if open.count == 1 { return (open[0], nil) }
      // What it might have over TLS is not named before.
      if tls != nil, all.count == 1, access.effective(AccessRules.Target(all[0])).needsTLS(of: client) {
        throw ExportError(.tlsRequired, "Begin with STARTTLS to be told of the default export.")
      }
    }
    let parts = name.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2, let served = pools.values.first(where: { $0.name == parts[0] })?.virtualDisks[String(parts[1])] else {
      throw ExportError(.unknown, name.isEmpty ? "There is no default export. Name one: POOL/VDISK." : "There is no such export.")
    }
    return (served, parts.count == 3 ? String(parts[2]) : nil)
  }

  /// Called for every virtual disk that is served.
  func watchPartitions(of served: ServedVirtualDisk) {
    served.volume.partitions.onWithdrawn = { [unowned self] volume in
      logger.warning(
        "A partition was withdrawn from its clients: the partition table has it no more as it was opened",
        metadata: ["partition": "\(volume.label)", "clients": "\(volume.clientCount)"])
      reactor.spawn { [self] in
        let cut = await server?.endSessions(of: volume, within: ServiceLimits.accessChangeMilliseconds) ?? 0
        if cut > 0 { logger.warning("clients of a withdrawn partition were cut off", metadata: ["connections": "\(cut)"]) }
      }
    }
  }
}

extension ExportError {
  fileprivate init(denied name: String) {
    self.init(.denied, "You may not open \(name): `spaceport export show \(name)` says who may.")
  }

  fileprivate init(_ error: PartitionWatch.OpenError, of served: ServedVirtualDisk) {
    switch error {
    case .unknown: self.init(.unknown, "There is no such export.")
    case .noTable(let reason):
      self.init(
        .unavailable,
        "\(served.volume.label): \(reason). Look at it with `spaceport partition verify \(served.volume.label)`, or try again.")
    }
  }
}
