import Management
import NBDServer
import PartitionTable
import Volume

// Who may open what: asked for each client that opens an export, and changed by operators.

extension AccessRules.Target {
  init(_ served: ServedVirtualDisk, _ partition: UsablePartition? = nil) {
    self.init(virtualDisk: served.disk.record.id.description, partition: partition.map(\.identity.accessKey))
  }
}

extension PartitionIdentity {
  /// What access rules know it by: of an MBR partition also where it begins, since another may have its number tomorrow.
  var accessKey: String {
    switch self {
    case .gpt: partitionUUID
    case .mbr(_, _, let offsetBytes): "\(partitionUUID)@\(offsetBytes)"
    }
  }
}

extension StorageService {
  func admission(of client: ClientIdentity, to target: AccessRules.Target) -> Admission {
    access.effective(target).admission(of: client)
  }

  /// They stay when the server is started without the keys that they need, and let nobody in.
  func warnOfRulesThatNeedTLS() {
    let count = access.unmeetableCount(tls)
    if count == 0 { return }
    warn(
      "\(count) access rule\(count == 1 ? "" : "s") ask\(count == 1 ? "s" : "") for certificates or pre-shared keys that this server does not look at: those "
        + "exports let nobody in. Start it with --tls-psk or --tls-certificates and --tls-verify-peer, or see `spaceport export list`.")
  }

  // MARK: Looking

  public func exports(ofPool pool: String?) async throws(APIError) -> [ExportAccess] {
    try await reactor.run { [self] () async throws(APIError) in
      let wanted = if let pool { [try servedPool(pool)] } else { sortedPools }
      var found: [ExportAccess] = []
      for served in wanted.flatMap(\.sortedVirtualDisks) {
        found.append(info(served, nil))
        let partitions = await served.volume.partitions.read().scan.usablePartitions ?? []
        let clientCounts = served.volume.partitions.clientCounts
        found += partitions.map { info(served, $0, clientCounts) }
      }
      return found
    }
  }

  public func export(at path: ExportPath) async throws(APIError) -> ExportAccess {
    try await reactor.run { [self] () async throws(APIError) in
      let (served, partition) = try await export(path)
      return info(served, partition)
    }
  }

  private func export(_ path: ExportPath) async throws(APIError) -> (ServedVirtualDisk, UsablePartition?) {
    let (_, served) = try servedDisk(path.disk)
    guard let name = path.partition else { return (served, nil) }
    do throws(PartitionWatch.OpenError) { return (served, try await served.volume.partitions.find(name)) } catch {
      switch error {
      case .unknown:
        throw APIError(
          .notFound, "\(path.disk) has no partition \(name)", remedy: "`spaceport export list` shows the exports there are")
      case .noTable(let reason):
        throw APIError(.wrongState, "\(path.disk): \(reason)", remedy: "Look at it with `spaceport partition verify \(path.disk)`")
      }
    }
  }

  private func info(_ served: ServedVirtualDisk, _ partition: UsablePartition?) -> ExportAccess {
    info(served, partition, served.volume.partitions.clientCounts)
  }

  private func info(
    _ served: ServedVirtualDisk, _ partition: UsablePartition?, _ clientCounts: [PartitionIdentity: Int]
  ) -> ExportAccess {
    let target = AccessRules.Target(served, partition)
    let rule = access.effective(target)
    let label = served.volume.label
    let clients = partition.map { clientCounts[$0.identity] ?? 0 } ?? served.volume.clientCount
    return ExportAccess(
      name: partition.map { "\(label)/\($0.number)" } ?? label, partitionLabel: partition.flatMap { $0.label.isEmpty ? nil : $0.label },
      readOnly: rule.isReadOnly, allowUsers: rule.users, allowPeers: rule.peers.map(\.description), allowCertificates: rule.certificates,
      allowPSKUsers: rule.pskUsers, hasOwnRule: access.own(target) != nil, clientCount: clients)
  }

  // MARK: Changing

  public func setExport(_ request: SetExportAccess) async throws(APIError) -> ExportAccess {
    try await change { [self] () async throws(APIError) in
      let (served, partition) = try await export(request.export)
      let target = AccessRules.Target(served, partition)
      return try await set(try rule(request, from: access.effective(target)), of: target, served, partition)
    }
  }

