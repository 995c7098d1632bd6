import BlockDevice
import Pool
import Reactor
import Simulation
import VirtualDisk

/// Who manages the pool while clients use it: makes, grows and deletes virtual disks, moves copies, and does what housekeeping does; one
/// thing at a time, as the server does.
final class Operator: @unchecked Sendable {  // reactor-confined
  private let powerOn: PowerOn
  private let pool: StoragePool
  private var random: SeededRandom

  init(_ powerOn: PowerOn, _ pool: StoragePool, _ random: SeededRandom) {
    self.powerOn = powerOn
    self.pool = pool
    self.random = random
  }

  func run() async {
    guard let reactor = powerOn.machine.reactor else { return }
    for _ in 0..<random.below(8) {
      await reactor.sleep(milliseconds: random.below(40))
      if powerOn.isOver { return }
      do { try await act() } catch { if !powerOn.isOver { powerOn.found("the operator: \(error)") } }
    }
  }

  private func act() async throws {
    switch random.below(powerOn.schedule == nil ? 10 : 16) {
    case 0: try await create()
    case 1: await delete()
    case 2: try await grow()
    case 3, 4: await keepHouse()
    case 5: await resynchronise()
    case 6, 7: await powerOn.takeBackAbsentDisks(reappearing: true)
    case 8, 9: await moveCopy()
    default: await manageDisks()
    }
  }

  // MARK: Disks and jobs

  private func manageDisks() async {
    do throws(PoolError) {
      switch random.below(6) {
      case 0: _ = try await add()
      case 1: try await retire(replaceable: false)
      case 2: try await retire(replaceable: true)
      case 3: try await changeUsage()
      case 4:
        powerOn.note("scrub or optimize")
        await pool.jobs.add(random.coin() ? .scrub : .optimize)
      default:
        guard let job = pool.jobs.jobs.last(where: { !$0.isEnded }) else { return }
        powerOn.note("cancelling job \(job.kind)")
        await pool.jobs.cancel(job)
      }
    } catch {
      // `wrongState`: a job is just releasing the disk.
      if powerOn.isOver || [.invalid, .noSpace, .notFound, .wrongState].contains(error.cause) || powerOn.schedule?.mayFail == true {
        return
      }
      powerOn.found("the operator: \(error)")
    }
  }

  /// A disk of the machine that is none of the pool's.
  private func add() async throws(PoolError) -> DiskNumber? {
    let scenario = powerOn.scenario
    let spares = scenario.shape.disks.indices.filter { index in
      !scenario.members.contains(index) && !scenario.adding.contains(index) && powerOn.machine.disks[index].isPresent
        && powerOn.schedule?.victims.contains(index) != true
    }
    guard let stack = powerOn.stack, !spares.isEmpty else { return nil }
    let index = spares[random.index(below: spares.count)]
    // It may still be closing.
    guard let member = try? stack.open(index) else { return nil }
    powerOn.note("adding \(member.path)")
    scenario.adding.insert(index)
    do throws(PoolError) {
      let disk = try await pool.add(member, usage: random.below(3) == 0 ? .hotspare : .auto)
      scenario.adding.remove(index)
      scenario.members.insert(index)
      scenario.liars.remove(index)
      scenario.evicted.remove(index)
      powerOn.noteNumbers()
      return disk.number
    } catch {
      if !powerOn.isOver {
        scenario.adding.remove(index)
        await stack.close(index)
      }
      throw error
    }
  }

  /// Only where the others can hold all copies of a new row, whatever befalls a victim.
  private var maySpareADisk: Bool {
    let widest = powerOn.openDisks.map { $0.disk.slabsPerRow }.max() ?? 0
    let takers = pool.disks.filter { $0.state == .active && $0.usage == .auto }
    return takers.count - 1 - (powerOn.schedule?.victims.count ?? 0) >= widest && !powerOn.scenario.shape.isSmall
  }

  /// Cache disks are for the tender.
  private var dataDiskNumbers: [DiskNumber] { pool.diskRecords.filter { $0.usage != .cache }.map(\.number) }

  private func retire(replaceable: Bool) async throws(PoolError) {
    let new = replaceable ? try await add() : nil
    if powerOn.isOver || !maySpareADisk { return }
    let candidates = dataDiskNumbers.filter { $0 != new }
    guard !candidates.isEmpty else { return }
    let number = candidates[random.index(below: candidates.count)]
    powerOn.note("retiring disk \(number)")
    try await pool.retire(number, replacement: new)
  }

