import BlockDevice
import Reactor

// Disks that are added, emptied and released by the operator, and how full they are.

extension StoragePool {
  /// What the metadata says of a disk; nil for a number that never was.
  public func diskRecord(_ number: DiskNumber) -> DiskRecord? { store.diskRecord(number) }

  /// The disks of the pool, present or not, without those removed; in the order of their numbers.
  public var diskRecords: [DiskRecord] {
    (disks.map(\.number) + absentDiskNumbers).sorted().compactMap(store.diskRecord)
  }

  /// Throws what would keep `member` from being added; nothing on it is touched.
  public func checkCanAdd(_ member: PoolMember) throws(PoolError) {
    do throws(MetadataError) { _ = try store.memberLayout(diskByteCount: member.device.geometry.byteCount) } catch {
      throw PoolError(error, doing: "adding \(member.path) to the pool \(name)")
    }
  }

  /// Makes `member`, whose content is lost, a disk of this pool.
  public func add(_ member: PoolMember, usage: DiskRecord.Usage = .auto) async throws(PoolError) -> DataPartition {
    let action = "adding \(member.path) to the pool \(name)"
    let joined: PoolDisk
    do throws(MetadataError) {
      let layout = try store.memberLayout(diskByteCount: member.device.geometry.byteCount)
      do throws(PoolError) { try await PooledDiskTable.write(on: member, layout: layout, poolName: name, reactor: reactor) } catch {
        throw MetadataError(.diskFailed, error.message, remedy: error.remedy)
      }
      let hint = String(member.path.prefix(FormatLimits.pathHintByteCount / 4))
      joined = try await store.add(NewDisk(device: member.device, usage: usage, pathHint: hint))
    } catch {
      _ = try? await PooledDiskTable.erase(member)
      throw PoolError(error, doing: action)
    }
    let disk = DataPartition(of: joined, state: .active, poolName: name)
    disk.usage = usage
    allocator.addDisk(disk.number, slabCount: disk.slabCount)
    arrive(disk)
    events.add(.information, "diskAdded", disk: disk.number, "\(disk.label) was added.")
    return disk
  }

  /// Says what a disk is for. `retired`: it is emptied, and then released.
  public func setUsage(of number: DiskNumber, _ usage: DiskRecord.Usage) async throws(PoolError) {
    guard let record = store.diskRecord(number), record.state != .removed else { throw unknownDisk(number) }
    if usage == .retired { return try await retire(number) }
    var changes = [patch(number, DiskRecord.Offset.usage, usage.rawValue)]
    let returnsToUse = record.state == .retiring
    if returnsToUse { changes.append(patch(number, DiskRecord.Offset.state, DiskRecord.State.active.rawValue)) }
    try await commitOrExplain(changes, doing: "changing the usage of disk \(number)")
    if let disk = usableDisk(number) {
      disk.usage = usage
      if returnsToUse { disk.state = .active }
    }
    for job in jobs.jobs where returnsToUse && job.kind == .retire && job.record.disk == number { await jobs.cancel(job) }
    noteDisks()
  }

  /// Begins to empty a disk; the job releases it at the end. A disk that is not there is given up at once: its copies are made anew.
  public func retire(_ number: DiskNumber, replacement: DiskNumber? = nil) async throws(PoolError) {
    guard let record = store.diskRecord(number), record.state != .removed else { throw unknownDisk(number) }
    let others = disks.filter { $0.number != number && $0.isUsable && $0.state != .retiring }
    guard !others.isEmpty else {
      throw PoolError(.invalid, "Disk \(number) is the only one of the pool \(name)", remedy: "Add another disk first, or destroy the pool")
    }
    var changes = [patch(number, DiskRecord.Offset.usage, DiskRecord.Usage.retired.rawValue)]
    if usableDisk(number) != nil { changes.append(patch(number, DiskRecord.Offset.state, DiskRecord.State.retiring.rawValue)) }
    try await commitOrExplain(changes, doing: "retiring disk \(number)")
    if let disk = usableDisk(number) {
      disk.usage = .retired
      disk.state = .retiring
    }
    noteDisks()
    events.add(.information, "diskRetiring", disk: number, "Disk \(number) is being emptied; it is released when nothing is left on it.")
    await jobs.add(.retire, disk: number, destination: replacement ?? DiskNumber(0))
  }

  /// Slabs of a disk, present or not, that rows have in the metadata or are about to.
  func takenSlabCount(of number: DiskNumber) -> Int {
    store.diskRecord(number).map { Int($0.slabCount) - allocator.freeSlabCount(of: number) } ?? 0
  }

