import BlockDevice
import Pool
import Simulation
import VirtualDisk

// What must hold whenever a pool was opened again.

extension PowerOn {
  /// Opens the virtual disks and looks whether they are those of the model, in one of several orders.
  func verify(_ stack: SimulatedStack, _ pool: StoragePool) async throws {
    phase = "verifying"
    try await openVirtualDisks(stack, pool)
    let states = pool.disks.map { "\($0.disk.label) \($0.state)" }.joined(separator: ", ")
    note("the pool has \(states); bad by the budget: \(scenario.budget.bad.sorted())")
    scenario.evicted = scenario.evicted.union(disks(pool) { !$0.isUsable })
    if schedule == nil || random.below(4) > 0 { await takeBackAbsentDisks(reappearing: false) }
    switch schedule == nil ? 0 : random.below(4) {
    case 0:
      // A reader is the first to touch what a crash left.
      try await checkAll(pool)
      try await checkAllWithoutVictim(pool)
      try await bringTogether(pool)
      scenario.budget.found(bad: unusableDisks(pool), lacksCopies: lacksCopies)
    case 1:
      try await bringTogether(pool)
      try await checkAll(pool)
      scenario.budget.found(bad: unusableDisks(pool), lacksCopies: lacksCopies)
    default:
      // The clients are, and the background comes to it or not.
      scenario.budget.found(bad: unusableDisks(pool).union(scenario.budget.bad), lacksCopies: lacksCopies)
    }
    try Examination.checkSlabs(of: pool, openDisks.map(\.disk))
    if schedule == nil || random.below(3) == 0 { try await checkFresh(pool) }
  }

  private func openVirtualDisks(_ stack: SimulatedStack, _ pool: StoragePool) async throws {
    var found = try await stack.openVirtualDisks(pool)
    if let fresh = found.removeValue(forKey: PowerOn.freshName) { try await fresh.delete() }
    for model in scenario.models {
      guard let disk = found.removeValue(forKey: model.name) else {
        if model.existence == .certain { throw Surprise("the virtual disk \(model.name) is gone") }
        continue
      }
      guard model.byteCounts.contains(disk.record.byteCount) else {
        throw Surprise("\(model.name) has \(disk.record.byteCount) bytes, not \(model.byteCounts.sorted())")
      }
      if !disk.hasAllData { throw Surprise("row \(disk.firstLostRow ?? -1) of \(model.name) has no copy left that may be used") }
      note("\(model.name) is there, \(disk.mappedRowCount) rows mapped, to be brought together: \(disk.rowsToResynchronise)")
      model.existence = .certain
      model.byteCounts = [disk.record.byteCount]
      openDisks.append(OpenDisk(model, disk))
    }
    scenario.models.removeAll { $0.existence == .possible }
    if let name = found.keys.min() { throw Surprise("the virtual disk \(name) is there again") }
  }

  private var lacksCopies: Bool { openDisks.contains { !$0.disk.emptyPlaces.isEmpty } }

  /// Disks of the machine that the pool does without, or that lack something, by their places there.
  private func unusableDisks(_ pool: StoragePool) -> Set<Int> {
    let found = disks(pool) { !$0.isUsable || $0.state == .returning }
    // What is to befall one in this power-on has perhaps not come yet.
    return found.union(schedule?.victims ?? [])
  }

  /// Those that the pool does not have, or has in such a state.
  private func disks(_ pool: StoragePool, _ isWanted: (DataPartition) -> Bool) -> Set<Int> {
    Set(
      scenario.members.filter { index in
        pool.disks.first { $0.disk.label == machine.disks[index].options.name }.map(isWanted) ?? true
      })
  }

  /// Reads everything.
  func checkAll(_ pool: StoragePool) async throws {
    for open in openDisks {
      var position: UInt64 = 0
      let count = open.shadowed.sectorCount
      while position < count {
        let end = min(count, position + 256)
        await attempt("verification of \(open.model.name)", on: open, .check, position..<end)
        position = end
        if isOver { return }
      }
    }
  }

  /// The same again while one disk reads nothing any more: what its copies have shown, the others must show too.
  private func checkAllWithoutVictim(_ pool: StoragePool) async throws {
    guard let victim = schedule?.victims.first, scenario.shape.leastCopyCount > 1, random.coin() else { return }
    let rule = FaultRule(.ioError, .always, disk: victim, operations: [.read], range: scenario.geometry[victim].slabs)
    let place = machine.plan.rules.count
    schedule?.add(.unreadableDisk, rule, to: machine, &scenario.faults)
    try await checkAll(pool)
    if place < machine.plan.rules.count { machine.plan.rules[place].limit = 0 }
  }

  /// The background's part: after it the copies agree everywhere.
  private func bringTogether(_ pool: StoragePool) async throws {
    for open in openDisks where open.model.plan.copies > 1 {
      // As the job does: when a disk has left meanwhile the rows are looked at again.
      for _ in 0...machine.disks.count where !open.disk.rowsToResynchronise.isEmpty {
        for row in open.disk.rowsToResynchronise { try await open.disk.resynchronise(row: row) }
      }
      if !open.disk.rowsToResynchronise.isEmpty {
        throw Surprise("rows \(open.disk.rowsToResynchronise) of \(open.model.name) are not brought together")
      }
      if schedule?.mayFail != true { try await Examination.checkCopiesAgree(open.disk) }
    }
    try await finishReturns(pool)
    try await fillEmptyPlaces()
  }

  static let freshName = "fresh"

  /// A new virtual disk on whatever slabs are free shows none of what lay there.
  private func checkFresh(_ pool: StoragePool) async throws {
    let copies = scenario.shape.leastCopyCount
    if pool.dealingDiskCount < copies { return }
    let plan = VirtualDiskPlan(name: PowerOn.freshName, byteCount: 2 << 20, copies: copies, columns: 1)
    let disk: VirtualDisk
    do throws(PoolError) { disk = try await VirtualDisk.create(plan, in: pool, handle: nextHandle()) } catch {
      if error.cause == .noSpace && mayBeFull { return }
      throw error
    }
    let open = OpenDisk(DiskModel(plan), disk)
    for sectors in [0..<4096, 100..<101, 1000..<1003, 0..<4096, 2040..<2060, 0..<4096] as [Range<UInt64>] {
      await attempt("a fresh disk", on: open, sectors.count == 4096 ? .check : .write, sectors)
    }
    if !isOver { try await disk.delete() }
  }
}
