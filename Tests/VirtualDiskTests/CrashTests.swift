import BlockDevice
import Pool
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import VirtualDisk

/// The power is cut at every write of a short workload, on disks that forget what was not flushed and tear the rest; the pool is opened
/// again and checked against a model.
@Suite struct CrashTests {
  /// What a workload and its verification share.
  final class State: @unchecked Sendable {  // one thread at a time: who runs the reactor
    let kept: ShadowDisk
    /// Virtual disks that are there for certain, or may be.
    var mustExist: Set<String> = []
    var mayExist: Set<String> = []

    init(sectorByteCount: Int) { kept = ShadowDisk(sectorCount: (6 << 20) / UInt64(sectorByteCount), sectorByteCount: sectorByteCount) }
  }

  enum Medium: CaseIterable, Sendable {
    /// Files: zeroing is cheap, so new rows have all their presence bits.
    case files
    /// Block devices full of old data that cannot zero: every chunk's first write matters.
    case garbage
  }

  private static func prepare(_ machine: SimulatedMachine, _ medium: Medium, sectorByteCount: Int) -> State {
    for index in 0..<3 {
      var options =
        medium == .files
        ? SimulatedDiskOptions.file("disk\(index)", byteCount: 64 << 20)
        : SimulatedDiskOptions.blockDevice("disk\(index)", byteCount: 64 << 20)
      if medium == .garbage { options.startsWithGarbage = true }
      options.ioAlignment = 512
      options.atomicUnit = 512
      machine.addDisk(options)
    }
    machine.plan.isArmed = false
    return State(sectorByteCount: sectorByteCount)
  }

  @Test(arguments: Medium.allCases, [UInt64(1), 2]) func nothingFlushedIsLostAtAnyWrite(medium: Medium, seed: UInt64) throws {
    let report = try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(secondCrashEvery: 5),
      prepare: { CrashTests.prepare($0, medium, sectorByteCount: 512) },
      workload: { machine, state in
        let stack = try SimulatedStack(machine)
        let pool = try await stack.createPool()
        machine.plan.isArmed = true
        try await CrashTests.work(stack, pool, state)
      },
      verify: { machine, state in
        state.kept.crashed()
        let stack = try SimulatedStack(machine, reversed: true)
        let pool = try await stack.openPool()
        let disks = try await stack.openVirtualDisks(pool)
        for name in state.mustExist where disks[name] == nil { throw Surprise("the virtual disk \(name) is gone") }
        // "fresh" is left where the checking itself was cut short.
        for name in disks.keys where !state.mayExist.contains(name) && name != "fresh" {
          throw Surprise("the virtual disk \(name) is there again")
        }
        if let kept = disks["kept"] { try await ShadowedDisk(disk: kept, shadow: state.kept).checkAll() }
        try await disks["fresh"]?.delete()
        try await CrashTests.checkFresh(pool)
        try await stack.close(pool, disks.values.filter { $0.name != "fresh" })
      })
    #expect(report.pointCount > 50, "\(report)")
    #expect(report.abandonedCount == 0, "\(report)")
  }

  /// Creates, writes, trims, zeroes, flushes, deletes.
  private static func work(_ stack: SimulatedStack, _ pool: StoragePool, _ state: State) async throws {
    state.mayExist.insert("kept")
    let plan = VirtualDiskPlan(name: "kept", byteCount: 6 << 20, columns: 2, interleave: 64 << 10)
    let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
    state.mustExist.insert("kept")
    let kept = ShadowedDisk(disk: disk, shadow: state.kept)
    try await kept.write(0..<8)
    try await kept.write(100..<300)
    try await kept.flush()
    try await kept.write(4..<12)
    try await kept.write(4090..<4110)
    try await kept.trim(120..<140)

    state.mayExist.insert("second")
    let other = try await VirtualDisk.create(
      VirtualDiskPlan(name: "second", byteCount: 3 << 20, provisioning: .fixed, columns: 3), in: pool, handle: VirtualDiskHandle(number: 2))
    state.mustExist.insert("second")
    let scratch = ShadowedDisk(disk: other, shadow: ShadowDisk(sectorCount: (3 << 20) / 512))
    try await scratch.write(0..<64)
    try await scratch.flush()

    try await kept.write(8192..<8200, durable: true)
    try await kept.trim(0..<4096)
    try await kept.write(16..<24)
    try await kept.flush()
    state.mustExist.remove("second")
    try await other.delete()
    state.mayExist.remove("second")
    // On the slabs that were just freed.
    try await kept.write(8000..<8300)
    try await kept.trim(8100..<8150, zeroes: true, flags: [.keepAllocated, .forceUnitAccess])
    try await kept.trim(8192..<12288)
    try await kept.write(10000..<10008, durable: true)
    try await kept.flush()
    try await stack.close(pool, [disk])
  }

  /// A new virtual disk on whatever slabs are free shows none of what lay there.
  private static func checkFresh(_ pool: StoragePool) async throws {
    let plan = VirtualDiskPlan(name: "fresh", byteCount: 4 << 20, columns: 2)
    let fresh = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 99))
    let shadowed = ShadowedDisk(disk: fresh, shadow: ShadowDisk(sectorCount: (4 << 20) / 512))
    try await shadowed.checkAll()
    try await shadowed.write(1000..<1001)
    try await shadowed.write(5000..<5003)
    try await shadowed.checkAll()
    try await fresh.delete()
  }
}
