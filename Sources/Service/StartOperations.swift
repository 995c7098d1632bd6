import Management
import PhysicalDisk
import Pool
import Reactor

// Known pools at the server's start: waiting for their disks, and going on without them.

extension StorageService {
  /// Returns once each was tried, or after a while: a disk that is held by another or hangs must not keep the server from answering.
  func openKnownPools() async {
    let until = reactor.now.advanced(milliseconds: tuning.diskWaitMilliseconds)
    for known in registry.pools {
      let reason = APIError(.wrongState, "The pool \(known.name) is being opened", remedy: "Wait a moment")
      waiting[known.id] = WaitingPool(known: known, reason: reason, startingUntil: until)
    }
    let firstRound = Race<Bool>()
    reactor.spawn { [weak self, reactor] in
      await self?.retryWaitingPools()
      _ = firstRound.finish(true)
      while true {
        await reactor.sleep(milliseconds: ServiceLimits.retryMilliseconds)
        guard let self, !self.isStopping else { return }
        if !self.waiting.isEmpty { await self.retryWaitingPools() }
      }
    }
    reactor.spawn { [reactor] in
      await reactor.sleep(milliseconds: ServiceLimits.startMilliseconds)
      _ = firstRound.finish(nil)
    }
    _ = await firstRound.result()
  }

  private func retryWaitingPools() async {
    _ = try? await change { [self] () async throws(APIError) in
      for pool in waiting.values.sorted(by: { $0.known.id < $1.known.id }) { await tryToOpen(pool.known) }
    }
  }

  /// Opens the pool if its disks are there; without the missing ones, if they were waited for long enough and rules M allow it.
  private func tryToOpen(_ known: KnownPool) async {
    guard var state = waiting[known.id] else { return }  // closed or opened by the operator meanwhile
    var present: [String] = []
    state.doubts = [:]
    for path in known.diskPaths {
      let doubt = await doubt(path, of: known)
      if doubt == nil { present.append(path) } else { state.doubts[path] = doubt }
    }
    let isOverdue = reactor.now >= state.startingUntil && state.goesOnWithoutMissing
    let isWorthIt = present != state.triedPaths || (isOverdue && !state.wasTriedDegraded) || state.reason.code != .wrongState
    state.wasTried = true
    guard !present.isEmpty, isWorthIt else {
      if present.isEmpty { state.reason = missing(known.diskPaths, of: known) }
      return keepWaiting(state)
    }
    state.triedPaths = present
    state.wasTriedDegraded = isOverdue
    do throws(APIError) {
      _ = try await openPool(
        PoolOpening(
          id: known.id, name: known.name, paths: present, evictsMissing: isOverdue, mayGoOnLater: !isOverdue && state.goesOnWithoutMissing))
      noteAbsence(in: known.name)
    } catch {
      state.reason = error
      keepWaiting(state)
    }
  }

  private func keepWaiting(_ state: WaitingPool) {
    if waiting[state.known.id]?.reason != state.reason { logger.warning("\(state.reason)") }
    waiting[state.known.id] = state
  }

  /// Why what lies there is not used; nil for a disk of the pool that did not lose its content before the server's eyes.
  private func doubt(_ path: String, of known: KnownPool) async -> DiskDoubt? {
    guard await claims.identity(of: path) != nil else {
      return DiskDoubt(state: .lostCommunication, reason: claims.paths.hangs(path) ? "it does not answer" : "it is missing")
    }
    guard let superblock = await claims.peek(path) else {
      return DiskDoubt(state: .unrecognizedMetadata, reason: "what lies there cannot be read, or is no disk of a pool")
    }
    guard superblock.pool == known.id else {
      return DiskDoubt(state: .unrecognizedMetadata, reason: "what lies there belongs to the pool \(superblock.poolName)")
    }
    guard known.distrusted?.contains(superblock.disk) != true else {
      return DiskDoubt(state: .failedMedia, reason: "it was cut or deleted while in use, and lost what was on it")
    }
    return nil
  }

