import BlockDevice
import Reactor
import StorageBus

/// The pool's cache disks: takes them into use, deals the capacity disks to them, gives up those that fail, and leaves them so that the next
/// opening can go on with what they hold. Losing one costs time and nothing else, so nothing here ever holds up a request.
///
/// Why a stale page is never believed, whatever happens when (rules C). At its opening the pool reads the nonce of each capacity disk, and
/// then durably writes a new, random one on each. The cache disks are opened with the nonces that were read, before anything can change a
/// byte of data: `MetadataStore.open` writes metadata alone, and the virtual disks are opened later. So either the clean mark is erased
/// before the first write of data; or the cache disk was not there, failed, or lied about it, and its mark then names a nonce that every
/// opening since has replaced on the capacity disks. At the end it is closed with the nonces of this opening, after the last write. A copy of
/// a capacity disk that was made before that write, and put back, has the same nonce; it does not say that it was closed in order.
public final class PoolCache: @unchecked Sendable {  // reactor-confined
  private unowned let pool: StoragePool
  /// For the directories of its cache disks, and those of others.
  private let memory: DirectoryMemory
  /// Those that are there, in the order of their numbers.
  public private(set) var disks: [PooledCacheDisk]
  private var isOpen = false
  /// Why cache disks were given up since the pool was opened, in words.
  public private(set) var losses: [DiskNumber: String] = [:]

  init(pool: StoragePool, _ members: [PoolDisk], _ memory: DirectoryMemory) {
    self.pool = pool
    self.memory = memory
    disks = members.map(PooledCacheDisk.init).sorted { $0.number < $1.number }
  }

  private var reactor: any Reactor { pool.reactor }

  public func disk(_ number: DiskNumber) -> PooledCacheDisk? { disks.first { $0.number == number } }

  /// Cache disks of the pool that are not there.
  public var absentNumbers: [DiskNumber] {
    pool.store.diskNumbers.compactMap(pool.store.diskRecord)
      .filter { record in record.usage == .cache && record.state != .removed && disk(record.number) == nil }.map(\.number).sorted()
  }

  /// The cache disk that a capacity disk is bound to.
  public func disk(for capacityDisk: DataPartition) -> PooledCacheDisk? {
    guard let store = (capacityDisk.disk as? BusDevice)?.cacheDisk else { return nil }
    return disks.first { $0.store === store }
  }

  // MARK: Opening and closing

  /// `found`: the capacity disks that were closed in order, with the nonces they had before this opening of the pool changed them.
  func open(_ found: [CapacityDiskNonce]) async {
    // Whether all are there or not, each new one has the same part; those that are divided already stay so while there is memory.
    let byteCount = memory.part(ofCount: disks.count + absentNumbers.count)
    for disk in disks { await use(disk, found, memoryByteCount: min(byteCount, memory.freeByteCount)) }
    for disk in disks { await disk.leaving?.value }
    isOpen = true
    var present: [StorageUUID: StorageUUID] = [:]
    for disk in disks where disk.isUsable { for warm in disk.store?.warmDisks ?? [] { present[warm] = StorageUUID(disk.id) } }
    bind(present)
    for disk in disks { disk.store?.forgetUnbound() }
    for number in absentNumbers {
      pool.events.add(
        .warning, "cacheDiskMissing", disk: number,
        "\(pool.name(of: number).capitalizedFirst), a cache disk, is not there. The pool goes on without it: slower, and nothing is lost. "
          + "Bring it back, which is noticed by itself, or take it out of the pool: spaceport pool remove \(pool.name) \(number).")
    }
  }

  /// Takes a cache disk into use. One that cannot be is given up.
  private func use(_ disk: PooledCacheDisk, _ found: [CapacityDiskNonce], memoryByteCount: Int) async {
    var options = CacheDiskOptions(pool: StorageUUID(pool.id), id: StorageUUID(disk.id))
    options.memory = memory
    options.memoryByteCount = memoryByteCount
    disk.isBusy = true
    watch(disk)
    defer { disk.isBusy = false }
    do throws(BlockError) {
      disk.store = try await CacheDisk.open(disk.disk, range: disk.range, options: options, found: found) { [weak self, weak disk] loss in
        if let self, let disk { giveUp(disk, because: "\(loss)") }
      }
    } catch { giveUp(disk, because: "it could not be taken into use: \(error)") }
  }

  /// While something is waited for that a hanging disk would hold up: it is given up as a capacity disk would be.
  private func watch(_ disk: PooledCacheDisk) {
    let limit = pool.stallLimitMilliseconds
    reactor.spawn { [reactor, weak disk] in
      while let disk, disk.isBusy {
        if disk.disk.oldestRequestAge(now: reactor.now) / 1_000_000 >= limit { return disk.disk.abandon() }
        await reactor.sleep(milliseconds: PoolLimits.watchMilliseconds)
      }
    }
  }

  /// The pool is about to write its last: a cache disk that hangs must not hold that up either.
  func beginClosing() {
    isOpen = false
    for disk in disks {
      disk.isBusy = true
      watch(disk)
    }
  }

