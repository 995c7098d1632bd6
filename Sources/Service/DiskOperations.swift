import Management
import PhysicalDisk
import Pool

// Disks of open pools by the operator: add, set, retire, replace. All on the reactor, under the operation lock.

extension StorageService {
  func add(_ request: AddDisks, toPool name: String) async throws(APIError) -> PoolInfo {
    let served = try writablePool(name)
    guard !request.disks.isEmpty else { throw APIError(.badRequest, "No disk is named", remedy: "Name the disks to add") }
    let usage = try usage(request.usage)
    var fresh: [String] = []
    for path in request.disks {
      if let disk = served.absent.values.first(where: { $0.path == path }), disk.closing != nil, disk.closing?.physical.fault == nil {
        throw APIError(
          .busy, "\(path) was given up, and not all of what it was sent is over",
          remedy: "See that it answers again, or disconnect it; then add it again")
      }
      // What left this pool, and is what it was, need not be wiped.
      if !request.force, let number = await numberOfAbsent(path, served) {
        try checkReturns(as: usage, number, path, served)
        try await readmit(path, into: served)
        if usage == .hotspare { try await explained { () throws(PoolError) in try await served.pool.setUsage(of: number, usage) } }
      } else {
        fresh.append(path)
      }
    }
    if !fresh.isEmpty { _ = try await addNew(fresh, to: served, usage, force: request.force) }
    return info(served)
  }

  /// The number of the disk at `path` in a pool that it was evicted from; nil for any other.
  private func numberOfAbsent(_ path: String, _ served: ServedPool) async -> DiskNumber? {
    guard let superblock = await claims.peek(path), superblock.pool == served.pool.id, !isDistrusted(superblock.disk, in: served.pool.id)
    else { return nil }
    return served.pool.awayDiskNumbers.first { served.pool.diskRecord($0)?.id == superblock.disk }
  }

  /// What left as a cache disk comes back as one, and what held data never does.
  private func checkReturns(
    as usage: DiskRecord.Usage, _ number: DiskNumber, _ path: String, _ served: ServedPool
  ) throws(APIError) {
    let wasCache = served.pool.diskRecord(number)?.usage == .cache
    if wasCache == (usage == .cache) { return }
    let own = wasCache ? "a cache disk" : "a disk for data"
    throw APIError(
      .wrongState, "\(path) left the pool \(served.name) as \(own) (disk \(number)), and comes back as nothing else",
      remedy:
        "Take it back as it was: spaceport pool add \(served.name) \(path)\(wasCache ? " --usage cache" : ""). To use it as a new disk: "
        + "spaceport pool remove \(served.name) \(number), then add it with --force")
  }

  private func addNew(
    _ paths: [String], to served: ServedPool, _ usage: DiskRecord.Usage, force: Bool
  ) async throws(APIError) -> [DiskNumber] {
    let disks = try await claimFree(paths)
    var added: [DiskNumber] = []
    do throws(APIError) {
      // Whatever can be refused is refused before the disks are touched.
      try await explained { () throws(PoolError) in for disk in disks { try served.pool.checkCanAdd(disk.member) } }
      try await claims.clear(disks, force: force)
      for disk in disks {
        let number = try await explained { () throws(PoolError) in
          usage == .cache
            ? try await served.pool.addCacheDisk(disk.member).number : try await served.pool.add(disk.member, usage: usage).number
        }
        disk.number = number
        disk.isSettled = true
        served.disks.append(disk)
        served.rejected.removeAll { $0.path == disk.path }
        added.append(number)
      }
    } catch {
      // Those that were added before one failed stay.
      await claims.close(disks.filter { $0.number == nil })
      try remember(served)
      throw error
    }
    await claims.rereadPartitions(of: disks)
    for disk in disks where !disk.port.facts.isDirect {
      warn("\(disk.path) is used through the page cache: its file system refuses direct I/O.")
    }
    try remember(served)
    return added
  }

