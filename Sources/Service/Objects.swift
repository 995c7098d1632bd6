import CLinux
import Management
import PhysicalDisk
import Pool
import StorageBus
import VirtualDisk

// The layers' own state as the management plane's objects.

extension StorageService {
  func info(_ served: ServedPool) -> PoolInfo {
    let pool = served.pool
    let disks = diskInfos(served)
    if let reading = pool.reading { return info(served, disks, reading) }
    let condition = PoolCondition(disks: disks, virtualDisks: served.sortedVirtualDisks.map { info($0, of: served) })
    let capacity = pool.disks.reduce(UInt64(0)) { $0 + pool.capacityByteCount(of: $1) }
    let allocated = pool.disks.reduce(UInt64(0)) { $0 + pool.capacityByteCount(of: $1) - pool.freeByteCount(of: $1) }
    return PoolInfo(
      name: pool.name, uuid: pool.id.description, state: condition.state, reason: condition.reason, nextStep: condition.nextStep,
      capacityBytes: capacity, allocatedBytes: allocated, freeBytes: pool.freeByteCount, slabBytes: pool.slabByteCount, disks: disks,
      virtualDisks: served.sortedVirtualDisks.map(\.disk.name), features: [], health: condition.health,
      remaining: (1...3).map { remaining(copies: $0, in: pool) },
      reserveBytes: pool.reserveByteCount, isReserveMet: pool.isReserveMet, warnings: warnings(of: served))
  }

  private func remaining(copies: Int, in pool: StoragePool) -> PoolInfo.RemainingRoom {
    let columns = VirtualDiskPlan.defaultColumns(copies: copies, in: pool)
    return PoolInfo.RemainingRoom(
      copies: copies, bytes: pool.remainingByteCount(copies: copies), defaultColumns: columns,
      bytesWithDefaultColumns: pool.remainingByteCount(copies: copies, columns: columns))
  }

  func info(_ pool: WaitingPool) -> PoolInfo {
    let isStarting = reactor.now < pool.startingUntil || !pool.wasTried
    let words = words(for: pool)
    return PoolInfo(
      name: pool.known.name, uuid: pool.known.id.description, state: isStarting ? .starting : .incomplete, reason: words.message,
      nextStep: words.remedy, capacityBytes: 0, allocatedBytes: 0, freeBytes: 0, slabBytes: 0,
      disks: pool.known.diskPaths.map { missingDisk($0, of: pool) }, virtualDisks: [], features: [],
      health: isStarting ? .warning : .unhealthy)
  }

  /// What the pool waits for and, as long as that ends by itself, for how long.
  func words(for pool: WaitingPool) -> APIError {
    guard reactor.now < pool.startingUntil else { return pool.reason }
    let secondsLeft = (pool.startingUntil.nanoseconds(since: reactor.now) + 999_999_999) / 1_000_000_000
    return APIError(pool.reason.code, "\(pool.reason.message), for another \(secondsLeft) s", remedy: pool.reason.remedy)
  }

  /// A disk of a pool that is not open: all that is known is where it was last.
  private func missingDisk(_ path: String, of pool: WaitingPool) -> DiskInfo {
    let isThere = pool.triedPaths.contains(path)
    let doubt = pool.doubts[path]
    return DiskInfo(
      uuid: "-", path: path, pool: pool.known.name, kind: path.hasPrefix("/dev/") ? .block : .file, ioMode: .direct, sizeBytes: 0,
      allocatedBytes: 0, freeBytes: 0, logicalSectorBytes: 0, physicalSectorBytes: 0, health: .unknown,
      reason: doubt?.reason ?? (isThere ? "its pool is not open" : "it is missing"), role: .member,
      state: doubt?.state ?? (isThere ? .starting : .lostCommunication),
      nextStep: doubt.map { _ in "Connect the right disk, or read what is there: spaceport pool open DISK... --read-only" })
  }

  /// The disks that are there and those that are away, in the order of their numbers; behind them what is left alone, unless it lies where one that
  /// is away was last, and that one says already why it is not taken back.
  func diskInfos(_ served: ServedPool) -> [DiskInfo] {
    let disks = served.disks.map { info($0, of: served) } + served.pool.awayDiskNumbers.compactMap { absentInfo($0, of: served) }
    let refused = Set(served.absent.filter { $0.value.reason != nil }.map(\.value.path))
    return disks.sorted { $0.number < $1.number }
      + served.rejected.filter { !refused.contains($0.path) }.map { rejectedInfo($0, of: served) }
  }

