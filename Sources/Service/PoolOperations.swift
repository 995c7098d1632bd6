import BlockDevice
import Logging
import Management
import PhysicalDisk
import Pool
import Reactor
import VirtualDisk

// Pools: create, open, close, destroy. All on the reactor, under the operation lock.

extension StorageService {
  func create(_ request: CreatePool) async throws(APIError) -> PoolInfo {
    try checkName(request.name, of: "pool")
    try checkNameIsFree(request.name)
    if waiting.values.contains(where: { $0.known.name == request.name }) {
      throw APIError(
        .alreadyExists, "A pool \(request.name) is known and waits for its disks",
        remedy: "Choose another name, or forget that pool with `spaceport pool close \(request.name)`")
    }
    let disks = try await claimFree(request.disks)
    do throws(APIError) {
      let members = disks.map(\.member)
      // Whatever can be refused is refused before the disks are touched.
      let layout = try await explained { () throws(PoolError) in
        try StoragePool.chooseLayout(for: members, slabByteCount: request.slabBytes)
      }
      try await claims.clear(disks, force: request.force)
      return try await create(request.name, on: disks, layout)
    } catch {
      await claims.close(disks)
      throw error
    }
  }

  private func create(_ name: String, on disks: [ClaimedDisk], _ layout: LayoutChoice) async throws(APIError) -> PoolInfo {
    var witness = try await stated { () throws(ServiceError) in try await witnesses.openNew() }
    do throws(APIError) {
      var options = OpenOptions(witness: witness.witness)
      options.directoryMemory = directoryMemory
      let pool = try await explained { () throws(PoolError) in
        try await StoragePool.create(
          named: name, on: disks.map(\.member), layout: layout, createdSeconds: wallClockSeconds(), reactor: reactor, options: options)
      }
      await claims.rereadPartitions(of: disks)
      do throws(ServiceError) { witness = try await witnesses.adopt(witness, by: pool.id) } catch {
        warn(error.description)  // it serves this opening; at the next one the majority decides
      }
      return try await serve(pool, disks, witness)
    } catch {
      await witness.close()
      throw error
    }
  }

  func open(_ request: OpenPools) async throws(APIError) -> [PoolInfo] {
    var paths = request.disks
    if let directory = request.scanDirectory { paths += try await pooledDisks(in: directory) }
    var byPool: [PoolID: [(path: String, superblock: Superblock)]] = [:]
    for path in paths {
      guard let superblock = await claims.peek(path) else {
        throw APIError(.notFound, "\(path) is no disk of a pool, or cannot be read", remedy: "Look at it with `spaceport inspect \(path)`")
      }
      byPool[superblock.pool, default: []].append((path, superblock))
    }
    var opened: [PoolInfo] = []
    for (id, found) in byPool.sorted(by: { $0.key < $1.key }) {
      if let open = pools.values.first(where: { $0.pool.id == id }) {
        try checkIsOpen(open, readOnly: request.readOnly == true)
        opened.append(info(open))
        continue
      }
      let opening = PoolOpening(id: id, name: found[0].superblock.poolName, paths: found.map(\.path), losses: request.acceptLosses ?? [])
      opened.append(request.readOnly == true ? try await openReadOnly(opening) : try await openPool(opening))
    }
    return opened
  }

  /// Which pool is opened, and how.
  struct PoolOpening {
    var id: PoolID
    var name: String
    var paths: [String]
    /// Disks that the operator has declared lost, as the management plane spells them.
    var losses: [String] = []
    /// The wait for missing disks is over.
    var evictsMissing = false
    /// They are still waited for.
    var mayGoOnLater = false
  }

  func openPool(_ opening: PoolOpening) async throws(APIError) -> PoolInfo {
    try checkNameIsFree(opening.name)
    let disks = try await claimFree(opening.paths)
    var witness: OpenWitness?
    do throws(ServiceError) { witness = try await witnesses.open(opening.id) } catch { warn(error.description) }
    do throws(APIError) {
      var options = OpenOptions(witness: witness?.witness, evictMissing: opening.evictsMissing)
      options.directoryMemory = directoryMemory
      options.acceptedLosses = try await acceptedLosses(opening, disks)
      let pool: StoragePool
      do throws(PoolError) { pool = try await StoragePool.open(disks.map(\.member), reactor: reactor, options: options) } catch {
        throw await offeringLoss(error, opening, disks)
      }
      return try await serve(pool, disks, witness)
    } catch {
      await witness?.close()
      await claims.close(disks)
      throw error
    }
  }

  /// Opens the virtual disks of an open pool, takes back what it had gone on without, and remembers it.
  private func serve(_ pool: StoragePool, _ disks: [ClaimedDisk], _ witness: OpenWitness?) async throws(APIError) -> PoolInfo {
    let served = ServedPool(pool: pool, disks: disks, witness: witness)
    pool.wallClockSeconds = wallClockSeconds
    pool.jobs.repairDelayMilliseconds = tuning.repairDelayMilliseconds
    pool.jobs.pacer.sharePercent = tuning.jobSharePercent
    do throws(APIError) {
      try await explained { () throws(PoolError) in
        for record in try pool.virtualDiskRecords() {
          let disk = try VirtualDisk.open(record, in: pool, handle: takeHandle())
          // A creation or deletion that was interrupted is undone or finished.
          if record.state != .active {
            try await disk.delete()
          } else {
            let servedDisk = ServedVirtualDisk(disk)
            served.virtualDisks[record.name] = servedDisk
            watchPartitions(of: servedDisk)
          }
          claims.shares.set(record.share, of: disk.handle)
        }
      }
      try remember(served)
    } catch {
      _ = try? await pool.close()
      throw error
    }
    pools[pool.name] = served
    waiting[pool.id] = nil
    for note in pool.notes { logger.warning("Healed at opening", metadata: ["pool": "\(pool.name)", "found": "\(note)"]) }
    listen(to: served)
    await settleDisks(of: served)
    pool.jobs.start()
    pool.startHousekeeping()
    watchDisks(of: served)
    watchSpace(of: served)
    for disk in served.disks where !disk.port.facts.isDirect {
      warn("\(disk.path) is used through the page cache: its file system refuses direct I/O.")
    }
    logger.info("Pool open", metadata: ["pool": "\(pool.name)", "disks": "\(served.disks.count)"])
    return info(served)
  }

