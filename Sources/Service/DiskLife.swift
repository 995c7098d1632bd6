import BlockDevice
import Logging
import Management
import PhysicalDisk
import Pool
import Reactor

// Disks of open pools that leave and come back.

extension StorageService {
  /// Hears of what happens to the pool: for the log, and to let go of disks that left it.
  func listen(to served: ServedPool) {
    served.pool.onEvent = { [weak self, weak served, logger] event in
      let level: Logger.Level =
        switch event.severity {
        case .information: .info
        case .warning: .warning
        case .error: .error
        }
      logger.log(level: level, "\(event.message)", metadata: ["pool": "\(served?.name ?? "")", "event": "\(event.name)"])
      if ["diskEvicted", "cacheDiskLost"].contains(event.name), let self, let served { self.diskLeft(event.disk, served) }
    }
    served.pool.onDiskReleased = { [weak self, weak served] number in
      if let self, let served { self.diskReleased(number, served) }
    }
  }

  /// Gives up the claim on a disk that was evicted, in the background: what was sent to it may take its time.
  private func diskLeft(_ number: DiskNumber, _ served: ServedPool) {
    guard let index = served.disks.firstIndex(where: { $0.number == number }) else { return }
    let disk = served.disks.remove(at: index)
    let physical = disk.physical
    // Nothing that it held is missed: it is taken back whatever became of it, and empty.
    let isCache = served.pool.diskRecord(number)?.usage == .cache
    let count = served.evictionCounts[number, default: 0] + 1
    served.evictionCounts[number] = count
    // What was only disconnected may come back at once; what fails or hangs has to wait, longer each time.
    let doubled = ServiceLimits.returnDelayMilliseconds << UInt64(min(count - 1, 16))
    let delay = physical.fault?.kind == .gone ? 0 : min(doubled, ServiceLimits.longestReturnDelayMilliseconds)
    served.absent[number] = AbsentDisk(
      path: disk.path, reason: physical.ailment, closing: disk, returnsAt: reactor.now.advanced(milliseconds: delay),
      isLost: !isCache && physical.fault.map { $0.kind != .gone } ?? false)
    if physical.health.state > .transientErrors {
      logger.warning(
        "Disk in trouble",
        metadata: ["disk": "\(disk.path)", "health": "\(physical.health.state)", "error": "\(physical.health.lastError ?? "")"])
    }
    if let fault = physical.fault, fault.kind != .gone, !isCache { distrust(number, served) }
    // A deleted file lives as long as it is open: until the pool needs nothing from it any more its content can be copied away.
    if physical.fault?.kind == .deleted && !isCache { return }
    reactor.spawn { [weak served] in
      await physical.close()
      while !physical.hasDrained { await physical.drained() }
      served?.absent[number]?.closing = nil
    }
  }

  /// A disk that lost its content is not taken back, also not after a restart.
  private func distrust(_ number: DiskNumber, _ served: ServedPool) {
    guard let id = served.pool.diskRecord(number)?.id else { return }
    do throws(ServiceError) {
      guard var known = registry.pools.first(where: { $0.id == served.pool.id }) else { return }
      known.distrusted = (known.distrusted ?? []).filter { $0 != id } + [id]
      try registry.remember(known)
    } catch { logger.error("\(error.description)") }
  }

  func isDistrusted(_ id: DiskID, in pool: PoolID) -> Bool {
    registry.pools.first { $0.id == pool }?.distrusted?.contains(id) == true
  }

  private func diskReleased(_ number: DiskNumber, _ served: ServedPool) {
    let deleted = served.absent.removeValue(forKey: number)?.closing
    let gone = served.disks.filter { $0.number == number } + (deleted.map { [$0] } ?? [])
    served.disks.removeAll { $0.number == number }
    do throws(APIError) { try remember(served) } catch { logger.error("\(error)") }
    guard !gone.isEmpty else { return }
    reactor.spawn { [claims] in
      await claims.rereadPartitions(of: gone)
      await claims.close(gone)
    }
  }

  /// The pool as the next start finds it.
  func remember(_ served: ServedPool) throws(APIError) {
    let distrusted = registry.pools.first { $0.id == served.pool.id }?.distrusted
    do throws(ServiceError) {
      try registry.remember(
        KnownPool(id: served.pool.id, name: served.name, diskPaths: served.knownPaths, distrusted: distrusted))
    } catch { throw APIError(.ioError, error.description.withoutFullStop, remedy: "") }
  }

  // MARK: At opening

  /// Takes back the disks that are there and that the pool had gone on without; lets go of those that are none of its disks.
  func settleDisks(of served: ServedPool) async {
    for rejected in served.pool.rejectedDisks {
      warn("\(rejected.reason.description)")
      served.rejected.append(RejectedDisk(rejected))
      await letGo(of: rejected.device, served)
    }
    for device in served.pool.returnableDevices {
      do throws(PoolError) { _ = try await served.pool.takeBack(device) } catch {
        warn(error.description)
        await letGo(of: device, served)
      }
    }
    served.noteNumbers()
    // A cache disk that could not be taken into use.
    for disk in served.disks where disk.number == nil { await letGo(of: disk.bus, served) }
    for number in served.pool.awayDiskNumbers where served.absent[number] == nil {
      guard let record = served.pool.diskRecord(number) else { continue }
      // What is left alone there says why until it is looked at again.
      let rejected = served.rejected.first { $0.path == record.pathHint }
      served.refusals[number] = rejected?.state
      served.absent[number] = AbsentDisk(
        path: record.pathHint, reason: rejected?.reason, returnsAt: reactor.now, isLost: isDistrusted(record.id, in: served.pool.id))
    }
  }