  private func rejectedInfo(_ disk: RejectedDisk, of served: ServedPool) -> DiskInfo {
    DiskInfo(
      uuid: "-", path: disk.path, pool: served.name, kind: disk.path.hasPrefix("/dev/") ? .block : .file, ioMode: .direct, sizeBytes: 0,
      allocatedBytes: 0, freeBytes: 0, logicalSectorBytes: 0, physicalSectorBytes: 0, health: .unhealthy,
      reason: "it is left alone: \(disk.reason)", role: .member, state: disk.state, nextStep: disk.remedy)
  }

  private func info(_ disk: ClaimedDisk, of served: ServedPool) -> DiskInfo {
    let facts = disk.port.facts
    if let cacheDisk = served.pool.cache.disks.first(where: { $0.disk === disk.bus }) { return info(cacheDisk, disk, of: served) }
    let member = served.pool.disks.first { $0.disk === disk.bus }
    let free = member.map(served.pool.freeByteCount) ?? 0
    let capacity = member.map(served.pool.capacityByteCount) ?? 0
    let retirement = served.pool.jobs.jobs.last { $0.kind == .retire && $0.record.disk == member?.number && $0.state == .suspended }
    let condition = DiskCondition(of: disk, member?.state, pool: served.name, stuckBecause: retirement?.message, now: reactor.now)
    return DiskInfo(
      uuid: member?.id.description ?? "", path: disk.path, pool: served.name, kind: facts.kind == .blockDevice ? .block : .file,
      ioMode: facts.isDirect ? .direct : .buffered, sizeBytes: facts.byteCount, allocatedBytes: capacity - free, freeBytes: free,
      logicalSectorBytes: facts.ioAlignment, physicalSectorBytes: facts.physicalSector, health: condition.health,
      reason: condition.reason, role: member?.isVoter == true ? .voter : .member, number: member?.number.value ?? 0,
      state: condition.state, usage: usage(member?.usage ?? .auto), nextStep: condition.nextStep,
      cachedBy: member.flatMap(served.pool.cache.disk(for:)).map { served.path(of: $0.number) })
  }

  /// A cache disk: what is allocated and free are its pages.
  private func info(_ cacheDisk: PooledCacheDisk, _ disk: ClaimedDisk, of served: ServedPool) -> DiskInfo {
    let facts = disk.port.facts
    let condition = DiskCondition(
      ofCacheDisk: disk, isUsable: cacheDisk.isUsable || served.pool.isReadOnly, pool: served.name, cacheDisk.number, now: reactor.now)
    return DiskInfo(
      uuid: cacheDisk.id.description, path: disk.path, pool: served.name, kind: facts.kind == .blockDevice ? .block : .file,
      ioMode: facts.isDirect ? .direct : .buffered, sizeBytes: facts.byteCount, allocatedBytes: cacheDisk.usedByteCount,
      freeBytes: cacheDisk.freeByteCount, logicalSectorBytes: facts.ioAlignment, physicalSectorBytes: facts.physicalSector,
      health: condition.health, reason: condition.reason, role: .member, number: cacheDisk.number.value, state: condition.state,
      usage: .cache, nextStep: condition.nextStep)
  }

  private func absentInfo(_ number: DiskNumber, of served: ServedPool) -> DiskInfo? {
    guard let record = served.pool.diskRecord(number) else { return nil }
    let path = served.path(of: number)
    let condition =
      record.usage == .cache
      ? DiskCondition(
        absentCacheDisk: served.absent[number], loss: served.pool.cache.losses[number], refusal: served.refusals[number], number,
        pool: served.name)
      : DiskCondition(
        absent: served.absent[number], isDistrusted: isDistrusted(record.id, in: served.pool.id), refusal: served.refusals[number], number,
        pool: served.name, isReadOnly: served.pool.isReadOnly)
    return DiskInfo(
      uuid: record.id.description, path: path, pool: served.name, kind: path.hasPrefix("/dev/") ? .block : .file, ioMode: .direct,
      sizeBytes: record.diskByteCount, allocatedBytes: 0, freeBytes: 0, logicalSectorBytes: Int(record.logicalSector),
      physicalSectorBytes: Int(record.physicalSector), health: condition.health, reason: condition.reason, role: .member,
      number: number.value, state: condition.state, usage: usage(record.usage), nextStep: condition.nextStep)
  }

