import BlockDevice
import Reactor

// Disks that are added, emptied and released by the operator, and how full they are.

extension StoragePool {
  /// What the metadata says of a disk; nil for a number that never was.
  public func diskRecord(_ number: DiskNumber) -> DiskRecord? { store.diskRecord(number) }

  /// As a person knows it: "disk 2 (/dev/sdb)", with the path where it is, or was when the pool last took it.
  public func name(of number: DiskNumber) -> String {
    let path = disks.first { $0.number == number }?.disk.label ?? cache.disk(number)?.disk.label ?? store.diskRecord(number)?.pathHint ?? ""
    return path.isEmpty ? "disk \(number)" : "disk \(number) (\(path))"
  }

  /// The disks of the pool, present or not, cache disks too, without those removed; in the order of their numbers.
  public var diskRecords: [DiskRecord] {
    (disks.map(\.number) + absentDiskNumbers + cache.disks.map(\.number) + cache.absentNumbers).sorted().compactMap(store.diskRecord)
  }

  /// Throws what would keep `member` from being added; nothing on it is touched.
  public func checkCanAdd(_ member: PoolMember) throws(PoolError) {
    let diskByteCount = member.device.geometry.byteCount
    do throws(MetadataError) {
      try LayoutChoice.checkSize(diskByteCount: diskByteCount)
      _ = try store.memberLayout(diskByteCount: diskByteCount)
    } catch {
      throw PoolError(error, doing: "adding \(member.path) to the pool \(name)")
    }
  }

  /// Makes `member`, whose content is lost, a disk of this pool.
  public func add(_ member: PoolMember, usage: DiskRecord.Usage = .auto) async throws(PoolError) -> DataPartition {
    let joined = try await join(member, usage)
    let disk = DataPartition(of: joined, state: .active, poolName: name)
    disk.usage = usage
    allocator.addDisk(disk.number, slabCount: disk.slabCount)
    arrive(disk)
    events.add(.information, "diskAdded", disk: disk.number, "\(name(of: disk.number).capitalizedFirst) was added.")
    return disk
  }

  /// Gives it the pool's partition table, superblocks and a record.
  func join(_ member: PoolMember, _ usage: DiskRecord.Usage) async throws(PoolError) -> PoolDisk {
    let action = "adding \(member.path) to the pool \(name)"
    do throws(MetadataError) {
      let layout = try store.memberLayout(diskByteCount: member.device.geometry.byteCount)
      do throws(PoolError) { try await PooledDiskTable.write(on: member, layout: layout, poolName: name, reactor: reactor) } catch {
        throw MetadataError(.diskFailed, error.message, remedy: error.remedy)
      }
      let hint = String(member.path.prefix(FormatLimits.pathHintByteCount / 4))
      return try await store.add(NewDisk(device: member.device, usage: usage, pathHint: hint))
    } catch {
      _ = try? await PooledDiskTable.erase(member)
      throw PoolError(error, doing: action)
    }
  }

  /// Says what a disk is for. `retired`: it is emptied, and then released.
  public func setUsage(of number: DiskNumber, _ usage: DiskRecord.Usage) async throws(PoolError) {
    guard let record = store.diskRecord(number), record.state != .removed else { throw unknownDisk(number) }
    if usage == .retired { return try await retire(number) }
    if (record.usage == .cache) != (usage == .cache) { throw cacheDisksStay(number, isCache: record.usage == .cache) }
    if usage == .cache { return }
    try beginChange(of: number)
    defer { disksInChange.remove(number) }
    var changes = [DiskRecord.patch(number, DiskRecord.Offset.usage, usage.rawValue)]
    let returnsToUse = record.state == .retiring
    if returnsToUse { changes.append(DiskRecord.patch(number, DiskRecord.Offset.state, DiskRecord.State.active.rawValue)) }
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
    if record.usage == .cache { return try await retireCacheDisk(number) }
    try beginChange(of: number)
    defer { disksInChange.remove(number) }
    let others = disks.filter { $0.number != number && $0.isUsable && $0.state != .retiring }
    guard !others.isEmpty else {
      throw PoolError(.invalid, "Disk \(number) is the only one of the pool \(name)", remedy: "Add another disk first, or destroy the pool")
    }
    var changes = [DiskRecord.patch(number, DiskRecord.Offset.usage, DiskRecord.Usage.retired.rawValue)]
    if usableDisk(number) != nil {
      changes.append(DiskRecord.patch(number, DiskRecord.Offset.state, DiskRecord.State.retiring.rawValue))
    }
    try await commitOrExplain(changes, doing: "retiring disk \(number)")
    if let disk = usableDisk(number) {
      disk.usage = .retired
      disk.state = .retiring
    }
    noteDisks()
    if record.usage != .retired {
      events.add(
        .information, "diskRetiring", disk: number,
        "\(name(of: number).capitalizedFirst) is being emptied; it is released when nothing is left on it.")
    }
    await jobs.add(.retire, disk: number, destination: replacement ?? DiskNumber(0))
  }