  private func letGo(of device: BlockDevice, _ served: ServedPool) async {
    let disks = served.disks.filter { $0.bus === device }
    served.disks.removeAll { $0.bus === device }
    await claims.close(disks)
  }

  // MARK: Watching

  /// As long as the pool is open: logs disks that get worse, and looks for those that are away. Whether disks are still what they were the
  /// pool sees to itself.
  func watchDisks(of served: ServedPool) {
    reactor.spawn { [weak self, reactor] in
      var states: [DiskNumber: DiskHealth.State] = [:]
      while true {
        await reactor.sleep(milliseconds: ServiceLimits.diskWatchMilliseconds)
        guard let self, self.pools[served.name] === served, !self.isStopping else { return }
        for disk in served.disks {
          guard let number = disk.number else { continue }
          let health = disk.physical.health
          if health.state > states[number] ?? .ok {
            let words = health.state == .transientErrors ? "had requests that succeeded only when they were repeated" : "is in trouble"
            served.pool.events.add(
              .warning, "diskInTrouble", disk: number,
              "\(disk.path) \(words): \(health.lastError?.withoutFullStop ?? "\(health.state)"). `spaceport disk list` says what to do.")
          }
          states[number] = health.state
        }
      }
    }
    if served.pool.isReadOnly { return }
    // Apart, because looking at a path can take long.
    reactor.spawn { [weak self, reactor] in
      while true {
        await reactor.sleep(milliseconds: ServiceLimits.absentDiskLookMilliseconds)
        guard let self, self.pools[served.name] === served, !self.isStopping else { return }
        await self.lookForAbsentDisks(of: served)
      }
    }
  }

  private func lookForAbsentDisks(of served: ServedPool) async {
    for number in served.pool.awayDiskNumbers {
      guard let record = served.pool.diskRecord(number), !isDistrusted(record.id, in: served.pool.id) else { continue }
      let absent = served.absent[number]
      if let absent, absent.closing != nil || reactor.now < absent.returnsAt { continue }
      var candidates = [absent?.path ?? "", record.pathHint]
      candidates += registry.pools.first { $0.id == served.pool.id }?.diskPaths ?? []
      var seen = Set(served.disks.map(\.path))
      for path in candidates where path.hasPrefix("/") && seen.insert(path).inserted {
        guard let superblock = await claims.peek(path), superblock.pool == served.pool.id, superblock.disk == record.id else { continue }
        // A copy at one place must not hide the disk at another.
        if await takeBack(path, number, served) { break }
      }
    }
  }

  /// - Returns: whether there is nothing left to be done.
  private func takeBack(_ path: String, _ number: DiskNumber, _ served: ServedPool) async -> Bool {
    do throws(APIError) {
      try await change { [self] () async throws(APIError) in
        guard pools[served.name] === served, served.pool.awayDiskNumbers.contains(number) else { return }
        try await readmit(path, into: served)
      }
      return true
    } catch {
      let again = reactor.now.advanced(milliseconds: ServiceLimits.returnDelayMilliseconds)
      served.absent[number, default: AbsentDisk(path: path, returnsAt: again)].returnsAt = again
      if served.absent[number]?.reason != error.message { logger.warning("\(error)") }
      served.absent[number]?.reason = error.message
      return false
    }
  }

  private func noteRefusal(of superblock: Superblock?, _ error: PoolError, _ served: ServedPool) {
    guard let superblock, let cause = error.metadataCause, served.pool.awayDiskNumbers.contains(superblock.diskNumber) else { return }
    served.refusals[superblock.diskNumber] = DiskInfo.State(cause)
  }

  /// A disk that left this pool comes back to it.
  func readmit(_ path: String, into served: ServedPool) async throws(APIError) {
    let disks = try await claims.claim([path], waitMilliseconds: 0)
    do throws(APIError) {
      for disk in disks {
        let number: DiskNumber
        do throws(PoolError) { number = try await served.pool.takeBack(disk.bus) } catch {
          noteRefusal(of: await StoragePool.superblock(of: disk.bus), error, served)
          throw APIError(error)
        }
        disk.number = number
        disk.isSettled = true
        served.refusals[number] = nil
        served.rejected.removeAll { $0.path == path }
        served.absent[number] = nil
        served.disks.append(disk)
      }
    } catch {
      await claims.close(disks)
      throw error
    }
    served.disks.sort { $0.number ?? DiskNumber(0) < $1.number ?? DiskNumber(0) }
    try remember(served)
  }
}