  func close(poolNamed name: String) async throws(APIError) {
    if pools[name] == nil, let known = waiting.values.first(where: { $0.known.name == name })?.known {
      waiting[known.id] = nil
      return try await forget(known.id)
    }
    let served = try idlePool(name)
    pools[name] = nil
    try await shut(served)
    // What was only read was not remembered either; a pool that was waited for before is so again.
    if served.pool.isReadOnly { waitAgain(for: served.pool.id) } else { try await forget(served.pool.id) }
  }

  func destroy(poolNamed name: String) async throws(APIError) {
    _ = try writablePool(name)
    let served = try idlePool(name)
    pools[name] = nil
    do throws(APIError) { try await close(contentsOf: served) } catch { logger.warning("\(error)") }  // it is erased all the same
    var failure: APIError?
    do throws(PoolError) { try await StoragePool.erase(served.disks.map(\.member)) } catch {
      failure = APIError(error)
    }
    for disk in served.disks {
      do throws(SignatureError) { _ = try await disk.port.wipeSignatures() } catch {
        failure = APIError(.ioError, error.description.withoutFullStop, remedy: "Wipe the disk with wipefs --all")
      }
    }
    await claims.rereadPartitions(of: served.disks)
    await claims.close(served.claimed)
    await served.witness?.close()
    try await forget(served.pool.id)
    forgetAccess(served.sortedVirtualDisks)
    if let failure { throw failure }
  }

  private func forget(_ id: PoolID) async throws(APIError) {
    try await stated { () throws(ServiceError) in try registry.forget(id) }
    await witnesses.remove(id)
  }

  /// Closes a pool in order and gives its disks back.
  func shut(_ served: ServedPool) async throws(APIError) {
    var failure: APIError?
    do throws(APIError) { try await close(contentsOf: served) } catch { failure = error }
    await claims.close(served.claimed)
    await served.witness?.close()
    if let failure { throw failure }
    logger.info("Pool closed", metadata: ["pool": "\(served.name)"])
  }

  private func close(contentsOf served: ServedPool) async throws(APIError) {
    var failure: APIError?
    for disk in served.sortedVirtualDisks {
      await disk.volume.settle()
      do throws(BlockError) { try await disk.disk.close() } catch {
        failure = APIError(
          .ioError, "\(disk.disk.label) could not be flushed: \(error)",
          remedy: "What its clients had not flushed may be lost; check the pool's disks")
      }
    }
    do throws(PoolError) { try await served.pool.close() } catch { failure = failure ?? APIError(error) }
    if let failure { throw failure }
  }

  private func idlePool(_ name: String) throws(APIError) -> ServedPool {
    let served = try servedPool(name)
    guard served.clientCount == 0 else {
      throw APIError(
        .busy, "The pool \(name) is in use: clients are connected to its virtual disks (\(clients(served.clientCount, of: name)))",
        remedy: "End or detach the clients first (spaceport volume detach, nbd-client -d DEVICE)")
    }
    return served
  }

  // MARK: Checks

  func servedPool(_ name: String) throws(APIError) -> ServedPool {
    if let served = pools[name] { return served }
    if let pool = waiting.values.first(where: { $0.known.name == name }) { throw words(for: pool) }
    throw APIError(.notFound, "There is no pool \(name)", remedy: "`spaceport pool list` shows the pools there are")
  }

  func checkNameIsFree(_ name: String) throws(APIError) {
    if pools[name] != nil {
      throw APIError(.alreadyExists, "A pool \(name) exists already", remedy: "Choose another name, or close that pool")
    }
  }

  /// Claims disks that no open pool of ours has: the lock alone would only say "in use".
  func claimFree(_ paths: [String], access: DiskAccess = .claimed) async throws(APIError) -> [ClaimedDisk] {
    for path in paths {
      guard let identity = await claims.identity(of: path) else { continue }
      for served in pools.values where served.disks.contains(where: { $0.port.identity == identity }) {
        throw APIError(.busy, "\(path) is in use: it is a disk of the open pool \(served.name)", remedy: "Choose another disk")
      }
    }
    return try await claims.claim(paths, access: access)
  }

  func checkName(_ name: String, of kind: String) throws(APIError) {
    let allowed = name.utf8.allSatisfy { byte in
      (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || [45, 46, 95].contains(byte)
    }
    guard allowed, !name.isEmpty, name.utf8.count <= PoolLimits.longestName, name.first != "-", name.first != "." else {
      throw APIError(
        .badRequest, "\"\(name)\" cannot be the name of a \(kind)",
        remedy: "Use letters, digits, - _ and . (not first), at most \(PoolLimits.longestName) characters")
    }
  }

  func explained<Value>(_ body: () async throws(PoolError) -> Value) async throws(APIError) -> Value {
    do throws(PoolError) { return try await body() } catch { throw APIError(error) }
  }

  /// The same for what the service itself could not do.
  func stated<Value>(_ body: () async throws(ServiceError) -> Value) async throws(APIError) -> Value {
    do throws(ServiceError) { return try await body() } catch {
      throw APIError(.ioError, error.description.withoutFullStop, remedy: "")
    }
  }
}
