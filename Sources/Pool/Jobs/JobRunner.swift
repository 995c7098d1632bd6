import BlockDevice
import Reactor

/// Runs the pool's jobs, the most urgent first, a few rows at a time, so that a more urgent one never waits long. What nobody has to ask
/// for (resynchronisation, repair of copies whose disk stays away) it starts by itself.
public final class JobRunner: @unchecked Sendable {  // reactor-confined
  unowned let pool: StoragePool
  public let pacer: JobPacer
  public private(set) var jobs: [Job] = []
  /// How long a disk may be away before its copies are made anew elsewhere.
  public var repairDelayMilliseconds = JobLimits.repairDelayMilliseconds
  private var running: Job?
  private var absentSince: [DiskNumber: Instant] = [:]
  private var lastSaved: Instant
  private var isEnding = false
  private var hasEnded = true
  private var endWaiters = WaitQueue()

  init(pool: StoragePool) {
    self.pool = pool
    pacer = JobPacer(reactor: pool.reactor)
    lastSaved = pool.reactor.now
    pacer.requestCount = { [unowned pool] in pool.rowOwners.reduce(0) { $0 &+ $1.requestCount } }
    pacer.onProgress = { [unowned self] byteCount in running?.progressed(byteCount, now: pool.reactor.now) }
  }

  func load(_ store: MetadataStore) {
    var records: [JobRecord] = []
    do throws(MetadataError) { try store.forEachRecord(JobRecord.self) { records.append($0) } } catch { return }
    jobs = records.sorted { $0.number < $1.number }.map { Job($0, now: pool.reactor.now) }
  }