  /// Takes a disk without any slab in use out of the pool for good, and erases what made it the pool's.
  func release(_ number: DiskNumber) async throws(PoolError) {
    if let disk = usableDisk(number), disk.takesNewSlabs {
      disk.usage = .retired  // while its removal is committed nobody may be dealt from it
      noteDisks()
    }
    guard takenSlabCount(of: number) == 0 else {
      throw PoolError(.wrongState, "Disk \(number) still holds data", remedy: "It is released when it is empty")
    }
    let disk = disks.first { $0.number == number }
    do throws(MetadataError) { try await store.remove(number) } catch { throw PoolError(error, doing: "releasing disk \(number)") }
    allocator.removeDisk(number)
    if let disk {
      disk.state = .removed
      depart(disk)
      forget(number)
      _ = try? await PooledDiskTable.erase(PoolMember(device: disk.disk, path: disk.disk.label))
    } else {
      forget(number)
    }
    events.add(.information, "diskRemoved", disk: number, "Disk \(number) was released: it belongs to the pool no more.")
    onDiskReleased?(number)
  }

  private func patch(_ number: DiskNumber, _ offset: Int, _ value: UInt8) -> MetadataChange {
    .patch(DiskRecord.key(number), byteOffset: offset, bytes: [value])
  }

  private func unknownDisk(_ number: DiskNumber) -> PoolError {
    PoolError(.notFound, "The pool \(name) has no disk \(number)", remedy: "`spaceport disk list` shows its disks")
  }

  // MARK: How full the disks are

  /// Pairs of a fuller and an emptier disk between which moving one slab makes them more equal, the most unequal first. Disks are compared
  /// by their free slabs, as the dealing does.
  var rebalancingMoves: [(source: DiskNumber, destination: DiskNumber)] {
    let dealing = disks.filter { ($0.state == .active) && $0.usage == .auto }
      .map { (number: $0.number, free: allocator.freeSlabCount(of: $0.number)) }
    var moves: [(source: DiskNumber, destination: DiskNumber, gain: Int)] = []
    for source in dealing {
      for destination in dealing where destination.free - source.free >= 2 {
        moves.append((source.number, destination.number, destination.free - source.free))
      }
    }
    return moves.sorted { ($1.gain, $0.source, $0.destination) < ($0.gain, $1.source, $1.destination) }
      .map { ($0.source, $0.destination) }
  }

  /// Bytes that have to move until the disks are equally full, as far as rows allow.
  var byteCountToRebalance: UInt64 {
    let free = disks.filter { $0.state == .active && $0.usage == .auto }.map { allocator.freeSlabCount(of: $0.number) }
    guard !free.isEmpty else { return 0 }
    let mean = free.reduce(0, +) / free.count
    return UInt64(free.reduce(0) { $0 + max(0, mean - $1) }) * slabByteCount
  }

  /// What still fits of virtual disks with so many copies, in bytes of their data, with as many columns as may be.
  public func remainingByteCount(copies: Int) -> UInt64 { UInt64(allocator.rowsAvailable(columns: copies)) * slabByteCount }

  /// Free space that has to stay free so that the largest disk's copies could be made anew after its loss, in bytes; 0 where no virtual
  /// disk has more than one copy or no other disk could take them.
  public var reserveByteCount: UInt64 {
    guard rowOwners.contains(where: { $0.copyCount > 1 }), disks.count > 1 else { return 0 }
    let used = disks.filter { $0.usage == .auto }.map { disk in disk.slabCount - allocator.freeSlabCount(of: disk.number) }
    return UInt64(used.max() ?? 0) * slabByteCount
  }

  /// Whether each disk could be lost and what it holds be made anew on the others: these have the room, and there is a disk more than the
  /// widest row of a mirror has slabs. True where there is nothing to make anew.
  public var isReserveMet: Bool {
    guard let widest = rowOwners.lazy.filter({ $0.copyCount > 1 }).map(\.slabsPerRow).max() else { return true }
    let takers = disks.filter { $0.state == .active && ($0.usage == .auto || $0.usage == .hotspare) }
    guard takers.count > widest else { return false }
    let free = takers.map { allocator.freeSlabCount(of: $0.number) }
    let all = free.reduce(0, +)
    return zip(takers, free).allSatisfy { disk, own in disk.slabCount - own <= all - own }
  }

  /// What disks lack, or may, of the copies they hold, in bytes of the virtual disks.
  public var byteCountToResynchronise: UInt64 { rowOwners.reduce(0) { $0 + $1.byteCountToResynchronise } }
}