  /// After the last write of the pool, and `beginClosing`. `isInOrder`: all of it succeeded, and what is cached may be believed at the next opening.
  func close(isInOrder: Bool) async {
    let nonces = pool.store.disks.filter { !$0.hasFailed }
      .map { CapacityDiskNonce(id: StorageUUID($0.id), nonce: $0.superblock.nonce) }
    for disk in disks {
      guard let store = disk.store else {
        disk.isBusy = false
        continue
      }
      let deadline = reactor.now.advanced(milliseconds: pool.stallLimitMilliseconds)
      if isInOrder && !disk.isLeaving { await store.close(nonces: nonces, deadline: deadline) }
      await store.end()
      disk.isBusy = false
    }
  }

  // MARK: Bindings

  /// Deals the capacity disks anew after one, or a cache disk, has come or gone. Bindings that can stay do.
  func rebind() {
    if !isOpen || pool.isClosing { return }
    var present: [StorageUUID: StorageUUID] = [:]
    for capacity in pool.disks { if let disk = disk(for: capacity) { present[StorageUUID(capacity.id)] = StorageUUID(disk.id) } }
    bind(present)
  }

  private func bind(_ present: [StorageUUID: StorageUUID]) {
    // What lies on a hot spare is nothing.
    let capacityDisks = pool.disks.filter { $0.isUsable && $0.usage != .hotspare && $0.disk is BusDevice }
    let dealt = CacheBindings.deal(
      capacityDisks: capacityDisks.map { StorageUUID($0.id) }, cacheDisks: disks.filter(\.isUsable).map { StorageUUID($0.id) },
      present: present)
    for capacity in pool.disks {
      guard let bus = capacity.disk as? BusDevice else { continue }
      let store = dealt[StorageUUID(capacity.id)].flatMap { id in disks.first { StorageUUID($0.id) == id } }?.store
      if bus.cacheDisk === store { continue }
      if let store { bus.bind(store, as: StorageUUID(capacity.id)) } else { bus.unbind() }
    }
  }

  // MARK: Coming and going

  /// A disk that was added as a cache disk, or has returned: cold, whatever lies on it.
  func arrive(_ member: PoolDisk) async -> PooledCacheDisk {
    let disk = PooledCacheDisk(of: member)
    disks.append(disk)
    disks.sort { $0.number < $1.number }
    losses[disk.number] = nil
    await use(disk, [], memoryByteCount: memory.part(ofCount: 1))
    rebind()
    return disk
  }

  /// Nothing is asked of the cache disk any more, and it leaves the pool until it returns. Returns at once.
  func giveUp(_ disk: PooledCacheDisk, because reason: String) {
    if disk.isLeaving || pool.isClosing || pool.isReadOnly { return }
    disk.isLeaving = true
    losses[disk.number] = reason.withoutFullStop
    disk.store?.abandon()
    disk.disk.abandon()  // what hangs there must hold up nobody
    rebind()
    disk.leaving = reactor.spawn { [self, pool] in
      let name = pool.name(of: disk.number).capitalizedFirst
      // Where that cannot be written down the next opening finds out for itself.
      _ = try? await evict(disk)
      await disk.store?.end()
      disks.removeAll { $0 === disk }
      pool.events.add(
        .warning, "cacheDiskLost", disk: disk.number,
        "\(name) is not used as a cache disk any more: \(reason.withoutFullStop). Reads go to the disks it was for: slower, and nothing is lost. "
          + "It is taken back by itself when it can be used again; or take it out of the pool: spaceport pool remove \(pool.name) \(disk.number)."
      )
    }
  }

  private func evict(_ disk: PooledCacheDisk) async throws(MetadataError) { try await pool.store.evict([disk.number]) }

  /// Ends the use of a disk that leaves the pool for good. When this returns nothing is in flight on it; what hangs there from here on is
  /// given up until `isBusy` is false again.
  func release(_ disk: PooledCacheDisk) async {
    disk.isLeaving = true
    disk.isBusy = true
    watch(disk)
    disk.store?.abandon()
    rebind()
    await disk.store?.end()
    disks.removeAll { $0 === disk }
  }

  // MARK: Watching

  /// Looks at every cache disk: whether it is still what it was, and answers in time.
  func lookAtDisks() {
    for disk in disks where !disk.isBeingLookedAt && !disk.isLeaving {
      disk.isBeingLookedAt = true
      reactor.spawn { [self] in
        do throws(BlockError) { try await disk.disk.checkIntegrity() } catch {
          if error.cause != .stalled { giveUp(disk, because: disk.disk.ailment ?? "\(error)") }
        }
        disk.isBeingLookedAt = false
      }
      let age = disk.disk.oldestRequestAge(now: reactor.now) / 1_000_000
      if age >= pool.stallLimitMilliseconds { giveUp(disk, because: "a request has not been answered for \(age / 1000) s") }
    }
  }
}