  /// Begins to work; the virtual disks are open by then.
  public func start() {
    guard hasEnded else { return }
    hasEnded = false
    pool.reactor.spawn { [self] in
      while !isEnding {
        await look()
        if let job = next() { await step(job) } else { await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds) }
      }
      hasEnded = true
      endWaiters.wakeAll()
    }
  }

  /// Waits until nothing is in work any more. What was not finished goes on when the pool is opened again.
  func stop() async {
    isEnding = true
    while !hasEnded { await withUnsafeContinuation { endWaiters.append($0) } }
    for job in jobs where !job.isEnded { await save(job) }
  }

  // MARK: Which job

  private static let urgency: [JobRecord.Kind] = [.resync, .repair, .retire, .optimize, .scrub]

  private func next() -> Job? {
    for job in jobs where job.state == .suspended && job.stuckAtMembership != pool.membershipChanges {
      job.state = .waiting
      job.stuck.removeAll()
      job.errorCount = 0
    }
    let ready = jobs.filter { $0.state == .waiting || $0.state == .running }
    let job = JobRunner.urgency.lazy.compactMap { kind in ready.first { $0.kind == kind } }.first
    for other in ready where other !== job { other.state = .waiting }
    job?.state = .running
    return job
  }

  /// Adds a job, unless there is one for the same.
  @discardableResult
  public func add(_ kind: JobRecord.Kind, disk: DiskNumber = DiskNumber(0), destination: DiskNumber = DiskNumber(0)) async -> Job {
    if let job = jobs.first(where: { $0.kind == kind && $0.record.disk == disk && !$0.isEnded }) {
      job.record.destination = destination
      return job
    }
    let record = JobRecord(
      number: (jobs.map(\.number).max() ?? 0) + 1, kind: kind, disk: disk, destination: destination,
      startedSeconds: pool.wallClockSeconds())
    let job = Job(record, now: pool.reactor.now)
    job.record.totalByteCount = remainingByteCount(job)
    jobs.append(job)
    if jobs.count > JobLimits.rememberedCount, let oldest = jobs.firstIndex(where: \.isEnded) { jobs.remove(at: oldest) }
    await save(job)
    return job
  }

  public func cancel(_ job: Job) async {
    if job.isEnded { return }
    job.state = .cancelled
    _ = try? await pool.commit([.delete(job.record.key)])
  }

  /// Looks for work that nobody has to ask for.
  private func look() async {
    if pool.rowOwners.contains(where: { !$0.rowsToResynchronise.isEmpty }) || pool.disks.contains(where: { $0.state == .returning }) {
      await add(.resync)
    }
    let absent = Set(pool.absentDiskNumbers)
    for disk in absent where absentSince[disk] == nil { absentSince[disk] = pool.reactor.now }
    absentSince = absentSince.filter { absent.contains($0.key) }
    if !copiesToRepair().isEmpty { await add(.repair) }
    for disk in pool.disks where disk.state == .retiring { await add(.retire, disk: disk.number) }
    if let running, pool.reactor.now.nanoseconds - lastSaved.nanoseconds > JobLimits.saveMilliseconds * 1_000_000 { await save(running) }
  }

  private func isGivenUp(_ disk: DiskNumber) -> Bool {
    guard let since = absentSince[disk] else { return false }
    return pool.reactor.now.nanoseconds - since.nanoseconds >= repairDelayMilliseconds * 1_000_000
  }

  private func save(_ job: Job) async {
    lastSaved = pool.reactor.now
    if pool.isReadOnly { return }
    _ = try? await pool.commit(job.isEnded ? [.delete(job.record.key)] : [.put(job.record)])
  }

  // MARK: Working

  private func step(_ job: Job) async {
    running = job
    defer { running = nil }
    do throws(BlockError) {
      let isDone: Bool
      switch job.kind {
      case .resync: isDone = try await resynchronise()
      case .repair: isDone = try await move(job, copiesToRepair(), to: nil)
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
      if job.errorCount >= 3 { suspend(job, "It failed: \(error). It goes on when a disk has come or gone, or after a restart.") }
    }
  }

  private func suspend(_ job: Job, _ message: String) {
    if job.state != .suspended { pool.events.add(.warning, "jobSuspended", disk: job.record.disk, "Job \(job.kind) waits. \(message)") }
    job.state = .suspended
    job.message = message
    job.stuckAtMembership = pool.membershipChanges
  }

  private func complete(_ job: Job) async {
    job.state = .completed
    job.record.totalByteCount = job.record.doneByteCount
    if job.message.isEmpty { job.message = "Done." }
    pool.events.add(.information, "jobCompleted", disk: job.record.disk, "Job \(job.kind) is done: \(job.message)")
    await save(job)
  }

  /// Bytes that the job has still to work on, as far as can be seen now.
  private func remainingByteCount(_ job: Job) -> UInt64 {
    switch job.kind {
    case .resync: pool.rowOwners.reduce(0) { $0 + $1.byteCountToResynchronise }
    case .repair: UInt64(copiesToRepair().count) * pool.slabByteCount
    case .retire: UInt64(copies { $0.disk == job.record.disk }.count) * pool.slabByteCount
    case .optimize: pool.byteCountToRebalance
    case .scrub: pool.rowOwners.reduce(0) { $0 + UInt64($1.mappedRows.count * $1.slabsPerRow) * pool.slabByteCount }
    default: 0
    }
  }

  private func updateTotal(_ job: Job) {
    job.record.totalByteCount = max(job.record.totalByteCount, job.record.doneByteCount + remainingByteCount(job))
  }

  // MARK: Resynchronisation

  private func resynchronise() async throws(BlockError) -> Bool {
    for owner in pool.rowOwners {
      let rows = owner.rowsToResynchronise.prefix(JobLimits.depth)
      if rows.isEmpty { continue }
      try await inParallel(Array(rows)) { row throws(BlockError) in try await owner.resynchronise(row: row) }
      return false
    }
    for disk in pool.disks where disk.state == .returning {
      try await pool.flushDisks(IORequest(ioClass: .resync))
      guard pool.rowOwners.allSatisfy({ $0.rowsToResynchronise.isEmpty }) else { return false }
      do throws(PoolError) { try await pool.finishReturn(of: disk) } catch { throw BlockError(.ioFailed) }
    }
    return true
  }

  // MARK: Moving copies

  private func copies(where isWanted: (SlabAssignment) -> Bool) -> [(owner: any RowOwner, copy: CopyPlace)] {
    pool.rowOwners.flatMap { owner in owner.places(where: isWanted).map { (owner, $0) } }
  }

  /// Copies without a slab, and those on disks that stay away.
  private func copiesToRepair() -> [(owner: any RowOwner, copy: CopyPlace)] {
    let lost = Set(pool.absentDiskNumbers.filter(isGivenUp))
    // Where the pool has no disk that could take the copy, there is nothing to do yet.
    return copies { $0.isNone ? pool.absentDiskNumbers.allSatisfy(lost.contains) : lost.contains($0.disk) }
  }

  /// Moves some of the copies; true when none is left.
  private func move(
    _ job: Job, _ all: [(owner: any RowOwner, copy: CopyPlace)], to destination: DiskNumber?
  ) async throws(BlockError) -> Bool {
    if all.isEmpty { return true }
    updateTotal(job)
    if job.stuckAtMembership != pool.membershipChanges { job.stuck.removeAll() }
    let possible = all.filter { !job.stuck.contains(CopyKey(virtualDisk: $0.owner.virtualDisk, copy: $0.copy)) }
    // One copy of a row at a time.
    var chosen: [(owner: any RowOwner, copy: CopyPlace)] = []
    for candidate in possible where chosen.count < JobLimits.depth {
      if !chosen.contains(where: { $0.owner === candidate.owner && $0.copy.row == candidate.copy.row }) { chosen.append(candidate) }
    }
    guard !chosen.isEmpty else {
      suspend(
        job, "\(all.count) copies find no room on a disk that has no other copy of the same data. Add a disk, or free space.")
      return false
    }
    let began = pool.reactor.now
    try await inParallel(chosen) { [pool] item throws(BlockError) in
      let outcome = try await item.owner.move(item.copy, to: destination)
      if outcome == .noSpace {
        job.stuck.insert(CopyKey(virtualDisk: item.owner.virtualDisk, copy: item.copy))
        job.stuckAtMembership = pool.membershipChanges
      }
    }
    // Somebody else is moving these: asking again at once would keep the reactor busy with nothing.
    if pool.reactor.now == began { await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds) }
    return false
  }

  private func retire(_ job: Job) async throws(BlockError) -> Bool {
    let disk = job.record.disk
    let destination = pool.usableDisk(job.record.destination) == nil ? nil : job.record.destination
    guard try await move(job, copies { $0.disk == disk }, to: destination) else { return false }
    // What was freed a moment ago is the disk's until that is durable: a pool whose rows name a disk that it does not have cannot be opened.
    await pool.reclaimSpace()
    guard pool.takenSlabCount(of: disk) == 0 else {
      await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds)
      return false
    }
    do throws(PoolError) { try await pool.release(disk) } catch {
      suspend(job, "The disk is empty, but could not be released: \(error)")
      return false
    }
    return true
  }

  /// Moves one slab from the fullest disk to the emptiest, as long as that makes them more equal.
  private func optimize(_ job: Job) async throws(BlockError) -> Bool {
    updateTotal(job)
    for (source, destination) in pool.rebalancingMoves {
      for owner in pool.rowOwners {
        for copy in owner.places(where: { $0.disk == source }) {
          if try await owner.move(copy, to: destination) == .moved { return false }
        }
      }
    }
    return true
  }

  // MARK: Scrub

  private func scrub(_ job: Job) async throws(BlockError) -> Bool {
    updateTotal(job)
    let owners = pool.rowOwners.sorted { $0.virtualDisk < $1.virtualDisk }.filter { $0.virtualDisk >= job.record.nextVirtualDisk }
    for owner in owners {
      if owner.virtualDisk > job.record.nextVirtualDisk {
        job.record.nextVirtualDisk = owner.virtualDisk
        job.record.nextRow = 0
      }
      guard let row = owner.mappedRows.first(where: { UInt64($0) >= job.record.nextRow }) else {
        job.record.nextRow = .max
        continue
      }
      job.finding.add(try await owner.scrub(row: row))
      job.record.nextRow = UInt64(row) + 1
      job.message = JobRunner.describe(job.finding)
      return false
    }
    job.message = JobRunner.describe(job.finding)
    if job.finding.differenceCount + job.finding.unreadableCount > 0 {
      pool.events.add(.error, "scrubFoundDamage", "Scrub of the pool \(pool.name): \(job.message)")
    }
    return true
  }

  private static func describe(_ finding: ScrubFinding) -> String {
    if finding.repairedCount + finding.unreadableCount + finding.differenceCount == 0 { return "No damage found." }
    return "\(finding.repairedCount) ranges repaired, \(finding.unreadableCount) unreadable on every copy, "
      + "\(finding.differenceCount) where copies differ and nobody knows which is right."
  }

  private func inParallel<Item>(_ items: [Item], _ body: @escaping (Item) async throws(BlockError) -> Void) async throws(BlockError) {
    let split = Parallel(items, body)
    try await split.run(pool.reactor)
  }
}

/// A few tasks side by side on one reactor; throws the first error when all have ended.
private final class Parallel<Item>: @unchecked Sendable {  // reactor-confined
  private let items: [Item]
  private let body: (Item) async throws(BlockError) -> Void
  private var failure: BlockError?

  init(_ items: [Item], _ body: @escaping (Item) async throws(BlockError) -> Void) {
    self.items = items
    self.body = body
  }

  func run(_ reactor: any Reactor) async throws(BlockError) {
    let tasks = items.indices.map { index in
      reactor.spawn { [self] in
        do throws(BlockError) { try await body(items[index]) } catch { failure = failure ?? error }
      }
    }
    for task in tasks { await task.value }
    if let failure { throw failure }
  }
}
