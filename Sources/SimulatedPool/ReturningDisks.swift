import BlockDevice
import Pool
import Simulation
import VirtualDisk

// Disks that the pool has gone on without: taken back, or alone.

extension PowerOn {
  /// Takes back every disk that the pool has evicted and that is there, and brings it up to date, as the server does. `reappearing`: those
  /// that were pulled out are there again.
  func takeBackAbsentDisks(reappearing: Bool) async {
    guard let pool, let stack else { return }
    for index in scenario.members.sorted() {
      let isUsable = pool.usableDisks.contains { $0.disk.label == machine.disks[index].options.name }
      if isUsable || pool.isChangingMembership || isOver { continue }
      // One that is still being evicted is none to take back yet.
      if pool.disks.contains(where: { $0.disk.label == machine.disks[index].options.name }) { continue }
      if reappearing { machine.disks[index].reappear() }
      guard machine.disks[index].isPresent else { continue }
      await takeBack(index, to: pool, stack)
    }
  }

  private func takeBack(_ index: Int, to pool: StoragePool, _ stack: SimulatedStack) async {
    await stack.close(index)
    // It was given up, and what it was sent is not over: it is looked for again, as the server does.
    if machine.disks[index].isClaimed { return }
    scenario.faults.offer(.returns)
    note("taking back \(machine.disks[index].options.name)")
    scenario.evicted.remove(index)
    comingBack.insert(index)
    do {
      let member = try stack.open(index)
      do {
        _ = try await pool.readmit(member.device)
        comingBack.remove(index)
      } catch {
        await stack.close(index)
        throw error
      }
      scenario.faults.fire(.returns)
      try await bringUpToDate(pool)
      try await finishReturns(pool)
    } catch {
      // What befalls the disk goes on to befall it; and one that has lied about its writes may look like an earlier state of itself.
      if isOver || isExcused(index) || scenario.liars.contains(index) || !scenario.members.contains(index) { return }
      found("taking back \(machine.disks[index].options.name) failed: \(error)")
    }
  }

  /// Something befalls the disk in this power-on, or another that it is brought up to date from.
  private func isExcused(_ index: Int) -> Bool {
    guard let schedule else { return false }
    return schedule.victims.contains(index) || (scenario.budget.limit > 1 && schedule.mayFail)
  }

  /// Disks that lack nothing any more are whole again; the others are at the next look.
  func finishReturns(_ pool: StoragePool) async throws {
    if openDisks.contains(where: { !$0.disk.rowsToResynchronise.isEmpty }) { return }
    let returning = pool.disks.filter { $0.state == .returning }
    if returning.isEmpty { return }
    try await pool.flushDisks(IORequest(ioClass: .resync))
    for disk in returning { try await pool.finishReturn(of: disk) }
    try await fillEmptyPlaces()
  }

  /// As repair does. Where there is no room a row goes on lacking a copy.
  func fillEmptyPlaces() async throws(BlockError) {
    for open in openDisks {
      for (row, place) in open.disk.emptyPlaces {
        do throws(BlockError) { _ = try await open.disk.move(CopyPlace(row: row, place: place), to: nil) } catch {
          if error.cause != .noSpace { throw error }
        }
      }
    }
  }

  private func bringUpToDate(_ pool: StoragePool) async throws(BlockError) {
    for open in openDisks where open.model.plan.copies > 1 {
      for row in open.disk.rowsToResynchronise { try await open.disk.resynchronise(row: row) }
    }
  }

  /// What was evicted must never become a pool by itself, however long the others stay away.
  func checkStaleDisksAlone() async throws {
    let stale = scenario.evicted.filter { machine.disks[$0].isPresent }.sorted()
    if stale.isEmpty { return }
    scenario.faults.offer(.staleDisksAlone)
    let cacheDisks = scenario.cacheDisks.indices.filter { machine.disks[$0].isPresent }
    let alone = stale + (cacheDisks.isEmpty || random.coin() ? [] : cacheDisks)
    note("only \(alone.map { machine.disks[$0].options.name }) are there")
    let stack = try SimulatedStack(machine, order: alone, witness: scenario.shape.witness)
    let opened: StoragePool?
    do throws(PoolError) { opened = try await stack.openPool(evictMissing: true) } catch { opened = nil }
    if isOver { return }
    if opened != nil { throw Surprise("a pool was opened from disks alone that it had gone on without") }
    scenario.faults.fire(.staleDisksAlone)
    for index in alone + [scenario.shape.witness] { await stack.close(index) }
  }
}
