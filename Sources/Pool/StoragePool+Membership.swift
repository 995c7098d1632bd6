import BlockDevice
import Reactor

// Disks that fail, leave and return (rules M and W).

extension StoragePool {
  /// True while an eviction is not durable yet: nothing that the disk did not get may be acknowledged before.
  @inline(__always)
  public var isChangingMembership: Bool { evictionCount > 0 }

  /// A disk that fails a write of metadata leaves those that keep it; the pool then lets it go altogether where it can.
  func listenToStore() {
    store.onDiskFailed = { [weak self] number, error in
      guard let self else { return }
      if let disk = cache.disk(number) { return cache.giveUp(disk, because: "metadata could not be written: \(error)") }
      guard let disk = usableDisk(number) else { return }
      let isGone = error.saysDeviceIsGone
      reactor.spawn { [weak self] in
        _ = try? await self?.evict(disk, because: "metadata could not be written: \(error)", isGone: isGone)
      }
    }
  }

  /// The system says that a disk is not there any more: it is evicted in the background.
  public func noteGone(_ number: DiskNumber, _ error: BlockError) {
    guard let disk = usableDisk(number) else { return }
    reactor.spawn { [weak self] in _ = try? await self?.evict(disk, because: "\(error)", isGone: true) }
  }

  /// Disks that were there when the pool was opened, and that it had gone on without: `readmit` takes them back.
  public var returnableDevices: [BlockDevice] { store.setAside.filter { $0.reason.cause == .evicted }.map(\.device) }
  /// What else was there and is no disk of the pool as it is now, with the reason.
  public var rejectedDisks: [SetAsideDisk] { store.setAside.filter { $0.reason.cause != .evicted } }

  /// Returns once no eviction is under way; throws when one could not be made durable: then nothing may be acknowledged any more.
  public func membershipSettled() async throws(BlockError) {
    while evictionCount > 0 && evictionFailure == nil { await withUnsafeContinuation { evictionWaiters.append($0) } }
    if let evictionFailure { throw evictionFailure }
  }

  /// A disk has failed a write that other copies have. Returns once its eviction is durable. Throws the disk's error where it must stay,
  /// because it holds a last copy: then the caller says what that write means.
  public func writeFailed(on disk: DataPartition, _ error: BlockError) async throws(BlockError) {
    if try await evict(disk, because: "a write failed: \(error)", isGone: error.saysDeviceIsGone) { return }
    throw error
  }

  /// What a copy could not read was written again from another, and cannot be read even now: the disk is of no use for it. As `writeFailed`.
  public func rewriteFailed(on disk: DataPartition, _ error: BlockError) async throws(BlockError) {
    let reason = "it cannot read what was just written again: \(error)"
    if try await evict(disk, because: reason, isGone: error.saysDeviceIsGone) { return }
    throw error
  }

  /// Flushes every disk of the pool that was written since its last good flush. A disk that cannot is evicted; where it must stay this
  /// fails, and every later flush does too (rule W: a failed flush is never retried and believed).
  public func flushDisks(_ request: IORequest) async throws(BlockError) {
    let split = stripeIO.begin()
    let flushed = usableDisks
    for disk in flushed { split.add(IOPart(.flush, disk)) }
    await stripeIO.perform(split, request)
    var failures: [(DataPartition, BlockError)] = []
    for (index, disk) in flushed.enumerated() { if let error = split.error(ofPart: index) { failures.append((disk, error)) } }
    stripeIO.end(split)
    for (disk, error) in failures {
      if try await evict(disk, because: "a flush failed: \(error)", isGone: error.saysDeviceIsGone) { continue }
      throw error
    }
    if isChangingMembership { try await membershipSettled() }
  }