  public func resetExport(_ request: ResetExportAccess) async throws(APIError) -> ExportAccess {
    try await change { [self] () async throws(APIError) in
      let (served, partition) = try await export(request.export)
      return try await set(nil, of: AccessRules.Target(served, partition), served, partition)
    }
  }

  /// The rule is durable before it holds. When this returns, nobody has the export open whom the rule refuses, nor for writing whom it lets read.
  private func set(
    _ rule: AccessRule?, of target: AccessRules.Target, _ served: ServedVirtualDisk, _ partition: UsablePartition?
  ) async throws(APIError) -> ExportAccess {
    try await stated { () throws(ServiceError) in try access.set(rule, of: target) }
    let cut = await server?.endWithdrawnSessions(within: ServiceLimits.accessChangeMilliseconds) ?? 0
    if cut > 0 { logger.warning("clients were cut off after a change of access rules", metadata: ["connections": "\(cut)"]) }
    return info(served, partition)
  }

  private func rule(_ request: SetExportAccess, from old: AccessRule) throws(APIError) -> AccessRule {
    var rule = old
    if let isReadOnly = request.readOnly { rule.isReadOnly = isReadOnly }
    if let users = request.allowUsers { rule.users = unique(users) }
    if let peers = request.allowPeers {
      var ranges: [NetworkRange] = []
      for text in peers {
        do throws(NetworkRangeError) { ranges.append(try NetworkRange(parsing: text)) } catch {
          throw APIError(.badRequest, error.description.withoutFullStop, remedy: "")
        }
      }
      rule.peers = unique(ranges)
    }
    if let names = request.allowCertificates { rule.certificates = uniqueNames(names) }
    if let names = request.allowPSKUsers { rule.pskUsers = uniqueNames(names) }
    try check(rule)
    return rule
  }

  private func unique<Value: Hashable>(_ values: [Value]) -> [Value] {
    var seen: Set<Value> = []
    return values.filter { seen.insert($0).inserted }
  }

  /// By their bytes, as they are compared: for Swift, two spellings of one text are the same.
  private func uniqueNames(_ names: [String]) -> [String] {
    unique(names.map { Array($0.utf8) }).map { String(decoding: $0, as: UTF8.self) }
  }

  private func check(_ rule: AccessRule) throws(APIError) {
    let most = ServiceLimits.namesPerAccessRule
    guard max(rule.users.count, rule.peers.count, rule.certificates.count, rule.pskUsers.count) <= most else {
      throw APIError(.badRequest, "A rule cannot have more than \(most) names of a kind", remedy: "Give networks instead of addresses")
    }
    for name in rule.certificates + rule.pskUsers where name.isEmpty || name.utf8.count > ServiceLimits.accessNameByteCount {
      throw APIError(
        .badRequest, "The name \"\(name)\" is empty or longer than \(ServiceLimits.accessNameByteCount) bytes", remedy: "Give another")
    }
    for name in rule.certificates where !AccessRule.isCertificateName(name) {
      throw APIError(
        .badRequest, "\"\(name)\" is no fingerprint: sha256: has 64 hexadecimal digits behind it",
        remedy: "`certtool --fingerprint --hash sha256 --infile CERTIFICATE` shows it")
    }
    try checkCanBeMet(rule)
  }

  /// Each kind alone: a name that nobody could prove to have would look as if it let somebody in.
  private func checkCanBeMet(_ rule: AccessRule) throws(APIError) {
    if !rule.pskUsers.isEmpty, tls?.takesKeys != true {
      throw APIError(
        .wrongState, "The server has no pre-shared keys, so that no client could prove to be such a user",
        remedy: "Start it with --tls require --tls-psk FILE")
    }
    if !rule.certificates.isEmpty, tls?.asksForCertificates != true {
      throw APIError(
        .wrongState, "The server asks no client for a certificate, so that none could prove to have that name",
        remedy: "Start it with --tls require --tls-certificates DIR --tls-verify-peer")
    }
  }

  /// Rules about what is no more. What cannot be written now harms nobody: no other virtual disk ever has the UUID.
  func forgetAccess(_ disks: [ServedVirtualDisk]) {
    do throws(ServiceError) { try access.forget(Set(disks.map { AccessRules.Target($0).virtualDisk })) } catch {
      logger.warning("\(error)")
    }
  }
}