  private func changeUsage() async throws(PoolError) {
    let candidates = dataDiskNumbers
    guard !candidates.isEmpty else { return }
    let number = candidates[random.index(below: candidates.count)]
    let usage: DiskRecord.Usage = random.below(3) == 0 && maySpareADisk ? .hotspare : .auto
    powerOn.note("disk \(number) is for \(usage)")
    try await pool.setUsage(of: number, usage)
  }

  private func create() async throws {
    let shape = powerOn.scenario.shape
    // On those alone that take new slabs: where a disk is being emptied, rows that need all have a copy less, which no victim may cost then.
    let diskCount = pool.usableDisks.count { $0.usage == .auto && $0.state != .retiring }
    guard powerOn.openDisks.count < SimulatedPoolLimits.virtualDiskCount, diskCount >= shape.leastCopyCount else { return }
    powerOn.scenario.createdCount += 1
    let plan = shape.plan(named: "extra\(powerOn.scenario.createdCount)", diskCount: diskCount, &random)
    if let open = try await powerOn.create(plan, in: pool) { powerOn.startClients(of: open) }
  }

  private func delete() async {
    guard powerOn.openDisks.count > 1, let open = anyDisk() else { return }
    powerOn.note("deleting \(open.model.name)")
    await open.drain()
    if powerOn.isOver { return }
    open.model.existence = .possible
    do throws(PoolError) { try await open.disk.delete() } catch {
      if !powerOn.isOver { powerOn.found("deleting \(open.model.name) failed: \(error)") }
      return
    }
    powerOn.openDisks.removeAll { $0 === open }
    powerOn.scenario.models.removeAll { $0 === open.model }
  }

  private func grow() async throws {
    guard let open = anyDisk() else { return }
    let before = open.disk.record.byteCount
    let most = SimulatedPoolLimits.grownByteCount
    guard before < most else { return }
    let after = before + (1 + random.below((most - before) / 4096)) * 4096
    powerOn.note("growing \(open.model.name) to \(after)")
    open.model.byteCounts = [before, after]
    do throws(PoolError) { try await open.disk.grow(to: after) } catch {
      if powerOn.isOver { return }
      // A fixed one has its space allocated, which may fail as a write to a new row may.
      guard (error.cause == .noSpace && powerOn.mayBeFull) || (error.cause == .ioFailed && powerOn.mayFail(open)) else { throw error }
      open.model.byteCounts = [before]
      return
    }
    open.model.byteCounts = [after]
  }

  /// What the pool does by itself every few seconds.
  private func keepHouse() async {
    powerOn.note("housekeeping")
    for open in powerOn.openDisks { await open.disk.commitPending() }
  }

  private func resynchronise() async {
    guard let open = anyDisk() else { return }
    powerOn.note("resynchronising \(open.model.name)")
    for row in open.disk.rowsToResynchronise {
      do throws(BlockError) { try await open.disk.resynchronise(row: row) } catch { excuse(error, "resynchronising", open) }
    }
  }

  /// As repair, replacement and rebalancing do.
  private func moveCopy() async {
    guard let open = anyDisk() else { return }
    let rows = open.disk.mappedRows
    if rows.isEmpty { return }
    let row = rows[random.index(below: rows.count)]
    let place = random.index(below: open.disk.slabsPerRow)
    powerOn.note("moving \(open.model.name) row \(row) place \(place)")
    do throws(BlockError) { _ = try await open.disk.move(CopyPlace(row: row, place: place), to: nil) } catch {
      excuse(error, "moving a copy", open)
    }
  }

  private func anyDisk() -> OpenDisk? {
    powerOn.openDisks.isEmpty ? nil : powerOn.openDisks[random.index(below: powerOn.openDisks.count)]
  }

  /// Only what no copy is left of may fail.
  private func excuse(_ error: BlockError, _ action: String, _ open: OpenDisk) {
    if powerOn.isOver || (error.cause == .noSpace && powerOn.mayBeFull) { return }
    if open.model.plan.copies == 1 && powerOn.schedule?.mayFail == true { return }
    powerOn.found("\(action) of \(open.model.name) failed: \(error)")
  }
}
