import BlockDevice
import Pool
import Reactor
import Simulation
import VirtualDisk

/// One power-on: the pool is made or opened, verified, used by clients and an operator, and left.
final class PowerOn: @unchecked Sendable {  // reactor-confined
  let scenario: Scenario
  let machine: SimulatedMachine
  let number: UInt64
  let operationCount: Int
  var schedule: FaultSchedule?
  var random: SeededRandom
  /// What goes on, for the report of a failure.
  var phase = "opening"
  /// The first promise that was found broken.
  private(set) var finding: String?
  private(set) var isClosed = false
  private(set) var pool: StoragePool?
  private(set) var stack: SimulatedStack?
  var openDisks: [OpenDisk] = []
  /// Copies of disks that were made in this power-on.
  var copies: [Int: SavedContent] = [:]
  /// Disks whose readmission is under way.
  var comingBack: Set<Int> = []
  private var handleCount: UInt32 = 1000
  /// The pool's jobs run.
  private(set) var hasJobs = false

  init(_ scenario: Scenario, number: UInt64, operationCount: Int, _ schedule: FaultSchedule?, _ random: SeededRandom) {
    self.scenario = scenario
    machine = scenario.machine
    self.number = number
    self.operationCount = operationCount
    self.schedule = schedule
    self.random = random
  }

  /// Nothing more is to be asked of the pool.
  var isOver: Bool { finding != nil || !machine.isPowered || machine.powerOnCount != number }

  func note(_ text: String) { machine.note(text) }

  func found(_ what: String) { if finding == nil { finding = what } }

  func nextHandle() -> VirtualDiskHandle {
    handleCount += 1
    return VirtualDiskHandle(number: handleCount)
  }

  // MARK: Its course

  func live() async throws {
    if number > 1 && random.below(4) == 0 { try await checkStaleDisksAlone() }
    if number > 1 { try await checkCopies() }
    let triesOther = random.below(4) == 0 || !scenario.returning.isEmpty
    if number > 1 && schedule != nil && triesOther { try await checkOtherCourse() }
    if isOver { return }
    var order = scenario.members.union(scenario.adding).filter { machine.disks[$0].isPresent }.sorted()
    if number > 1 { order += scenario.cacheDisks.indices.filter { machine.disks[$0].isPresent } }
    order.shuffle(using: &random)
    let stack = try SimulatedStack(machine, order: order, witness: scenario.shape.witness)
    self.stack = stack
    let pool = try await (number == 1 ? stack.createPool(layout: scenario.layout) : openPool(stack))
    self.pool = pool
    await learnMembers(of: pool, stack)
    let tender = CacheTender(self, pool, stack, SeededRandom(seed: scenario.cacheDisks.random.next()))
    if scenario.cacheDisks.random.below(4) > 0 { await tender.tend() }
    if isOver { return }
    if number > 1 { try await verify(stack, pool) } else { try await createFirst(pool) }
    if operationCount > 0 { try await work(stack, pool, tender) }
    if isOver { return }
    phase = "checking what is left"
    if schedule == nil || random.coin() { try await checkAll(pool) }
    if schedule == nil || schedule?.ending == .close { try await close(stack, pool) }
  }

  /// As the server does: first it waits for all disks, then it goes on without those that something has happened to.
  private func openPool(_ stack: SimulatedStack) async throws(PoolError) -> StoragePool {
    do throws(PoolError) { return try await stack.openPool() } catch {
      if isOver || error.cause != .disksMissing || scenario.budget.bad.isEmpty { throw error }
      note("the wait for missing disks is over")
      return try await stack.openPool(evictMissing: true)
    }
  }

  /// Which disks are the pool's: a crash may have come in the middle of adding or releasing one.
  private func learnMembers(of pool: StoragePool, _ stack: SimulatedStack) async {
    noteNumbers()
    scenario.members.formUnion(pool.disks.compactMap { index(of: $0) })
    let known = Set(pool.diskRecords.map(\.number))
    for (number, index) in scenario.diskNumbers where !known.contains(number) {
      if !scenario.diskNumbers.contains(where: { $0.value == index && known.contains($0.key) }) { scenario.members.remove(index) }
    }
    scenario.evicted.formIntersection(scenario.members)
    for disk in pool.usableDisks {
      guard let index = index(of: disk) else { continue }
      // An opening in which the power went has left nothing that somebody relies on: a copy from before it is as good.
      if !isOver { scenario.lastUse[index] = number }
      scenario.evicted.remove(index)  // it was being taken back when the power went, and that stands
    }
    for index in scenario.adding.subtracting(scenario.members).sorted() { await stack.close(index) }
    scenario.adding.removeAll()
    pool.onDiskReleased = { [weak self] in self?.released($0) }
  }

