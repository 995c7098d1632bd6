import Pool
import Reactor
import Simulation

// Copies of the pool's disks: alone they must never become a pool, and nobody can tell one from its original beside it. Tried on the disks
// as they are, which are put back afterwards.

extension PowerOn {
  func checkCopies() async throws {
    // Of its own, so that what else a seed does stays as it is.
    var random = SeededRandom(seed: machine.seed &+ number, stream: 11)
    if random.coin() { try await checkCopyAlone(&random) }
    if !isOver && random.below(4) == 0 { try await checkTwins(&random) }
  }

  /// As somebody does who makes a backup of a disk in use.
  func copyADisk() {
    var random = SeededRandom(seed: machine.seed &+ number, stream: 12)
    if random.below(3) > 0 { return }
    let candidates = scenario.members.filter { machine.disks[$0].isPresent }.sorted()
    guard let reactor = machine.reactor, !candidates.isEmpty else { return }
    let disk = candidates[random.index(below: candidates.count)]
    let delay = random.below(60)
    reactor.spawn { [self] in
      await reactor.sleep(milliseconds: delay)
      // While it is closed it is not in use any more.
      if !isOver && phase == "working" && machine.disks[disk].isPresent { copies[disk] = machine.disks[disk].save() }
    }
  }

  /// A copy from before the pool was last opened, or closed, with all other disks gone.
  private func checkCopyAlone(_ random: inout SeededRandom) async throws {
    let older = scenario.pasts.filter { disk, past in past.powerOn < scenario.lastUse[disk, default: 0] }.mapValues(\.content)
    let isFromUse = !scenario.copiesFromUse.isEmpty && (older.isEmpty || random.coin())
    let copies = isFromUse ? scenario.copiesFromUse : older
    let candidates = copies.keys.filter { machine.disks[$0].isPresent }.sorted()
    guard !candidates.isEmpty else { return }
    let disk = candidates[random.index(below: candidates.count)]
    guard let content = copies[disk] else { return }
    let kind: FaultKind = isFromUse ? .copyFromUseAlone : .copyAlone
    scenario.faults.offer(kind)
    note("only a copy of \(machine.disks[disk].options.name) is there, from \(isFromUse ? "its last use" : "before its last use")")
    try await unharmed {
      machine.disks[disk].restore(content)
      if try await opens([disk]) { found("a copy of \(machine.disks[disk].options.name) from the past became a pool by itself") }
    }
    scenario.faults.fire(kind)
  }

  private func checkTwins(_ random: inout SeededRandom) async throws {
    let disks = scenario.members.filter { machine.disks[$0].isPresent && !scenario.liars.contains($0) }.sorted()
    guard !disks.isEmpty else { return }
    let original = disks[random.index(below: disks.count)]
    scenario.faults.offer(.twinBeside)
    let twin = machine.addClone(of: machine.disks[original], name: "twin\(machine.disks.count)")
    twin.restore(machine.disks[original].save())
    note("\(twin.options.name) is the same as \(machine.disks[original].options.name)")
    var order = disks + [twin.index]
    order.shuffle(using: &random)
    try await unharmed {
      if try await opens(order) { found("the pool was opened with \(machine.disks[original].options.name) twice") }
    }
    scenario.faults.fire(.twinBeside)
    twin.vanish()
  }

  /// Whether there is a pool on these disks, once the wait for the others is over.
  private func opens(_ disks: [Int]) async throws -> Bool {
    let stack = try SimulatedStack(machine, order: disks, witness: scenario.shape.witness)
    var isOpen = false
    do throws(PoolError) {
      let pool = try await stack.openPool(evictMissing: true)
      isOpen = true
      _ = try? await pool.close()
    } catch { note("\(error)") }
    for index in disks + [scenario.shape.witness] { await stack.close(index) }
    return isOpen && !isOver
  }

  /// Nothing befalls the disks meanwhile, and afterwards they are what they were.
  private func unharmed(_ body: () async throws -> Void) async throws {
    let disks = machine.disks
    let saved = disks.map { $0.save() }
    let wasArmed = machine.plan.isArmed
    machine.plan.isArmed = false
    try await body()
    machine.plan.isArmed = wasArmed
    for (disk, content) in zip(disks, saved) { disk.restore(content) }
  }
}
