import BlockDevice
import Reactor

/// Runs the pool's jobs, the most urgent first, for about a second at a time, so that a more urgent one never waits long. What nobody has to ask
/// for (resynchronisation, repair of copies whose disk stays away) it starts by itself.
public final class JobRunner: @unchecked Sendable {  // reactor-confined
  unowned let pool: StoragePool
  public let pacer: JobPacer
  public private(set) var jobs: [Job] = []
  /// How long a disk may be away before its copies are made anew elsewhere.
  public var repairDelayMilliseconds = JobLimits.repairDelayMilliseconds
  var running: Job?
  private var absentSince: [DiskNumber: Instant] = [:]
  private var lastSaved: Instant
  private(set) var isEnding = false
  private var hasEnded = true
  private var endWaiters = WaitQueue()

  init(pool: StoragePool) {
    self.pool = pool
    pacer = JobPacer(reactor: pool.reactor, slabByteCount: pool.slabByteCount)
    lastSaved = pool.reactor.now
    pacer.requestCount = { [unowned pool] in pool.rowOwners.reduce(0) { $0 &+ $1.requestCount } }
    pacer.onProgress = { [unowned self] byteCount in running?.progressed(byteCount, now: pool.reactor.now) }
  }

  func load(_ store: MetadataStore) {
    var records: [JobRecord] = []
    do throws(MetadataError) { try store.forEachRecord(JobRecord.self) { records.append($0) } } catch { return }
    jobs = records.sorted { $0.number < $1.number }.map { record in
      let job = Job(record, now: pool.reactor.now)
      job.isResumed = true
      return job
    }
  }

  /// Begins to work; the virtual disks are open by then.
  public func start() {
    guard hasEnded else { return }
    hasEnded = false
    pool.reactor.spawn { [self] in
      while !isEnding {
        await look()
        if let job = next() {
          await step(job)
        } else {
          pool.bounceBuffers.releaseIdleLargeBuffers()
          pacer.noteRequests()
          await pool.reactor.sleep(milliseconds: JobLimits.lookMilliseconds)
        }
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
    for job in jobs where job.state == .suspended && canGoOn(job) {
      job.state = .waiting
      job.message = ""  // why it waited is over
      job.walk = RowWalk()
      job.outcome = WalkOutcome()
      job.errorCount = 0
    }
    let ready = jobs.filter { ($0.state == .waiting || $0.state == .running) && isDue($0) }
    let job = JobRunner.urgency.lazy.compactMap { kind in ready.first { $0.kind == kind } }.first
    for other in ready where other !== job { other.state = .waiting }
    job?.state = .running
    return job
  }

  /// What it stood still for may be over: disks have come or gone, or there is more room, which is looked at now and then.
  private func canGoOn(_ job: Job) -> Bool {
    guard let stuck = job.stuckAt else { return true }
    if stuck.membership != pool.membershipChanges { return true }
    let elapsed = pool.reactor.now.nanoseconds - stuck.instant.nanoseconds
    return pool.freeByteCount > stuck.freeByteCount && elapsed >= JobLimits.roomMilliseconds * 1_000_000
  }

  /// Copies without a slab wait until no disk is waited for.
  private func isDue(_ job: Job) -> Bool { job.kind != .repair || job.record.disk != JobRunner.noDisk || isGivenUp(job.record.disk) }

  /// Adds a job, unless there is one for the same: that one gets the destination, if one is given.
  @discardableResult
  public func add(_ kind: JobRecord.Kind, disk: DiskNumber = DiskNumber(0), destination: DiskNumber? = nil) async -> Job {
    if let job = jobs.first(where: { $0.kind == kind && $0.record.disk == disk && !$0.isEnded }) {
      if let destination { job.record.destination = destination }
      return job
    }
    let record = JobRecord(
      number: (jobs.map(\.number).max() ?? 0) + 1, kind: kind, disk: disk, destination: destination ?? DiskNumber(0),
      startedSeconds: pool.wallClockSeconds())
    let job = Job(record, now: pool.reactor.now)
    job.record.totalByteCount = remainingByteCount(job)
    jobs.append(job)
    if jobs.count > JobLimits.rememberedCount, let oldest = jobs.firstIndex(where: \.isEnded) { jobs.remove(at: oldest) }
    await save(job)
    return job
  }

  /// What was asked for as a job and was done at once.
  func addEnded(_ kind: JobRecord.Kind, disk: DiskNumber) {
    let record = JobRecord(
      number: (jobs.map(\.number).max() ?? 0) + 1, kind: kind, disk: disk, destination: DiskNumber(0),
      startedSeconds: pool.wallClockSeconds())
    let job = Job(record, now: pool.reactor.now)
    job.state = .completed
    jobs.append(job)
  }

  public func cancel(_ job: Job) async {
    if job.isEnded { return }
    job.state = .cancelled
    job.message = ""
    _ = try? await pool.commit([.delete(job.record.key)])
  }

  /// Looks for work that nobody has to ask for. Between any two pieces of work, so nothing here may look at all rows.
  private func look() async {
    if pool.rowOwners.contains(where: { $0.rowCountToResynchronise > 0 }) || pool.disks.contains(where: { $0.state == .returning }) {
      await add(.resync)
    }
    let absent = Set(pool.absentDiskNumbers)
    for disk in absent where absentSince[disk] == nil { absentSince[disk] = pool.reactor.now }
    absentSince = absentSince.filter { absent.contains($0.key) }
    for disk in absent.sorted() + [JobRunner.noDisk] where copyCountToRepair(of: disk) > 0 { await beginRepair(of: disk) }
    for disk in pool.disks where disk.state == .retiring { await add(.retire, disk: disk.number) }
    if let job = jobs.first(where: { $0.state == .running }),
      pool.reactor.now.nanoseconds - lastSaved.nanoseconds > JobLimits.saveMilliseconds * 1_000_000
    {
      await save(job)
    }
  }

  private func beginRepair(of disk: DiskNumber) async {
    if jobs.contains(where: { $0.kind == .repair && $0.record.disk == disk && !$0.isEnded }) { return }
    let what = disk == JobRunner.noDisk ? "Copies that found no disk" : "The copies on \(pool.name(of: disk))"
    pool.events.add(.information, "repairStarted", disk: disk, "\(what) are made anew on other disks.")
    await add(.repair, disk: disk)
  }

  /// Stands for the slab of a copy that has none.
  static let noDisk = SlabAssignment.none.disk

  /// Whether a disk is away and is not waited for any more; once its repair has begun it is not, whatever was restarted since. Copies
  /// without a slab (disk 0) get one when no disk is waited for.
  func isGivenUp(_ disk: DiskNumber) -> Bool {
    if disk == JobRunner.noDisk { return pool.absentDiskNumbers.allSatisfy(isGivenUp) }
    guard pool.absentDiskNumbers.contains(disk) else { return false }
    if jobs.contains(where: { $0.kind == .repair && $0.record.disk == disk && !$0.isEnded }) { return true }
    guard let since = absentSince[disk] else { return false }
    return pool.reactor.now.nanoseconds - since.nanoseconds >= repairDelayMilliseconds * 1_000_000
  }

  func save(_ job: Job) async {
    lastSaved = pool.reactor.now
    if pool.isReadOnly { return }
    _ = try? await pool.commit(job.isEnded ? [.delete(job.record.key)] : [.put(job.record)])
  }
}