  private func released(_ number: DiskNumber) {
    guard let index = scenario.diskNumbers[number] else { return }
    note("\(machine.disks[index].options.name) is released")
    scenario.members.remove(index)
    scenario.evicted.remove(index)
    guard let reactor = machine.reactor, let stack else { return }
    reactor.spawn { await stack.close(index) }
  }

  func noteNumbers() {
    for disk in pool?.disks ?? [] { if let index = index(of: disk) { scenario.diskNumbers[disk.number] = index } }
  }

  func index(of disk: DataPartition) -> Int? { machine.disks.firstIndex { $0.options.name == disk.disk.label } }

  /// At its end: what has left for certain must never become a pool by itself.
  func noteEvictions() {
    let absent = Set((pool?.absentDiskNumbers ?? []).compactMap { scenario.diskNumbers[$0] })
    // Of one that was just being taken back the next opening says what it is.
    scenario.evicted.formUnion(absent.intersection(scenario.members).subtracting(comingBack))
    scenario.returning = Set((pool?.disks ?? []).filter { $0.state == .returning }.compactMap { index(of: $0) })
  }

  private func createFirst(_ pool: StoragePool) async throws {
    phase = "creating"
    for plan in scenario.shape.virtualDisks { try await create(plan, in: pool) }
  }

  private func work(_ stack: SimulatedStack, _ pool: StoragePool, _ tender: CacheTender) async throws {
    phase = "working"
    machine.plan.isArmed = true
    machine.plan.restartCounting()
    schedule?.installLate(machine, &scenario.faults)
    for (kind, rule) in schedule == nil ? [] : scenario.lateCacheFaults() { schedule?.add(kind, rule, to: machine, &scenario.faults) }
    let tending = scenario.cacheDisks.indices.isEmpty ? nil : pool.reactor.spawn { await tender.run() }
    // What the server lets run: the pool's jobs, and its look at the disks. Without, the operator does what they would.
    if schedule != nil && random.coin() {
      pool.jobs.repairDelayMilliseconds = 20 * random.below(100)
      pool.jobs.start()
      hasJobs = true
    }
    if schedule?.hasHangs == true || (schedule != nil && random.coin()) { pool.startHousekeeping() }
    for disk in openDisks { startClients(of: disk) }
    for (victim, delay) in schedule?.powerLosses ?? [] { losePower(of: victim, after: delay) }
    copyADisk()
    await Operator(self, pool, SeededRandom(seed: random.next())).run()
    for disk in openDisks { for client in disk.clients { await client.value } }
    await tending?.value
    guard let reactor = machine.reactor, !isOver else { return }
    if hasJobs && random.coin() { await reactor.sleep(milliseconds: random.below(20_000)) }
    if schedule?.hasHangs == true && (schedule?.ending != .crashInWork || random.coin()) {
      await reactor.sleep(milliseconds: SimulatedPoolLimits.hangMilliseconds)
    }
  }

  private func losePower(of disk: Int, after milliseconds: UInt64) {
    scenario.faults.offer(.losesPowerAlone)
    guard let reactor = machine.reactor else { return }
    reactor.spawn { [self] in
      await reactor.sleep(milliseconds: milliseconds)
      if isOver || !machine.disks[disk].isPresent { return }
      machine.disks[disk].losePowerAlone()
      scenario.faults.fire(.losesPowerAlone)
    }
  }

  /// Each with its share of the operations.
  func startClients(of open: OpenDisk) {
    let count = scenario.shape.clientCount
    let share = max(1, operationCount / max(1, scenario.shape.virtualDisks.count * count))
    for number in 0..<count {
      let client = Client(self, open, number: number, SeededRandom(seed: random.next()))
      guard let reactor = machine.reactor else { return }
      open.clients.append(reactor.spawn { await client.run(operationCount: share) })
    }
  }