  /// Slabs of a disk, present or not, that rows have in the metadata or are about to.
  func takenSlabCount(of number: DiskNumber) -> Int { allocator.slabCount(of: number) - allocator.freeSlabCount(of: number) }

  /// A disk that is wanted again while its removal is committed would be dealt from, and be gone all the same.
  func beginChange(of number: DiskNumber) throws(PoolError) {
    guard disksInChange.insert(number).inserted else {
      throw PoolError(
        .wrongState, "Disk \(number) of the pool \(name) is being released, or what it is for is being changed",
        remedy: "`spaceport disk list` shows what became of it; a released disk can be added again with spaceport pool add")
    }
  }

  /// Takes a disk without any slab in use out of the pool for good, and erases what made it the pool's.
  func release(_ number: DiskNumber) async throws(PoolError) {
    try beginChange(of: number)
    defer { disksInChange.remove(number) }
    if let disk = usableDisk(number), disk.takesNewSlabs {
      disk.usage = .retired  // while its removal is committed nobody may be dealt from it
      noteDisks()
    }
    guard takenSlabCount(of: number) == 0 else {
      throw PoolError(.wrongState, "Disk \(number) still holds data", remedy: "It is released when it is empty")
    }
    let disk = disks.first { $0.number == number }
    let name = name(of: number).capitalizedFirst
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
    events.add(.information, "diskRemoved", disk: number, "\(name) was released: it belongs to the pool no more.")
    onDiskReleased?(number)
  }

  /// A hot spare that takes the place of what was lost is an ordinary disk from then on: else new data would find too few disks for its
  /// copies, though one is there.
  func useSpare(_ number: DiskNumber) async {
    guard let disk = usableDisk(number), disk.usage == .hotspare else { return }
    disk.usage = .auto
    noteDisks()
    events.add(
      .warning, "hotspareUsed", disk: number,
      "The hot spare, \(self.name(of: number)), takes copies that have no other place, and is an ordinary disk from now on. To have a spare "
        + "again: spaceport pool add \(name) DISK --usage hotspare.")
    _ = try? await commit([DiskRecord.patch(number, DiskRecord.Offset.usage, DiskRecord.Usage.auto.rawValue)])
  }

  func unknownDisk(_ number: DiskNumber) -> PoolError {
    PoolError(.notFound, "The pool \(name) has no disk \(number)", remedy: "`spaceport disk list` shows its disks")
  }

  // MARK: How full the disks are

  /// What has to move until the disks that data is dealt to are equally full.
  var rebalancing: Rebalancing {
    Rebalancing(
      disks.filter { $0.state == .active && $0.usage == .auto }
        .map { ($0.number, allocator.slabCount(of: $0.number), allocator.freeSlabCount(of: $0.number)) })
  }

  /// What still fits of virtual disks with so many copies and columns, in bytes of their data. With one column that is the most: the more
  /// disks a row lies on, the more of unequal disks it leaves.
  public func remainingByteCount(copies: Int, columns: Int = 1) -> UInt64 {
    UInt64(allocator.rowsAvailable(columns: copies * columns) * columns) * slabByteCount
  }

  /// Disks that new rows are dealt from: there, not being emptied, no hot spares.
  public var dealingDiskCount: Int { disks.count { $0.takesNewSlabs } }

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

  /// Whether some disk could be relieved much: an eighth of its slabs would leave it if all were to be equally full.
  public var isUneven: Bool {
    let rebalancing = rebalancing
    return disks.contains { rebalancing.slabCountToLeave($0.number) >= max(1, $0.slabCount / 8) }
  }

  /// What disks lack, or may, of the copies they hold, in bytes of the virtual disks.
  public var byteCountToResynchronise: UInt64 { rowOwners.reduce(0) { $0 + $1.byteCountToResynchronise } }
}
