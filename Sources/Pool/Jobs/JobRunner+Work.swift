import BlockDevice
import Reactor

// What each kind of job does, one turn at a time. A job walks through the rows (RowWalk); what is left to do is counted by those who
// have the rows, so that no piece of work costs more than its own rows.

extension JobRunner {
  func step(_ job: Job) async {
    running = job
    defer { running = nil }
    if job.isResumed { resume(job) }
    do throws(BlockError) {
      let isDone: Bool
      switch job.kind {
      case .resync: isDone = try await resynchronise(job)
      case .repair: isDone = try await repair(job)
      case .retire: isDone = try await retire(job)
      case .optimize: isDone = try await optimize(job)
      case .scrub: isDone = try await scrub(job)
      default:
        suspend(job, "This program does not know this kind of job. Use a newer one, or cancel it.")
        isDone = false
      }
      if isDone { await complete(job) }
    } catch {
      job.errorCount += 1
      await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds)
      if job.errorCount >= JobLimits.errorCount {
        suspend(job, "It failed: \(error). It goes on when a disk has come or gone, or after a restart.")
      }
    }
  }

  func suspend(_ job: Job, _ message: String) {
    if job.state != .suspended { pool.events.add(.warning, "jobSuspended", disk: job.record.disk, "Job \(job.kind) waits. \(message)") }
    job.state = .suspended
    job.message = message
    job.stuckAt = (pool.membershipChanges, pool.freeByteCount, pool.reactor.now)
  }

  private func complete(_ job: Job) async {
    job.state = .completed
    job.record.totalByteCount = job.record.doneByteCount
    if job.kind != .scrub { job.message = "" }  // what it waited for is over
    let ending = job.message.isEmpty ? "." : ": \(job.message)"
    pool.events.add(.information, "jobCompleted", disk: job.record.disk, "Job \(job.kind) is done\(ending)")
    await save(job)
  }

  // MARK: How much there is

  /// Bytes that the job has still to work on, as far as can be seen now. Of a scrub, all: what it has seen does not show in the rows.
  func remainingByteCount(_ job: Job) -> UInt64 {
    switch job.kind {
    case .resync: pool.byteCountToResynchronise
    case .repair: UInt64(copyCountToRepair(of: job.record.disk)) * pool.slabByteCount
    case .retire: UInt64(copyCount(on: job.record.disk)) * pool.slabByteCount
    case .optimize: UInt64(pool.rebalancing.moveCount) * pool.slabByteCount
    case .scrub: pool.rowOwners.reduce(0) { $0 + UInt64($1.mappedRowCount * $1.slabsPerRow) } * pool.slabByteCount
    default: 0
    }
  }

  private func updateTotal(_ job: Job) {
    job.record.totalByteCount = max(job.record.totalByteCount, job.record.doneByteCount + remainingByteCount(job))
  }

  /// The record says what was done when it was last saved, the rows say what is left now.
  private func resume(_ job: Job) {
    job.isResumed = false
    if job.kind == .scrub { return }
    let remaining = remainingByteCount(job)
    if job.record.totalByteCount > remaining {
      job.record.doneByteCount = max(job.record.doneByteCount, job.record.totalByteCount - remaining)
    }
  }

  private func copyCount(on disk: DiskNumber) -> Int { pool.rowOwners.reduce(0) { $0 + $1.copyCount(on: disk) } }

  /// Copies that are to be made anew elsewhere because their disk stays away; of disk 0, those that have no slab. None of virtual disks
  /// with one copy: there is nothing to make them from.
  func copyCountToRepair(of disk: DiskNumber) -> Int {
    isGivenUp(disk) ? pool.rowOwners.reduce(0) { $0 + ($1.copyCount > 1 ? $1.copyCount(on: disk) : 0) } : 0
  }

  // MARK: Resynchronisation

  private func resynchronise(_ job: Job) async throws(BlockError) -> Bool {
    updateTotal(job)
    let rows = { [self] in job.walk.next(pacer.depth, of: pool.rowOwners, where: { $0.wantsResynchronisation(row: $1) }) }
    if try await inParallel(job, rows, { row throws(BlockError) in try await row.owner.resynchronise(row: row.row) }) { return false }
    job.walk = RowWalk()
    if !isResynchronised {
      await pool.reactor.sleep(milliseconds: 1)  // what could not be brought together is tried again, with others in between
      return false
    }
    for disk in pool.disks where disk.state == .returning {
      try await pool.flushDisks(IORequest(ioClass: .resync))
      guard isResynchronised else { return false }
      do throws(PoolError) { try await pool.finishReturn(of: disk) } catch { throw BlockError(.ioFailed) }
    }
    return true
  }

  private var isResynchronised: Bool { pool.rowOwners.allSatisfy { $0.rowCountToResynchronise == 0 } }

  // MARK: Moving copies

  /// Where the disk is back there is nothing to do any more.
  private func repair(_ job: Job) async throws(BlockError) -> Bool {
    let disk = job.record.disk
    return try await move(job, from: { owner, slab in owner.copyCount > 1 && slab.disk == disk }, to: nil)
  }

  private func retire(_ job: Job) async throws(BlockError) -> Bool {
    let disk = job.record.disk
    let destination = pool.usableDisk(job.record.destination) == nil ? nil : job.record.destination
    guard try await move(job, from: { _, slab in slab.disk == disk }, to: destination) else { return false }
    // What was freed a moment ago is the disk's until that is durable: a pool whose rows name a disk that it does not have cannot be opened.
    await pool.reclaimSpace()
    guard pool.takenSlabCount(of: disk) == 0, !pool.disksInChange.contains(disk) else {
      await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds)
      return false
    }
    do throws(PoolError) { try await pool.release(disk) } catch {
      suspend(job, "The disk is empty, but could not be released: \(error)")
      return false
    }
    return true
  }

  /// Moves the next copies whose slab `isWanted`; true when none is left.
  private func move(
    _ job: Job, from isWanted: @escaping (any RowOwner, SlabAssignment) -> Bool, to destination: DiskNumber?
  ) async throws(BlockError) -> Bool {
    updateTotal(job)
    let hasWanted = { (owner: any RowOwner, row: Int) in
      owner.isMapped(row: row) && (0..<owner.slabsPerRow).contains { isWanted(owner, owner.slab(row: row, place: $0)) }
    }
    if remainingByteCount(job) == 0 { return await endWalk(job) }
    let rows = { [self] in job.walk.next(pacer.depth, of: pool.rowOwners, where: hasWanted) }
    let hadWork = try await inParallel(job, rows) { (owner, row) throws(BlockError) in
      // One copy of a row at a time.
      for place in 0..<owner.slabsPerRow where isWanted(owner, owner.slab(row: row, place: place)) && owner.isMapped(row: row) {
        guard owner.hasWholeCopy(row: row, column: place / owner.copyCount) else {
          job.outcome.noSourceCount += 1
          continue
        }
        switch try await owner.move(CopyPlace(row: row, place: place), to: destination) {
        case .moved: job.outcome.movedCount += 1
        case .noSpace: job.outcome.noSpaceCount += 1
        case .notNeeded: break
        }
      }
    }
    return hadWork ? false : await endWalk(job)
  }

  private func endWalk(_ job: Job) async -> Bool {
    let outcome = job.outcome
    job.walk = RowWalk()
    job.outcome = WalkOutcome()
    if remainingByteCount(job) == 0 { return true }
    if outcome.noSpaceCount > 0 {
      suspend(
        job,
        "\(outcome.noSpaceCount) \(outcome.noSpaceCount == 1 ? "copy finds" : "copies find") no room on a disk that has no other copy of the "
          + "same data. Add a disk: spaceport pool add \(pool.name) DISK, or free space.")
    } else if outcome.noSourceCount > 0 {
      suspend(job, "Of \(outcome.noSourceCount) copies no other is there that they could be made from. Bring the missing disks back.")
    } else if outcome.movedCount == 0 {
      await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds)  // others are at those rows
    }
    return false
  }

  private func optimize(_ job: Job) async throws(BlockError) -> Bool {
    updateTotal(job)
    var rebalancing = pool.rebalancing
    if rebalancing.moveCount == 0 { return true }
    typealias Move = (copy: CopyPlace, owner: any RowOwner, destination: DiskNumber)
    let nextMoves = { [self] () -> [Move]? in
      var moves: [Move] = []
      let rows = job.walk.next(pacer.depth, of: pool.rowOwners) { owner, row in
        guard let move = rebalancing.takeMove(of: owner, row: row) else { return false }
        moves.append((CopyPlace(row: row, place: move.place), owner, move.destination))
        return true
      }
      return rows == nil ? nil : moves
    }
    let hadWork = try await inParallel(job, nextMoves) { move throws(BlockError) in
      if try await move.owner.move(move.copy, to: move.destination) == .moved { job.outcome.movedCount += 1 }
    }
    if hadWork { return false }
    // Another walk only where this one changed something.
    let isDone = job.outcome.movedCount == 0
    job.walk = RowWalk()
    job.outcome = WalkOutcome()
    return isDone
  }

  // MARK: Scrub

  private func scrub(_ job: Job) async throws(BlockError) -> Bool {
    var walk = RowWalk(virtualDisk: job.record.nextVirtualDisk, row: Int(clamping: job.record.nextRow))
    let rows = { [self] in walk.next(pacer.depth, of: pool.rowOwners) { $0.isMapped(row: $1) } }
    let hadWork = try await inParallel(job, rows) { [self] (owner, row) throws(BlockError) in
      let finding = try await owner.scrub(row: row)
      for place in finding.places.prefix(JobLimits.scrubPlaceCount - job.finding.places.count) { report(place) }
      job.finding.add(finding)
    }
    job.record.nextVirtualDisk = walk.virtualDisk
    job.record.nextRow = UInt64(walk.row)
    job.message = JobRunner.describe(job.finding)
    return !hadWork
  }

  private func report(_ place: ScrubPlace) {
    let names = place.disks.map { pool.name(of: $0) }
    let stretch = "\(place.label), \(place.byteCount) bytes at byte \(place.byteOffset)"
    switch place.outcome {
    case .repaired:
      pool.events.add(
        .warning, "scrubRepaired", disk: place.disks.first ?? DiskNumber(0),
        "\(stretch): the copy on \(names.joined(separator: " and ")) was unreadable or unlike the others, and was written again from these."
      )
    case .unreadable:
      pool.events.add(
        .error, "scrubUnreadable",
        "\(stretch): no copy can be read (\(names.joined(separator: ", "))). Write that stretch again, for instance from a backup.")
    case .differing:
      pool.events.add(
        .error, "scrubDifference",
        "\(stretch): the copies on \(names.joined(separator: " and ")) differ, and nobody knows which is right. Clients read the one on "
          + "\(names.first ?? "one of them"). Write that stretch again, for instance from a backup, and the copies agree; or replace the disk that you "
          + "know to be wrong.")
    }
  }

  private static func describe(_ finding: ScrubFinding) -> String {
    func places(_ count: Int) -> String { count == 1 ? "1 place" : "\(count) places" }
    var parts: [String] = []
    if finding.repairedCount > 0 { parts.append("\(places(finding.repairedCount)) repaired") }
    if finding.unreadableCount > 0 { parts.append("\(places(finding.unreadableCount)) unreadable on every copy") }
    if finding.differenceCount > 0 {
      parts.append("\(places(finding.differenceCount)) where copies differ and nobody knows which is right")
    }
    return parts.isEmpty ? "No damage found." : "\(parts.joined(separator: ", ")). Where: spaceport event list."
  }

  // MARK: Side by side

  /// Works on the rows that `more` hands out, for one turn; false when there are none. With none for now it only lets others have their turn.
  private func inParallel<Item>(
    _ job: Job, _ more: @escaping () -> [Item]?, _ body: @escaping (Item) async throws(BlockError) -> Void
  ) async throws(BlockError) -> Bool {
    let turn = JobTurn(pacer, pool.reactor, mayGoOn: { [unowned self] in !isEnding && !job.isEnded }, more, body)
    return try await turn.run()
  }
}
