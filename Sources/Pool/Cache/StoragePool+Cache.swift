import BlockDevice
import StorageBus

// Cache disks, as the operator and the server have to do with them. No other part of the pool knows of them: they count in no capacity, take
// no slab, and are waited for by nobody.

extension StoragePool {
  /// All that are not there, capacity disks and cache disks: for who looks for them.
  public var awayDiskNumbers: [DiskNumber] { (absentDiskNumbers + cache.absentNumbers).sorted() }

  func openCache() async {
    let found = store.disks.filter { disk in
      cache.disk(disk.number) == nil && !disk.hasFailed && (disk.wasFoundClean || PlantedBug.cacheOldGenerationAccepted.isPlanted)
    }
    await cache.open(found.map { CapacityDiskNonce(id: StorageUUID($0.id), nonce: $0.foundNonce) })
  }

  /// Makes `member`, whose content is lost, a cache disk of this pool; capacity disks are bound to it at once.
  public func addCacheDisk(_ member: PoolMember) async throws(PoolError) -> PooledCacheDisk {
    let joined = try await join(member, .cache)
    let disk = await cache.arrive(joined)
    events.add(.information, "diskAdded", disk: disk.number, "\(name(of: disk.number).capitalizedFirst) was added as a cache disk.")
    return disk
  }

  /// Takes back any disk that left: a capacity disk as `readmit` does, a cache disk cold. Says which it is.
  public func takeBack(_ device: BlockDevice) async throws(PoolError) -> DiskNumber {
    guard let superblock = await StoragePool.superblock(of: device), let record = store.diskRecord(superblock.diskNumber),
      record.id == superblock.disk, record.usage == .cache
    else { return try await readmit(device).number }
    await cache.disk(record.number)?.leaving?.value
    let member: PoolDisk
    do throws(MetadataError) { member = try await store.readmit(device, state: .active, isCache: true) } catch {
      throw PoolError(error, doing: "taking \(device.label) back into the pool \(name)")
    }
    let disk = await cache.arrive(member)
    let name = name(of: disk.number).capitalizedFirst
    if disk.isUsable { events.add(.information, "cacheDiskReturned", disk: disk.number, "\(name) is back as a cache disk, and empty.") }
    return disk.number
  }

  /// There is nothing to empty: it is released at once. The job that was asked for has ended when this returns.
  func retireCacheDisk(_ number: DiskNumber) async throws(PoolError) {
    try beginChange(of: number)
    defer { disksInChange.remove(number) }
    let name = name(of: number).capitalizedFirst
    let disk = cache.disk(number)
    if let disk { await cache.release(disk) }
    defer { disk?.isBusy = false }
    do throws(MetadataError) { try await store.remove(number) } catch {
      if store.diskRecord(number)?.state == .removed { throw unknownDisk(number) }
      throw PoolError(error, doing: "releasing disk \(number)")
    }
    if let disk { _ = try? await PooledDiskTable.erase(PoolMember(device: disk.disk, path: disk.disk.label)) }
    events.add(.information, "diskRemoved", disk: number, "\(name), a cache disk, was released: it belongs to the pool no more.")
    jobs.addEnded(.retire, disk: number)
    onDiskReleased?(number)
  }

  func cacheDisksStay(_ number: DiskNumber, isCache: Bool) -> PoolError {
    let what = name(of: number)
    return isCache
      ? PoolError(
        .invalid, "\(what.capitalizedFirst) of the pool \(name) is a cache disk, and cannot be made one that holds data",
        remedy: "Take it out of the pool, which loses nothing, and add it again: spaceport pool remove \(name) \(number), then spaceport "
          + "pool add \(name) DISK")
      : PoolError(
        .invalid, "\(what.capitalizedFirst) of the pool \(name) is for data, and cannot be made a cache disk",
        remedy: "Take it out of the pool, which moves its data to the others, and add it again: spaceport pool remove \(name) \(number), "
          + "then spaceport pool add \(name) DISK --usage cache")
  }
}