  private func close(_ stack: SimulatedStack, _ pool: StoragePool) async throws {
    phase = "closing"
    let moments = openDisks.map { $0.model.shadow.flushBegan() }
    try await stack.close(pool, openDisks.map(\.disk))
    for (disk, moment) in zip(openDisks, moments) { disk.model.shadow.flushAnswered(moment) }
    isClosed = true
  }

  /// After the power was cut: ends what the pool keeps running.
  func letGo() async { _ = try? await pool?.close() }

  // MARK: Virtual disks

  /// The virtual disk, open and in the list; nil when there was no room and there may be none.
  @discardableResult
  func create(_ plan: VirtualDiskPlan, in pool: StoragePool) async throws -> OpenDisk? {
    note("creating \(plan.name), \(plan.copies) copies, \(plan.columns ?? 0) columns, \(plan.byteCount) bytes, \(plan.provisioning)")
    let model = DiskModel(plan)
    scenario.models.append(model)
    do throws(PoolError) {
      let disk = try await VirtualDisk.create(plan, in: pool, handle: nextHandle())
      model.existence = .certain
      let open = OpenDisk(model, disk)
      openDisks.append(open)
      return open
    } catch {
      // After an error that is one there must be none; after a crash there may be.
      if !isOver && mayBeFull && (error.cause == .noSpace || error.cause == .invalid) {
        scenario.models.removeAll { $0 === model }
        return nil
      }
      throw error
    }
  }

  /// Slabs are few, or the file systems below are full, or fewer disks are left than a row takes.
  var mayBeFull: Bool {
    scenario.shape.isSmall || schedule?.mayBeFull == true || (pool?.usableDisks.count ?? 0) < machine.disks.count
  }

  // MARK: Requests

  /// Does one request and judges what comes of it.
  func attempt(_ who: String, on open: OpenDisk, _ operation: ClientOperation, _ sectors: Range<UInt64>) async {
    note("\(who) \(operation) \(sectors.lowerBound)+\(sectors.count)")
    do { try await perform(operation, open, sectors) } catch { judge(error, "\(who): \(operation) of sectors \(sectors)", operation, open) }
  }

  private func perform(_ operation: ClientOperation, _ open: OpenDisk, _ sectors: Range<UInt64>) async throws {
    let disk = open.shadowed
    switch operation {
    case .write: try await disk.write(sectors)
    case .writeDurable: try await disk.write(sectors, durable: true)
    case .trim: try await disk.trim(sectors)
    case .trimDurable: try await disk.trim(sectors, flags: .forceUnitAccess)
    case .zero: try await disk.trim(sectors, zeroes: true)
    case .zeroDurable: try await disk.trim(sectors, zeroes: true, flags: .forceUnitAccess)
    case .zeroKeepingSpace: try await disk.trim(sectors, zeroes: true, flags: .keepAllocated)
    case .flush: try await disk.flush()
    case .check: if try await disk.check(sectors) { machine.count(.cacheHitInPlace) }
    case .clearDirtyRegions(let evenTouched): try await open.disk.clearDirtyRegionsNow(evenTouched: evenTouched)
    }
  }

  /// A virtual disk without copies, or one that needs all disks for a new row, where one of them fails and must stay.
  func mayFail(_ open: OpenDisk) -> Bool {
    if schedule?.mayFail != true { return false }
    if open.model.plan.copies == 1 { return true }
    return scenario.shape.leastCopyCount == 1 && open.model.plan.copies * (open.model.plan.columns ?? 1) == scenario.members.count
  }

  private func judge(_ error: any Error, _ what: String, _ operation: ClientOperation, _ open: OpenDisk) {
    if error is ShadowError { return found("\(what): \(error)") }
    if isOver { return }
    if let error = error as? BlockError {
      if error.cause == .shuttingDown && open.isLeaving { return }
      if error.cause == .noSpace && mayBeFull && operation != .flush && operation != .check { return }
      if error.cause == .ioFailed && mayFail(open) && operation != .flush { return }
    }
    found("\(what) failed: \(error)")
  }
}