  /// Takes a disk out of the pool. True once that is durable; false when it stays, because it holds the last copy of something and still
  /// answers. With `isGone` it goes in any case. Throws when the pool cannot make it durable.
  @discardableResult
  public func evict(_ disk: DataPartition, because reason: String, isGone: Bool = false) async throws(BlockError) -> Bool {
    if isReadOnly {
      stopReading(disk, because: reason, isGone: isGone)
      return false
    }
    if disk.state == .evicted {
      try await membershipSettled()
      return true
    }
    let isLast = rowOwners.contains { $0.holdsLastCopy(on: disk.number) }
    if isLast && !isGone {
      if !disk.isKept {
        events.add(
          .error, "diskKept", disk: disk.number,
          "\(name(of: disk.number).capitalizedFirst) failed (\(reason)) and stays in the pool, because it holds the last copy of some data. "
            + "Back that data up, then replace the disk.")
      }
      disk.isKept = true
      return false
    }
    evictionCount += 1
    disk.state = .evicted
    noteDisks()  // from here on nothing is asked of it
    for owner in rowOwners { owner.diskLeft(disk.number) }
    disk.disk.abandon()  // what hangs there must hold up nobody; it is asked for nothing more
    do throws(MetadataError) { try await store.evict([disk.number], changes: []) } catch {
      if store.diskRecord(disk.number)?.state == .removed {
        // Released while this waited: it held nothing, and is none of the pool's any more.
        evictionCount -= 1
        evictionWaiters.wakeAll()
        return true
      }
      // Stays as it is, counted as under way, for good.
      evictionFailure = BlockError(.ioFailed)
      evictionWaiters.wakeAll()
      throw BlockError(.ioFailed)
    }
    let name = name(of: disk.number).capitalizedFirst
    depart(disk)
    evictionCount -= 1
    evictionWaiters.wakeAll()
    events.add(
      .error, "diskEvicted", disk: disk.number,
      "\(name) was evicted from the pool: \(reason.withoutFullStop). The pool goes on without it. "
        + "Bring the disk back, or where what it held is lost replace it (`spaceport disk list` says which); until then its copies are "
        + "missing.")
    return true
  }

  /// The same for a pool that is only read: nothing is written down, and what only this disk has fails from here on.
  private func stopReading(_ disk: DataPartition, because reason: String, isGone: Bool) {
    if disk.state == .evicted || (!isGone && rowOwners.contains { $0.holdsLastCopy(on: disk.number) }) { return }
    disk.state = .evicted
    noteDisks()
    disk.disk.abandon()
    events.add(.error, "diskDropped", disk: disk.number, "\(disk.label) is read no more: \(reason.withoutFullStop).")
  }

  /// Takes back a disk that was evicted. Its copies lack what was written meanwhile, until the resynchronisation has brought it.
  public func readmit(_ device: BlockDevice) async throws(PoolError) -> DataPartition {
    let member: PoolDisk
    do throws(MetadataError) {
      let superblock = await StoragePool.superblock(of: device)
      let changes = superblock.map { lastLeaverStays($0.diskNumber) } ?? []
      member = try await store.readmit(device, state: .returning, changes: changes)
    } catch {
      throw PoolError(error, doing: "taking \(device.label) back into the pool \(name)")
    }
    let disk = DataPartition(of: member, state: .returning, poolName: name)
    disk.usage = store.diskRecord(member.number)?.usage ?? .auto
    arrive(disk)
    for owner in rowOwners { owner.diskReturned(disk.number) }
    let name = name(of: disk.number).capitalizedFirst
    events.add(.information, "diskReturned", disk: disk.number, "\(name) is back and is brought up to date.")
    return disk
  }

  /// Who left last is the freshest, and is written from the moment it is back: those that left at the same time are older from now on.
  private func lastLeaverStays(_ number: DiskNumber) -> [MetadataChange] {
    guard let record = store.diskRecord(number), absentDiskNumbers.allSatisfy({ leftNoLaterThan($0, number) }) else { return [] }
    return [DiskRecord.patch(number, DiskRecord.Offset.epochNumber, record.epochNumber + 1)]
  }

