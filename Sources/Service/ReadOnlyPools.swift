import Logging
import Management
import PhysicalDisk
import Pool
import VirtualDisk

// Pools that are open to be read only: salvage from whatever disks there are. Nothing is written to any disk or to the state directory.

extension StorageService {
  /// Opens a pool from the disks named, be they too few or of one side of a split.
  func openReadOnly(_ opening: PoolOpening) async throws(APIError) -> PoolInfo {
    try checkNameIsFree(opening.name)
    let (paths, remarks) = try await trusted(opening)
    let disks = try await claimFree(paths, access: .shared)
    do throws(APIError) {
      let witness = await witnesses.peek(opening.id)
      let pool = try await explained { () throws(PoolError) in
        try await StoragePool.openReadOnly(disks.map(\.member), reactor: reactor, witness: witness)
      }
      return try await serveReadOnly(pool, disks, remarks)
    } catch {
      await claims.close(disks)
      throw error
    }
  }

  /// A disk that was seen to lose what was on it reads as zeros where it should not.
  private func trusted(_ opening: PoolOpening) async throws(APIError) -> (paths: [String], remarks: [String]) {
    var paths: [String] = []
    var remarks: [String] = []
    for path in opening.paths {
      if let superblock = await claims.peek(path), isDistrusted(superblock.disk, in: opening.id) {
        remarks.append("\(path) is left out: it was cut or deleted while in use, and lost what was on it.")
      } else {
        paths.append(path)
      }
    }
    if paths.isEmpty {
      throw APIError(
        .wrongState, "The pool \(opening.name) cannot be read: \(remarks.joined(separator: " ").withoutFullStop)",
        remedy: "Name other disks of the pool")
    }
    return (paths, remarks)
  }

  private func serveReadOnly(_ pool: StoragePool, _ disks: [ClaimedDisk], _ remarks: [String]) async throws(APIError) -> PoolInfo {
    let served = ServedPool(pool: pool, disks: disks, witness: nil)
    served.remarks = remarks
    do throws(PoolError) { try await openVirtualDisks(of: served) } catch {
      _ = try? await pool.close()
      throw APIError(error)
    }
    pools[pool.name] = served
    waiting[pool.id] = nil
    listen(to: served)
    await settleDisks(of: served)
    pool.startHousekeeping()
    watchDisks(of: served)
    for text in (pool.reading?.sentences ?? []) + served.remarks { logger.warning("\(text)", metadata: ["pool": "\(pool.name)"]) }
    logger.info("Pool open read-only", metadata: ["pool": "\(pool.name)", "disks": "\(served.disks.count)"])
    return info(served)
  }

  /// One that cannot be opened is left out, and keeps none of the others away.
  private func openVirtualDisks(of served: ServedPool) async throws(PoolError) {
    for record in try served.pool.virtualDiskRecords() {
      guard record.state == .active else {
        served.remarks.append("The virtual disk \(record.name) is not served: it was being created or deleted.")
        continue
      }
      do throws(PoolError) {
        let disk = try VirtualDisk.open(record, in: served.pool, handle: takeHandle())
        claims.shares.set(record.share, of: disk.handle)
        let servedDisk = ServedVirtualDisk(disk, data: await disk.examineData())
        served.virtualDisks[record.name] = servedDisk
        watchPartitions(of: servedDisk)
      } catch { served.remarks.append("The virtual disk \(record.name) is not served: \(error)") }
    }
  }

  /// After a pool that was read only is closed: if the server knows it, it waits for its disks, and for all of them. Without some it goes on
  /// when the operator says so, or when the server starts again.
  func waitAgain(for id: PoolID) {
    guard let known = registry.pools.first(where: { $0.id == id }) else { return }
    let reason = APIError(
      .wrongState, "The pool \(known.name) was closed after it was read", remedy: "It is opened again as soon as all of its disks are there"
    )
    var state = WaitingPool(known: known, reason: reason, startingUntil: reactor.now)
    state.goesOnWithoutMissing = false
    waiting[id] = state
  }