  private func usage(_ usage: DiskRecord.Usage) -> DiskInfo.Usage {
    switch usage {
    case .hotspare: .hotspare
    case .retired: .retired
    case .cache: .cache
    default: .auto
    }
  }

  func info(_ served: ServedVirtualDisk, of pool: ServedPool) -> VirtualDiskInfo {
    let record = served.disk.record
    let condition = served.data.map { VirtualDiskCondition(readOnly: $0, pool.name) } ?? VirtualDiskCondition(of: served, in: pool)
    return VirtualDiskInfo(
      pool: pool.name, name: record.name, uuid: record.id.description, sizeBytes: record.byteCount,
      provisioning: record.provisioning == .fixed ? .fixed : .thin, resiliency: record.copies > 1 ? .mirror : .simple,
      columns: Int(record.columns), interleaveBytes: UInt64(record.interleave), logicalSectorBytes: Int(record.logicalSector),
      allocatedBytes: served.disk.allocatedByteCount, clientCount: served.clientCount, state: condition.state,
      reason: condition.reason, copies: max(1, Int(record.copies)), health: condition.health, nextStep: condition.nextStep,
      share: record.share == 0 ? StorageBusLimits.defaultShare : record.share, data: served.data.map(DataInfo.init))
  }

  // MARK: Warnings

  /// What the operator should know of a pool while it works.
  func warnings(of served: ServedPool) -> [String] {
    let pool = served.pool
    var warnings: [String] = []
    if let scrub = pool.jobs.jobs.last(where: { $0.kind == .scrub && $0.state == .completed }), scrub.finding.hasDamage {
      warnings.append(
        "The last scrub of the pool \(pool.name) found damage that it could not repair: \(scrub.message) Write these places again, for "
          + "instance from a backup; then scrub once more: spaceport pool scrub \(pool.name).")
    }
    if !pool.isReadOnly { warnings += cacheWarnings(of: served) }
    if pool.isReserveMet || pool.isReadOnly { return warnings }
    warnings.append(
      "The pool \(pool.name) has no reserve: if a disk were lost, the others could not take its copies, and the data would stay with "
        + "fewer until the disk is replaced. That takes one more disk than a mirror's copies lie on, and as much free space as the "
        + "fullest disk holds. Add a disk: spaceport pool add \(pool.name) DISK.")
    return warnings
  }

  /// Of all pools, for `status`.
  var poolWarnings: [String] {
    sortedPools.flatMap { served in
      let info = info(served)
      let trouble = [info.reason, info.nextStep].compactMap { $0 }.joined(separator: ". ")
      return (trouble.isEmpty ? [] : ["The pool \(served.name) is \(info.state.words): \(trouble)."]) + info.warnings
    }
  }
}

extension APIError {
  init(_ error: PoolError) {
    let code: Code =
      switch error.cause {
      case .invalid: .badRequest
      case .exists: .alreadyExists
      case .notFound: .notFound
      case .noSpace: .noSpace
      case .disksMissing, .wrongState: .wrongState
      case .damaged, .ioFailed: .ioError
      }
    self.init(code, error.message, remedy: error.remedy)
  }

  init(_ error: DiskOpenError) {
    let code: Code =
      switch error.cause {
      case .notFound: .notFound
      case .permissionDenied: .permissionDenied
      case .locked, .claimed: .busy
      case .notADisk, .empty, .readOnly: .badRequest
      case .system: .ioError
      }
    self.init(code, error.description.withoutFullStop, remedy: "")
  }
}

/// A count of NBD connections, in words.
func connections(_ count: Int) -> String { count == 1 ? "1 NBD connection" : "\(count) NBD connections" }

extension StorageService {
  /// The connections to a virtual disk, or to all of a pool, in words: how many, and whose the first are.
  func clients(_ count: Int, of name: String) -> String {
    let peers = (server?.statistics.connections ?? []).filter { connection in
      connection.exportName.map { $0 == name || $0.hasPrefix("\(name)/") } ?? false
    }.map(\.peer)
    let named = Array(Set(peers)).sorted()
    if named.isEmpty { return connections(count) }
    let more = named.count > ServiceLimits.namedPeers ? ", ..." : ""
    return "\(connections(count)): \(named.prefix(ServiceLimits.namedPeers).joined(separator: "; "))\(more)"
  }
}

/// Seconds since 1970: for dates in metadata, which nothing is decided by.
func wallClockSeconds() -> UInt64 { UInt64(max(0, time(nil))) }