  /// After the resynchronisation of a returning disk: all that it holds is flushed, and it counts as whole.
  public func finishReturn(of disk: DataPartition) async throws(PoolError) {
    guard disk.state == .returning else { return }
    // What was trimmed while it was brought up to date was not copied to it, and must not be called present when it counts.
    for owner in reclaimers { await owner.commitPending() }
    guard disk.state == .returning else { return }
    // One that was being emptied when it left is emptied further.
    let state: DiskRecord.State = disk.usage == .retired ? .retiring : .active
    let changes = [DiskRecord.patch(disk.number, DiskRecord.Offset.state, state.rawValue)]
    try await commitOrExplain(changes, doing: "making \(disk.label) active again")
    guard disk.state == .returning else { return }
    disk.state = state
    noteDisks()
    events.add(.information, "diskActive", disk: disk.number, "\(name(of: disk.number).capitalizedFirst) is up to date.")
  }

  /// Makes disks on their way back that lack nothing any more count as whole, without waiting for the rest of the resynchronisation. False
  /// where there is none.
  public func finishReturns() async throws(BlockError) -> Bool {
    var isAny = false
    for disk in disks where disk.state == .returning && !hasStaleCopy(on: disk) {
      try await flushDisks(IORequest(ioClass: .resync))
      if disk.state == .returning && !hasStaleCopy(on: disk) {
        do throws(PoolError) { try await finishReturn(of: disk) } catch { throw BlockError(.ioFailed) }
      }
      isAny = isAny || (disk.isUsable && disk.state != .returning)
    }
    return isAny
  }

  private func hasStaleCopy(on disk: DataPartition) -> Bool { rowOwners.contains { $0.hasStaleCopy(on: disk.number) } }

  var rowOwners: [any RowOwner] { reclaimers.compactMap { $0 as? any RowOwner } }

  /// Whether nothing was written any more to what `other` has a copy of too, when `number` left: who leaves last is the freshest.
  public func leftNoLaterThan(_ other: DiskNumber, _ number: DiskNumber) -> Bool {
    guard let first = store.diskRecord(other), let last = store.diskRecord(number) else { return false }
    let isAway = first.state == .evicted || first.state == .returning || first.state == .removed
    return isAway && first.epochNumber <= last.epochNumber
  }

  /// All disks of which `leftNoLaterThan` holds against `number`.
  public func disksThatLeft(noLaterThan number: DiskNumber) -> Set<DiskNumber> {
    Set(diskRecords.map(\.number).filter { $0 != number && leftNoLaterThan($0, number) })
  }

  // MARK: Watching

  /// Looks at every disk: whether it is still what it was, and answers in time. One that is gone or hangs is evicted, unless it holds the
  /// last copy of something: then who asks for that waits, or gets its error. Each disk by itself: one that hangs, or an eviction that waits
  /// for another disk that does, must not keep the others from being looked at. Returns when all were.
  public func lookAtDisks() async {
    let looks = usableDisks.filter { !$0.isBeingLookedAt }.map { disk in
      disk.isBeingLookedAt = true
      return reactor.spawn { [self] in
        await look(at: disk)
        disk.isBeingLookedAt = false
      }
    }
    for disk in usableDisks { evictIfStalled(disk) }
    cache.lookAtDisks()
    for look in looks { await look.value }
  }

  private func look(at disk: DataPartition) async {
    do throws(BlockError) { try await disk.disk.checkIntegrity() } catch {
      if error.cause == .stalled || isClosing { return }  // it was given up meanwhile
      _ = try? await evict(disk, because: disk.disk.ailment ?? "\(error)", isGone: true)
    }
  }

  private func evictIfStalled(_ disk: DataPartition) {
    let age = disk.disk.oldestRequestAge(now: reactor.now) / 1_000_000
    guard age >= stallLimitMilliseconds, !isClosing else { return }
    reactor.spawn { [self] in _ = try? await evict(disk, because: "a request has not been answered for \(age / 1000) s") }
  }

  /// Of a pool that is being closed no disk is evicted any more: one that hangs is given up, whatever it holds, and what it was asked for
  /// fails. The virtual disks were closed before.
  func watchClosing() {
    reactor.spawn { [self] in
      while !isClosed {
        for disk in disks where disk.disk.oldestRequestAge(now: reactor.now) / 1_000_000 >= stallLimitMilliseconds { disk.disk.abandon() }
        await reactor.sleep(milliseconds: PoolLimits.watchMilliseconds)
      }
    }
  }
}