  func set(_ request: SetDiskUsage) async throws(APIError) -> DiskInfo {
    let (served, number) = try await find(request.disk)
    let usage = try usage(request.usage)
    try await explained { () throws(PoolError) in try await served.pool.setUsage(of: number, usage) }
    guard let info = diskInfos(served).first(where: { $0.number == number.value }) else { throw unknown(request.disk) }
    return info
  }

  private func usage(_ name: DiskInfo.Usage) throws(APIError) -> DiskRecord.Usage {
    switch name {
    case .auto: return .auto
    case .hotspare: return .hotspare
    case .retired: return .retired
    case .cache: return .cache
    default: throw APIError(.badRequest, "The usage \(name) is not known", remedy: "Give auto, hotspare, retired or cache")
    }
  }

  func retire(_ reference: DiskReference) async throws(APIError) -> JobInfo {
    let (served, number) = try await find(reference)
    try await explained { () throws(PoolError) in try await served.pool.retire(number) }
    return try retirement(of: number, served)
  }

  func replace(_ request: ReplaceDisk) async throws(APIError) -> JobInfo {
    let (served, old) = try await find(request.old)
    let isCache = served.pool.diskRecord(old)?.usage == .cache
    let new: DiskNumber
    let identity = await claims.identity(of: request.new)
    if let disk = served.disks.first(where: { identity == $0.port.identity }), let number = disk.number {
      guard number != old else {
        throw APIError(.badRequest, "\(request.new) is the disk that is to be replaced", remedy: "Name another disk")
      }
      // A cache disk's place is taken by a cache disk, and a data disk's by none.
      try await explained { () throws(PoolError) in try await served.pool.setUsage(of: number, isCache ? .cache : .auto) }
      new = number
    } else {
      new = try await addNew([request.new], to: served, isCache ? .cache : .auto, force: request.force)[0]
    }
    try await explained { () throws(PoolError) in try await served.pool.retire(old, replacement: new) }
    return try retirement(of: old, served)
  }

  private func retirement(of number: DiskNumber, _ served: ServedPool) throws(APIError) -> JobInfo {
    guard let job = served.pool.jobs.jobs.last(where: { $0.kind == .retire && $0.record.disk == number }) else {
      throw APIError(.internalError, "The job that empties disk \(number) is not there", remedy: "Look at spaceport job list")
    }
    return info(job, of: served)
  }

  // MARK: Which disk

  /// The one that is meant, in an open pool that can be changed.
  func find(_ reference: DiskReference) async throws(APIError) -> (ServedPool, DiskNumber) {
    let candidates = if let pool = reference.pool { [try servedPool(pool)] } else { sortedPools }
    var found = disks(of: candidates) { served, record in
      served.path(of: record.number) == reference.disk || record.id.description == reference.disk.lowercased()
        || (reference.pool != nil && "\(record.number)" == reference.disk)
    }
    // By another of its names.
    if found.isEmpty, reference.disk.hasPrefix("/"), let identity = await claims.identity(of: reference.disk) {
      found = disks(of: candidates) { served, record in
        served.disks.contains { $0.number == record.number && $0.port.identity == identity }
      }
    }
    // Where one path was used twice, the disk that is there is meant.
    if found.count > 1 { found = found.filter { served, number in served.disks.contains { $0.number == number } } }
    guard let first = found.first else { throw unknown(reference) }
    try checkWritable(first.0)
    return first
  }

  private func disks(of pools: [ServedPool], where isMeant: (ServedPool, DiskRecord) -> Bool) -> [(ServedPool, DiskNumber)] {
    pools.flatMap { served in served.pool.diskRecords.filter { isMeant(served, $0) }.map { (served, $0.number) } }
  }

  private func unknown(_ reference: DiskReference) -> APIError {
    APIError(
      .notFound, "There is no disk \(reference.disk) in \(reference.pool.map { "the pool \($0)" } ?? "any open pool")",
      remedy: "`spaceport disk list` shows the disks there are; name one by its path, its UUID, or with its pool by its number")
  }
}
