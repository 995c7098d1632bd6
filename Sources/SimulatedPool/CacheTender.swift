import Pool
import Reactor
import Simulation

/// Who looks after the cache disks while the pool is used, as the server and the operator do: adds them, takes them back, takes them out.
/// None of that may fail a client's request, whatever state the cache disks are in.
final class CacheTender: @unchecked Sendable {  // reactor-confined
  private let powerOn: PowerOn
  private let pool: StoragePool
  private let stack: SimulatedStack
  private var random: SeededRandom

  init(_ powerOn: PowerOn, _ pool: StoragePool, _ stack: SimulatedStack, _ random: SeededRandom) {
    self.powerOn = powerOn
    self.pool = pool
    self.stack = stack
    self.random = random
  }

  private var scenario: Scenario { powerOn.scenario }

  func run() async {
    for _ in 0..<1 + random.below(6) {
      await tend()
      if powerOn.isOver { return }
      await pool.reactor.sleep(milliseconds: random.below(60))
    }
  }

  /// Once through all.
  func tend() async {
    for index in scenario.cacheDisks.indices where !powerOn.isOver {
      do throws(PoolError) { try await tend(index) } catch {
        // Damage may have befallen it, or the pool is closing; its metadata may be full.
        powerOn.note("cache disk \(index): \(error)")
      }
    }
  }

  private func tend(_ index: Int) async throws(PoolError) {
    let name = powerOn.machine.disks[index].options.name
    if let disk = pool.cache.disks.first(where: { $0.disk.label == name }) {
      if random.below(8) == 0 { try await takeOut(disk.number, index) }
      return
    }
    powerOn.machine.disks[index].reappear()
    await stack.close(index)
    if powerOn.isOver { return }
    guard let member = try? stack.open(index) else { return }  // it is still closing
    do throws(PoolError) { try await bring(member, index) } catch {
      await stack.close(index)
      throw error
    }
  }

  private func takeOut(_ number: DiskNumber, _ index: Int) async throws(PoolError) {
    powerOn.note("taking cache disk \(number) out")
    scenario.faults.offer(.cacheDiskRemoved)
    try await pool.retire(number)
    scenario.faults.fire(.cacheDiskRemoved)
    await stack.close(index)
  }

  private func bring(_ member: PoolMember, _ index: Int) async throws(PoolError) {
    let superblock = await StoragePool.superblock(of: member.device)
    if let superblock, pool.cache.absentNumbers.contains(superblock.diskNumber),
      pool.diskRecord(superblock.diskNumber)?.id == superblock.disk
    {
      powerOn.note("taking cache disk \(member.path) back")
      scenario.faults.offer(.cacheDiskReturns)
      do throws(PoolError) {
        _ = try await pool.takeBack(member.device)
        scenario.faults.fire(.cacheDiskReturns)
        return
      } catch {
        if powerOn.isOver { throw error }
        // From the past or damaged: given up, and added as a new one.
        try await pool.retire(superblock.diskNumber)
      }
    }
    powerOn.note("adding cache disk \(member.path)")
    _ = try await pool.addCacheDisk(member)
  }
}