  // MARK: Checks

  func writablePool(_ name: String) throws(APIError) -> ServedPool {
    let served = try servedPool(name)
    try checkWritable(served)
    return served
  }

  func checkWritable(_ served: ServedPool) throws(APIError) {
    guard served.pool.isReadOnly else { return }
    throw APIError(
      .wrongState, "The pool \(served.name) is open read-only: nothing of it can be changed",
      remedy: "To change it close it (spaceport pool close \(served.name)) and open it with all of its disks: spaceport pool open DISK...")
  }

  /// For who asks to open a pool that is open.
  func checkIsOpen(_ served: ServedPool, readOnly: Bool) throws(APIError) {
    if served.pool.isReadOnly == readOnly { return }
    throw APIError(
      .wrongState, "The pool \(served.name) is open already, \(readOnly ? "and not read-only" : "read-only")",
      remedy: "Close it first: spaceport pool close \(served.name)")
  }

  // MARK: As the management plane's objects

  func info(_ served: ServedPool, _ disks: [DiskInfo], _ reading: ReadingBasis) -> PoolInfo {
    let pool = served.pool
    let capacity = pool.disks.reduce(UInt64(0)) { $0 + pool.capacityByteCount(of: $1) }
    let allocated = pool.disks.reduce(UInt64(0)) { $0 + pool.capacityByteCount(of: $1) - pool.freeByteCount(of: $1) }
    let data = served.sortedVirtualDisks.compactMap(\.data)
    let isLost = data.contains { $0.lostByteCount > 0 } || served.virtualDisks.isEmpty && !served.remarks.isEmpty
    let isHealthy = reading.isComplete && served.remarks.isEmpty && data.allSatisfy { $0.wholeByteCount == $0.writtenByteCount }
    return PoolInfo(
      name: pool.name, uuid: pool.id.description, state: .readOnly,
      reason: reading.isComplete
        ? "policy: it was opened to be read only"
        : "incomplete: it was opened to be read from the disks that are there, and nothing is written or repaired",
      nextStep: "Copy what is needed to another place, then close it: spaceport pool close \(pool.name)", capacityBytes: capacity,
      allocatedBytes: allocated, freeBytes: 0, slabBytes: pool.slabByteCount, disks: disks,
      virtualDisks: served.sortedVirtualDisks.map(\.disk.name), features: [],
      health: isLost ? .unhealthy : isHealthy ? .healthy : .warning,
      warnings: (reading.isComplete ? [] : reading.sentences) + served.remarks)
  }
}

extension DataInfo {
  init(_ report: DataReport) {
    self.init(
      wholeBytes: report.wholeByteCount, degradedBytes: report.degradedByteCount, unprovenBytes: report.unprovenByteCount,
      lostBytes: report.lostByteCount)
  }
}

extension VirtualDiskCondition {
  /// In a pool that is only read.
  init(readOnly data: DataReport, _ pool: String) {
    state = .readOnly
    var reasons: [String] = ["its pool is open read-only"]
    if data.lostByteCount > 0 {
      health = .unhealthy
      reasons.append("\(ByteSize(byteCount: data.lostByteCount)) of its data are on none of the disks that are there: reading them fails")
    } else if data.degradedByteCount + data.unprovenByteCount > 0 {
      health = .warning
    }
    if data.unprovenByteCount > 0 {
      reasons.append(
        "\(ByteSize(byteCount: data.unprovenByteCount)) are not proven: they were being written when the pool stopped, copies may differ, and "
          + "always the same one is read")
    }
    if data.degradedByteCount > 0 { reasons.append("\(ByteSize(byteCount: data.degradedByteCount)) have lost copies") }
    reason = reasons.joined(separator: "; ")
    nextStep = "Copy what is needed to another place, then close the pool: spaceport pool close \(pool)"
  }
}
