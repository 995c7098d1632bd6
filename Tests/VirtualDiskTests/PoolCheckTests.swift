import BlockDevice
import Reactor
import SimulatedPool
import Simulation
import Testing

@testable import Pool
@testable import VirtualDisk

/// A check says what is wrong with a pool's metadata, and nothing where nothing is.
@Suite struct PoolCheckTests {
  private static func errors(_ check: PoolCheck) -> [String] {
    (check.findings + check.disks.flatMap(\.findings)).filter { $0.severity == .error }.map(\.text)
  }

  @Test func aSoundPoolIsSound() throws {
    let models = ReadOnlyPoolTests.Models()
    let machine = try ReadOnlyPoolTests.closedPool(seed: 4, models)
    try ReadOnlyPoolTests.look(machine) { reactor in
      let opened = try await ReadOnlyPoolTests.open(machine, reactor, [0, 1, 2], models)
      let check = await opened.pool.check()
      #expect(Self.errors(check) == [] && check.isSound)
      #expect(check.disks.count == 3 && check.disks.allSatisfy { $0.isVoter && $0.findings.isEmpty })
      #expect(check.recordCounts["virtual disk"] == 2 || check.recordCounts.values.contains(2))
      try await opened.close()
    }
  }

  /// While clients write and checkpoints want to be written.
  @Test(arguments: UInt64(1)...2) func anOpenPoolIsCheckedBesideItsClients(seed: UInt64) throws {
    let models = ReadOnlyPoolTests.Models()
    let machine = DiskLossTests.machine(seed: seed, files: true)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disks = try await ReadOnlyPoolTests.create(pool, models)
      try await ReadOnlyPoolTests.fill(disks)
      let before = pool.store.statistics.checkpoints
      for round in 0..<6 {
        let clients = DiskLossTests.clients(disks[0], stack.reactor, seed: seed, stream: UInt64(round) * 10)
        let check = await pool.check()
        #expect(Self.errors(check) == [])
        for client in clients { try await client.value }
        try await disks[0].disk.clearDirtyRegions(evenTouched: true)
      }
      #expect(pool.store.statistics.checkpoints > before, "the clients' marks want checkpoints")
      // A disk that leaves is missed.
      machine.disks[2].vanish()
      await pool.lookAtDisks()
      let check = await pool.check()
      #expect(Self.errors(check).contains { $0.hasPrefix("Disk 3 of the pool is not there") })
      for disk in disks { _ = try? await disk.disk.close() }
      try await pool.close()
    }
  }

  @Test func damageIsFoundWhereItIs() throws {
    let models = ReadOnlyPoolTests.Models()
    let machine = try ReadOnlyPoolTests.closedPool(seed: 5, models)
    let reactor = machine.powerOn()
    try reactor.runToCompletion {
      let opened = try await ReadOnlyPoolTests.open(machine, reactor, [0, 1, 2], models)
      let layout = opened.pool.store.disks[0].layout
      // Every page of the second disk, and a superblock of the third.
      let area = Int(layout.pageOffset(layout.pageCount - 1, slot: 1) - layout.pageOffset(0, slot: 0))
      machine.disks[1].poke(at: layout.pageOffset(0, slot: 0), [UInt8](repeating: 0x55, count: area))
      machine.disks[2].poke(at: layout.superblockOffsets[0][1], [UInt8](repeating: 0x55, count: 512))
      let check = await opened.pool.check()
      #expect(!check.isSound)
      #expect(check.findings.isEmpty && check.disks[0].findings.isEmpty)
      #expect(check.disks[1].findings.contains { $0.text.hasPrefix("Page") })
      #expect(check.disks[2].findings.map(\.text).contains { $0.hasPrefix("The superblock copy at") })
      try await opened.close()
    }
  }

  /// Records that contradict each other, as only a program's fault can make them.
  @Test func contradictionsAreFoundAndReadAround() throws {
    let models = ReadOnlyPoolTests.Models()
    let machine = DiskLossTests.machine(seed: 6, files: true)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disks = try await ReadOnlyPoolTests.create(pool, models)
      try await ReadOnlyPoolTests.fill(disks)
      var rows: [(index: UInt64, id: RowID, slab: SlabAssignment)] = []
      try pool.forEachStoredRow(of: disks[0].disk.record.number) { rows.append(($0.index, $0.id, $0.slab(0))) }
      rows.sort { $0.index < $1.index }
      // Row 0 of the mirror is not there, and row 2 has a slab of row 1.
      guard var twin: RowRecord = try pool.store.value(for: RowRecord.key(rows[2].id)) else { throw Surprise("no row") }
      twin.slabs[0].disk = rows[1].slab.disk
      twin.slabs[0].number = rows[1].slab.slab
      twin.slabs[0].generation = rows[1].slab.generation
      try await pool.commit([.delete(RowRecord.key(rows[0].id)), .put(twin)])
      let errors = Self.errors(await pool.check())
      for part in ["which does not exist", "is used twice", "have the generation"] {
        #expect(errors.contains { $0.contains(part) }, "\(part)")
      }
      try await pool.close()
    }
    machine.cutPower()
    models.crashed()
    try ReadOnlyPoolTests.look(machine) { reactor in
      let opened = try await ReadOnlyPoolTests.open(machine, reactor, [0, 1, 2], models)
      let mirror = try #require(opened.disks["mirror"])
      // What has a copy that is surely its own is right; the row that cannot be found is not there.
      let lost = try await ReadOnlyPoolTests.readAll(mirror)
      let report = await mirror.disk.examineData()
      #expect(lost >= 1 << 20 && lost == report.lostByteCount)
      #expect(try await ReadOnlyPoolTests.readAll(try #require(opened.disks["simple"])) == 0)
      try await opened.close()
    }
  }
}
