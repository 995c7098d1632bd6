import BlockDevice
import Pool
import Reactor
import Simulation
import VirtualDisk

/// Who manages the pool while clients use it: makes, grows and deletes virtual disks, moves copies, and does what housekeeping does; one
/// thing at a time, as the server does.
final class Operator: @unchecked Sendable {  // reactor-confined
  private let session: PowerOn
  private let pool: StoragePool
  private var random: SeededRandom

  init(_ session: PowerOn, _ pool: StoragePool, _ random: SeededRandom) {
    self.session = session
    self.pool = pool
    self.random = random
  }

  func run() async {
    guard let reactor = session.machine.reactor else { return }
    for _ in 0..<random.below(8) {
      await reactor.sleep(milliseconds: random.below(40))
      if session.isOver { return }
      do { try await act() } catch { if !session.isOver { session.found("the operator: \(error)") } }
    }
  }

  private func act() async throws {
    switch random.below(10) {
    case 0: try await create()
    case 1: await delete()
    case 2: try await grow()
    case 3, 4: await keepHouse()
    case 5: await resynchronise()
    case 6, 7: await session.takeBackAbsentDisks(reappearing: true)
    default: await moveCopy()
    }
  }

  private func create() async throws {
    let shape = session.scenario.shape
    let diskCount = pool.usableDisks.count
    guard session.openDisks.count < SimulatedPoolLimits.virtualDiskCount, diskCount >= shape.leastCopyCount else { return }
    session.scenario.createdCount += 1
    let plan = shape.plan(named: "extra\(session.scenario.createdCount)", diskCount: diskCount, &random)
    if let open = try await session.create(plan, in: pool) { session.startClients(of: open) }
  }

  private func delete() async {
    guard session.openDisks.count > 1, let open = anyDisk() else { return }
    session.note("deleting \(open.model.name)")
    await open.drain()
    if session.isOver { return }
    open.model.existence = .possible
    do throws(PoolError) { try await open.disk.delete() } catch {
      if !session.isOver { session.found("deleting \(open.model.name) failed: \(error)") }
      return
    }
    session.openDisks.removeAll { $0 === open }
    session.scenario.models.removeAll { $0 === open.model }
  }

  private func grow() async throws {
    guard let open = anyDisk() else { return }
    let before = open.disk.record.byteCount
    let most = SimulatedPoolLimits.grownByteCount
    guard before < most else { return }
    let after = before + (1 + random.below((most - before) / 4096)) * 4096
    session.note("growing \(open.model.name) to \(after)")
    open.model.byteCounts = [before, after]
    do throws(PoolError) { try await open.disk.grow(to: after) } catch {
      if session.isOver { return }
      guard error.cause == .noSpace, session.mayBeFull else { throw error }
      open.model.byteCounts = [before]
      return
    }
    open.model.byteCounts = [after]
  }

  /// What the pool does by itself every few seconds.
  private func keepHouse() async {
    session.note("housekeeping")
    for open in session.openDisks { await open.disk.commitPending() }
  }

  private func resynchronise() async {
    guard let open = anyDisk() else { return }
    session.note("resynchronising \(open.model.name)")
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
    session.note("moving \(open.model.name) row \(row) place \(place)")
    do throws(BlockError) { _ = try await open.disk.move(CopyPlace(row: row, place: place), to: nil) } catch {
      excuse(error, "moving a copy", open)
    }
  }

  private func anyDisk() -> OpenDisk? {
    session.openDisks.isEmpty ? nil : session.openDisks[random.index(below: session.openDisks.count)]
  }

  /// Only what no copy is left of may fail.
  private func excuse(_ error: BlockError, _ action: String, _ open: OpenDisk) {
    if session.isOver || (error.cause == .noSpace && session.mayBeFull) { return }
    if open.model.plan.copies == 1 && session.schedule?.mayFail == true { return }
    session.found("\(action) of \(open.model.name) failed: \(error)")
  }
}