  private func missing(_ paths: [String], of known: KnownPool) -> APIError {
    APIError(
      .wrongState, "The pool \(known.name) waits for missing disks: \(paths.joined(separator: ", "))",
      remedy: "Connect them, or if they have moved (`spaceport disk scan` finds raw ones) name all of the pool's disks to "
        + "`spaceport pool open`; to only read what is there: `spaceport pool open DISK... --read-only`")
  }

  /// Says loudly that a pool was opened without some of its disks.
  private func noteAbsence(in name: String) {
    guard let served = pools[name], !served.pool.absentDiskNumbers.isEmpty else { return }
    let paths = served.pool.absentDiskNumbers.map { served.path(of: $0) }.joined(separator: ", ")
    served.pool.events.add(
      .error, "openedDegraded",
      "The pool \(name) was opened without \(paths), and goes on without. Bring the disks back, or replace them; "
        + "until then the copies on them are missing.")
  }

  // MARK: Losses

  /// What the operator called a disk, as the pool's metadata names it.
  func acceptedLosses(_ opening: PoolOpening, _ disks: [ClaimedDisk]) async throws(APIError) -> Set<DiskID> {
    if opening.losses.isEmpty { return [] }
    let missing = try await explained { () throws(PoolError) in
      try await StoragePool.missingDisks(of: disks.map(\.member), reactor: reactor)
    }
    var accepted: Set<DiskID> = []
    for loss in opening.losses {
      guard let record = missing.first(where: { $0.isCalled(loss) }) else {
        let names = missing.map { "\($0.number) (\($0.id)\($0.pathHint.isEmpty ? "" : ", last seen as \($0.pathHint)"))" }
        throw APIError(
          .notFound, "The pool \(opening.name) misses no disk \(loss)",
          remedy: names.isEmpty ? "All of its disks were named" : "Missing are: \(names.joined(separator: "; "))")
      }
      accepted.insert(record.id)
    }
    return accepted
  }

  /// Where disks are missing, the error with the command that goes on without them.
  func offeringLoss(_ error: PoolError, _ opening: PoolOpening, _ disks: [ClaimedDisk]) async -> APIError {
    let reading = "`spaceport pool open \(opening.paths.joined(separator: " ")) --read-only`"
    guard error.cause == .disksMissing else {
      // What cannot be written, or nobody may decide, can be looked at.
      guard error.cause == .damaged || error.cause == .wrongState else { return APIError(error) }
      return APIError(APIError(error).code, error.message, remedy: "\(error.remedy). To only read what is there: \(reading)")
    }
    var records: [DiskRecord] = []
    do throws(PoolError) {
      records = try await StoragePool.missingDisks(of: disks.map(\.member), reactor: reactor).filter {
        $0.state != .evicted && $0.usage != .cache
      }
    } catch { records = [] }
    guard !records.isEmpty else {
      return APIError(.wrongState, error.message, remedy: "\(error.remedy). To only read what is there: \(reading)")
    }
    if opening.mayGoOnLater && error.canOpenDegraded {
      let names = records.map { $0.pathHint.isEmpty ? "disk \($0.number) (\($0.id))" : "\($0.pathHint) (disk \($0.number))" }
      return APIError(
        .wrongState, "The pool \(opening.name) waits for missing disks: \(names.joined(separator: ", "))",
        remedy: "Connect them, or if they have moved (`spaceport disk scan` finds raw ones) name all of the pool's disks to "
          + "`spaceport pool open`; when the wait is over the pool goes on without them")
    }
    let command =
      "spaceport pool open \(opening.paths.joined(separator: " ")) --accept-loss \(records.map(\.id.description).joined(separator: " "))"
    return APIError(
      .wrongState, error.message,
      remedy: "\(error.remedy). To read what is there, without changing anything: \(reading). If they are lost for good, go on "
        + "without what only they held: `\(command)`")
  }
}

extension DiskRecord {
  /// Whether a person means this disk.
  func isCalled(_ text: String) -> Bool { text == "\(number)" || text.lowercased() == id.description || text == pathHint }
}

/// Why a disk of a pool that is not open is not used.
struct DiskDoubt {
  var state: DiskInfo.State
  var reason: String
}
