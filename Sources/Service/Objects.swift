import CLinux
import Management
import PhysicalDisk
import Pool
import VirtualDisk

// The layers' own state as the management plane's objects.

extension StorageService {
  func info(_ served: ServedPool) -> PoolInfo {
    let pool = served.pool
    let disks = served.disks.map { info($0, of: served) }
    let failing = disks.filter { $0.health != .healthy }
    return PoolInfo(
      name: pool.name, uuid: pool.id.description, state: failing.isEmpty ? .ok : .degraded,
      reason: failing.isEmpty ? nil : "disks have failed requests: \(failing.map(\.path).joined(separator: ", "))",
      nextStep: failing.isEmpty ? nil : "look at `spaceport disk list`, save what matters and replace the disk",
      capacityBytes: pool.capacityByteCount, allocatedBytes: pool.capacityByteCount - pool.freeByteCount, freeBytes: pool.freeByteCount,
      slabBytes: pool.slabByteCount, disks: disks, virtualDisks: served.sortedVirtualDisks.map(\.disk.name), features: [])
  }

  func info(_ pool: WaitingPool) -> PoolInfo {
    let isStarting = reactor.now < pool.startingUntil
    return PoolInfo(
      name: pool.known.name, uuid: pool.known.id.description, state: isStarting ? .starting : .incomplete, reason: pool.reason.message,
      nextStep: pool.reason.remedy, capacityBytes: 0, allocatedBytes: 0, freeBytes: 0, slabBytes: 0,
      disks: pool.known.diskPaths.map { missingDisk($0, of: pool) }, virtualDisks: [], features: [])
  }

  /// A disk of a pool that is not open: all that is known is where it was last.
  private func missingDisk(_ path: String, of pool: WaitingPool) -> DiskInfo {
    let isThere = DiskIdentity.of(path: path) != nil
    return DiskInfo(
      uuid: "-", path: path, pool: pool.known.name, kind: path.hasPrefix("/dev/") ? .block : .file, ioMode: .direct, sizeBytes: 0,
      allocatedBytes: 0, freeBytes: 0, logicalSectorBytes: 0, physicalSectorBytes: 0, health: .unknown,
      reason: isThere ? "its pool is not open" : "it is missing: lost communication", role: .member)
  }

  private func info(_ disk: ClaimedDisk, of served: ServedPool) -> DiskInfo {
    let facts = disk.port.facts
    let member = served.pool.disks.first { $0.disk === disk.bus }
    let free = member.map(served.pool.freeByteCount) ?? 0
    let capacity = member.map(served.pool.capacityByteCount) ?? 0
    return DiskInfo(
      uuid: member?.id.description ?? "", path: disk.path, pool: served.name, kind: facts.kind == .blockDevice ? .block : .file,
      ioMode: facts.isDirect ? .direct : .buffered, sizeBytes: facts.byteCount, allocatedBytes: capacity - free, freeBytes: free,
      logicalSectorBytes: facts.ioAlignment, physicalSectorBytes: facts.physicalSector, health: health(disk.physical.health.state),
      reason: disk.physical.health.lastError, role: member?.isVoter == true ? .voter : .member)
  }

  private func health(_ state: DiskHealth.State) -> DiskInfo.Health {
    switch state {
    case .ok: .healthy
    case .failed: .unhealthy
    default: .warning
    }
  }

  func info(_ served: ServedVirtualDisk, of pool: ServedPool) -> VirtualDiskInfo {
    let record = served.disk.record
    return VirtualDiskInfo(
      pool: pool.name, name: record.name, uuid: record.id.description, sizeBytes: record.byteCount,
      provisioning: record.provisioning == .fixed ? .fixed : .thin, resiliency: .simple, columns: Int(record.columns),
      interleaveBytes: UInt64(record.interleave), logicalSectorBytes: Int(record.logicalSector),
      allocatedBytes: served.disk.allocatedByteCount, clientCount: served.volume.clientCount, state: .ok)
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

/// Seconds since 1970: for dates in metadata, which nothing is decided by.
func wallClockSeconds() -> UInt64 { UInt64(max(0, time(nil))) }
