import BlockDevice
import Pool
import Simulation
import VirtualDisk

// Other courses that things could take: some disks are not there at the next start, or a copy of one from the past is. Tried on the disks as
// they are, which are put back afterwards; so every combination may come, also those that nobody promises to survive. Whatever opens must be
// right, and what is promised to open must.

/// What a course begins with.
struct OtherCourse {
  /// The disks that are there.
  var present: Set<Int>
  /// In place of this disk there is what it held in the past.
  var replaced: Int?
  /// Beside this disk there is what it held in the past.
  var doubled: Int?

  /// Drawn from the seed; nil where there is none to draw.
  init?(_ scenario: Scenario, _ random: inout SeededRandom) {
    // A disk that has answered writes which it never did says wrong things with good checksums: it counts only beside others.
    let disks = scenario.members.filter { scenario.machine.disks[$0].isPresent && !scenario.liars.contains($0) }.sorted()
    if disks.isEmpty { return nil }
    present = Set(disks)
    let past = disks.filter { disk in
      scenario.pasts[disk].map { $0.powerOn < scenario.lastUse[disk, default: 0] } ?? false
    }
    if !past.isEmpty && random.coin() {
      let disk = past[random.index(below: past.count)]
      if random.coin() { replaced = disk } else { doubled = disk }
    }
    if (replaced == nil && doubled == nil) || random.coin() { present = Set(disks.filter { _ in random.coin() }) }
    if let disk = replaced ?? doubled { present.insert(disk) }
    if present.isEmpty { present.insert(disks[random.index(below: disks.count)]) }
  }
}

extension PowerOn {
  func checkOtherCourse() async throws {
    guard let course = OtherCourse(scenario, &random) else { return }
    phase = "trying another course"
    let disks = machine.disks
    let saved = disks.map { $0.save() }
    let models = scenario.models.map { $0.shadow.save() }
    let wasArmed = machine.plan.isArmed
    machine.plan.isArmed = false
    try await follow(course)
    machine.plan.isArmed = wasArmed
    for (disk, content) in zip(disks, saved) { disk.restore(content) }
    for (model, state) in zip(scenario.models, models) { model.shadow.restore(state) }
    phase = "opening"
  }

  private func follow(_ course: OtherCourse) async throws {
    var order = course.present.sorted()
    let names = order.map { machine.disks[$0].options.name }.joined(separator: ", ")
    note("what if only \(names) were there, \(name(course.replaced)) from the past, \(name(course.doubled)) twice")
    scenario.faults.offer(.someDisksOnly)
    scenario.faults.fire(.someDisksOnly)
    if let disk = course.replaced, let past = scenario.pasts[disk] {
      scenario.faults.offer(.pastInPlace)
      machine.disks[disk].restore(past.content)
      scenario.faults.fire(.pastInPlace)
    }
    var clone: SimulatedDisk?
    if let disk = course.doubled, let past = scenario.pasts[disk] {
      scenario.faults.offer(.cloneBeside)
      let twin = machine.addClone(of: machine.disks[disk], name: "clone\(machine.disks.count)")
      twin.restore(past.content)
      order.append(twin.index)
      clone = twin
      scenario.faults.fire(.cloneBeside)
    }
    if !scenario.cacheDisks.indices.isEmpty && random.coin() { order += scenario.cacheDisks.indices.filter { machine.disks[$0].isPresent } }
    noteDyingSources(course)
    order.shuffle(using: &random)
    let stack = try SimulatedStack(machine, order: order, witness: scenario.shape.witness)
    let mustOpen = isPromised(course)
    do throws(PoolError) {
      let pool = try await openOther(stack)
      try await check(stack, pool, mustOpen: mustOpen, course)
    } catch {
      if mustOpen { throw Surprise("the pool was not opened, though enough of it is there: \(error)") }
    }
    for index in order + [scenario.shape.witness] { await stack.close(index) }
    clone?.vanish()
  }

  private func name(_ disk: Int?) -> String { disk.map { machine.disks[$0].options.name } ?? "none" }

  /// A copy was being brought up to date, and what it was brought up to date from is not there.
  private func noteDyingSources(_ course: OtherCourse) {
    if scenario.returning.intersection(course.present).isEmpty { return }
    let sources = scenario.members.subtracting(scenario.returning).subtracting(scenario.evicted)
    scenario.faults.offer(.resyncSourceDies)
    if !sources.subtracting(course.present).isEmpty { scenario.faults.fire(.resyncSourceDies) }
  }

  /// No more is lost than the virtual disks are to survive.
  private func isPromised(_ course: OtherCourse) -> Bool {
    var lost = scenario.members.subtracting(course.present).union(scenario.badBefore)
    if let disk = course.replaced { lost.insert(disk) }
    return lost.count <= scenario.budget.limit && !scenario.lackedCopiesBefore && scenario.adding.isEmpty
  }

  private func openOther(_ stack: SimulatedStack) async throws(PoolError) -> StoragePool {
    do throws(PoolError) { return try await stack.openPool() } catch {
      if error.cause != .disksMissing { throw error }
      return try await stack.openPool(evictMissing: true)
    }
  }

  private func check(_ stack: SimulatedStack, _ pool: StoragePool, mustOpen: Bool, _ course: OtherCourse) async throws(PoolError) {
    var problem: String?
    do {
      let found = try await stack.openVirtualDisks(pool)
      for model in scenario.models {
        guard let disk = found[model.name] else {
          if model.existence == .certain { problem = "the virtual disk \(model.name) is gone" }
          continue
        }
        // One of which a row has no good copy stays offline.
        if disk.hasAllData {
          try await ShadowedDisk(disk: disk, shadow: model.shadow).checkAll()
        } else if mustOpen {
          problem = "row \(disk.firstLostRow ?? -1) of \(model.name) has no copy that may be used, though enough disks are there"
        }
      }
      if let disk = course.replaced, await takesBackThePast(disk, pool, stack) {
        problem = "\(name(disk)) was taken back with what it held in the past"
      }
      for disk in found.values.sorted(by: { $0.name < $1.name }) { _ = try? await disk.close() }
    } catch { problem = "\(error)" }
    _ = try? await pool.close()
    if let problem, !isOver { found("with other disks: \(problem)") }
  }

  private func takesBackThePast(_ index: Int, _ pool: StoragePool, _ stack: SimulatedStack) async -> Bool {
    if pool.disks.contains(where: { $0.disk.label == name(index) }) { return true }
    await stack.close(index)
    guard let member = try? stack.open(index) else { return false }
    return (try? await pool.readmit(member.device)) != nil
  }
}
