import BlockDevice
import PhysicalDisk
import Reactor
import SimulatedPool
import Simulation
import StorageBus
import Testing

@testable import Pool
@testable import VirtualDisk

/// Pools that are only read, from whatever disks there are: nothing is written, what can be proven good is given out, and nothing else.
@Suite struct ReadOnlyPoolTests {
  static let sectorCount = DiskLossTests.sectorCount

  struct Models: Sendable {
    let mirror = ShadowDisk(sectorCount: sectorCount)
    let simple = ShadowDisk(sectorCount: sectorCount)

    func crashed() { for shadow in [mirror, simple] { shadow.crashed() } }
  }

  /// A mirror of two copies over three disks, and a simple virtual disk striped over them.
  static func create(_ pool: StoragePool, _ models: Models) async throws -> [ShadowedDisk] {
    let plans = [
      VirtualDiskPlan(name: "mirror", byteCount: 4 << 20, copies: 2, columns: 1),
      VirtualDiskPlan(name: "simple", byteCount: 4 << 20, columns: 3),
    ]
    var disks: [ShadowedDisk] = []
    for (plan, shadow) in zip(plans, [models.mirror, models.simple]) {
      let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: UInt32(disks.count + 1)))
      disks.append(ShadowedDisk(disk: disk, shadow: shadow))
    }
    return disks
  }

  static func fill(_ disks: [ShadowedDisk]) async throws {
    for disk in disks {
      try await disk.write(0..<sectorCount)
      try await disk.flush()
    }
  }

  /// A machine whose pool was filled and closed in order.
  static func closedPool(seed: UInt64, _ models: Models) throws -> SimulatedMachine {
    let machine = DiskLossTests.machine(seed: seed, files: true)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disks = try await create(pool, models)
      try await fill(disks)
      for disk in disks { try await disk.disk.close() }
      try await pool.close()
    }
    machine.cutPower()
    models.crashed()
    return machine
  }

  /// What is open of a pool that is only read.
  struct Opened: Sendable {
    var pool: StoragePool
    var disks: [String: ShadowedDisk]
    var physical: [PhysicalDisk]

    func close() async throws {
      for disk in disks.values { try await disk.disk.close() }
      try await pool.close()
      for disk in physical { await disk.close() }
    }
  }

  static func open(
    _ machine: SimulatedMachine, _ reactor: SimulatedReactor, _ indices: [Int], _ models: Models, witness: WitnessedState? = nil
  ) async throws -> Opened {
    let physical = try indices.map { index in
      guard let port = machine.disks[index].open() else { throw Surprise("disk \(index) cannot be opened") }
      return PhysicalDisk(reactor: reactor, port: ReadOnlyPort(port))
    }
    do {
      let members = physical.map { PoolMember(device: BusDevice(disk: $0), path: $0.label) }
      let pool = try await StoragePool.openReadOnly(members, reactor: reactor, witness: witness)
      #expect(pool.isReadOnly)
      var disks: [String: ShadowedDisk] = [:]
      for (index, record) in try pool.virtualDiskRecords().enumerated() {
        let disk = try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: UInt32(index + 1)))
        #expect(disk.geometry.isReadOnly)
        disks[record.name] = ShadowedDisk(disk: disk, shadow: record.name == "simple" ? models.simple : models.mirror)
      }
      return Opened(pool: pool, disks: disks, physical: physical)
    } catch {
      for disk in physical { await disk.close() }
      throw error
    }
  }

  /// Runs `body` at a new power-on; what lies on the disks is the same afterwards.
  static func look(_ machine: SimulatedMachine, _ body: @escaping @Sendable (SimulatedReactor) async throws -> Void) throws {
    let reactor = machine.powerOn()
    func content() -> [Int] { machine.disks.map { disk in disk.peek(at: 0, byteCount: 8 << 20).hashValue } }
    let before = content()
    try reactor.runToCompletion { try await body(reactor) }
    #expect(content() == before, "something was written")
    machine.cutPower()
  }

  /// Reads everything in pieces of `step` sectors, every one right or EIO. Returns the bytes that could not be read.
  @discardableResult
  static func readAll(_ disk: ShadowedDisk, step: UInt64 = 128, first: UInt64 = 0) async throws -> UInt64 {
    var unreadable: UInt64 = 0
    var position = first
    while position < sectorCount {
      let end = min(sectorCount, position + step)
      do { try await disk.check(position..<end) } catch let error as BlockError {
        #expect(error.cause == .ioFailed)
        unreadable += (end - position) * 512
      }
      position = end
    }
    return unreadable
  }

  // MARK: Pools that were closed in order

  @Test func aWholePoolIsReadAndRefusesChanges() throws {
    let models = Models()
    let machine = try Self.closedPool(seed: 1, models)
    try Self.look(machine) { reactor in
      let opened = try await Self.open(machine, reactor, [2, 0, 1], models)
      #expect(opened.pool.reading?.isComplete == true)
      opened.pool.startHousekeeping()
      for disk in opened.disks.values {
        #expect(try await Self.readAll(disk) == 0)
        var whole = DataReport()
        whole.wholeByteCount = 4 << 20
        #expect(await disk.disk.examineData() == whole)
        await #expect(throws: BlockError(.readOnly)) { try await disk.disk.discard(at: 0, byteCount: 65536, IORequest()) }
        await #expect(throws: BlockError(.readOnly)) { try await disk.disk.writeZeroes(at: 0, byteCount: 65536, IORequest()) }
        try await disk.disk.flush(IORequest())
      }
      await #expect(throws: BlockError(.readOnly)) { try await opened.disks["mirror"]?.write(0..<8) }
      await #expect(throws: BlockError.self) { try await opened.pool.commit([.delete(DiskRecord.key(DiskNumber(1)))]) }
      await #expect(throws: PoolError.self) { try await opened.pool.retire(DiskNumber(1)) }
      await reactor.sleep(milliseconds: 60_000)
      try await opened.close()
    }
  }

  /// Any of the disks, down to one of three: the mirror is there as long as one of two copies is, of the simple one what lies on them.
  @Test(arguments: Subsets.ofThree) func tooFewDisksGiveOutWhatTheyHave(indices: [Int]) throws {
    let models = Models()
    let machine = try Self.closedPool(seed: 2, models)
    try Self.look(machine) { reactor in
      let opened = try await Self.open(machine, reactor, indices, models)
      let reading = try #require(opened.pool.reading)
      #expect(reading.presentVoterCount == indices.count && reading.missing.count == 3 - indices.count)
      #expect(reading.isProvenNewest == (indices.count > 1))
      for (name, disk) in opened.disks {
        let report = await disk.disk.examineData()
        #expect(report.writtenByteCount == 4 << 20)
        #expect(report.unprovenByteCount == 0)
        // One interleave at most at a time, so that a request concerns one disk.
        #expect(try await Self.readAll(disk) == report.lostByteCount)
        if indices.count == 3 { #expect(report.wholeByteCount == 4 << 20) }
        if name == "mirror" && indices.count == 2 { #expect(report.lostByteCount == 0 && report.degradedByteCount > 0) }
        if name == "simple" || indices.count == 1 { #expect((report.lostByteCount > 0) == (indices.count < 3)) }
      }
      try await opened.close()
    }
  }

  enum Subsets { static let ofThree = [[0], [1], [2], [0, 1], [2, 0], [1, 2], [2, 1, 0]] }

  // MARK: Crashes

  /// After a crash copies may differ: however it is asked, a read never changes its mind; it is said where that may be.
  @Test(arguments: UInt64(1)...3) func afterACrashOneCopySpeaks(seed: UInt64) throws {
    let models = Models()
    let machine = DiskLossTests.machine(seed: seed, files: seed % 2 == 0)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disks = try await Self.create(pool, models)
      try await Self.fill(disks)
      let tasks = (0..<3).map { client in
        Task(executorPreference: stack.reactor) {
          for round in 0..<20 {
            let first = UInt64(round * 331 + client * 97) % (Self.sectorCount - 300)
            try await disks[0].write(first..<first + 300)
          }
        }
      }
      while disks[0].disk.dirtyRegionCount < 10 { await stack.reactor.sleep(milliseconds: 0) }
      await stack.reactor.sleep(milliseconds: 3)
      machine.cutPower()
      for task in tasks { _ = try? await task.value }
    }
    models.crashed()
    for indices in [[0, 1, 2], [1, 2], [2, 0], [1]] {
      let seen = models
      try Self.look(machine) { reactor in
        let opened = try await Self.open(machine, reactor, indices, seen)
        let disk = try #require(opened.disks["mirror"])
        let report = await disk.disk.examineData()
        if indices.count == 3 {
          #expect(report.unprovenByteCount > 0 && report.lostByteCount == 0)
          // The model keeps to what was read first.
          try await Self.readAll(disk, step: 1024)
          try await Self.readAll(disk, step: 7, first: Self.sectorCount / 2)
          try await Self.readAll(disk, step: 128, first: 64)
        } else {
          // Another choice of copies: it need not agree with the one above, but with itself.
          var contents: [[UInt8]] = []
          for step in [8, 128, 1024] { contents.append(await Self.bytes(of: disk.disk, step: step)) }
          #expect(contents[0] == contents[1])
          // Larger requests fail as a whole where one part cannot be read.
          if report.lostByteCount == 0 { #expect(contents[1] == contents[2]) }
        }
        try await opened.close()
      }
    }
  }

  /// What a virtual disk holds; 0xee where it cannot be read.
  static func bytes(of disk: VirtualDisk, step: Int) async -> [UInt8] {
    var content: [UInt8] = []
    let slice = await disk.reactor.buffers.acquire(byteCount: step * 512)
    defer { disk.reactor.buffers.release(slice.buffer) }
    for first in stride(from: 0, to: Int(sectorCount), by: step) {
      do throws(BlockError) {
        try await disk.read(at: UInt64(first) * 512, into: slice, IORequest())
        content += slice.bytes
      } catch { content += repeatElement(0xee, count: step * 512) }
    }
    return content
  }

  // MARK: Disks that were left behind

  /// A disk that was evicted lacks what was written without it: there it is no source, elsewhere it is.
  @Test(arguments: 0..<3, UInt64(1)...2) func whatAnEvictedDiskLacksIsNotReadFromIt(evicted: Int, seed: UInt64) throws {
    let models = Models()
    let machine = DiskLossTests.machine(seed: seed, files: true)
    let stack = try DiskLossTests.Stack(machine)
    try stack.reactor.runToCompletion {
      let pool = try await stack.createPool()
      let disks = try await Self.create(pool, models)
      try await Self.fill(disks)
      try await disks[0].disk.clearDirtyRegions(evenTouched: true)
      machine.disks[evicted].vanish()
      await pool.lookAtDisks()
      #expect(pool.absentDiskNumbers.map(\.value) == [UInt32(evicted + 1)])
      // A quarter of each MiB.
      for row in 0..<UInt64(4) { try await disks[0].write(row * 2048 + 512..<row * 2048 + 1024) }
      try await disks[0].flush()
      for disk in disks { _ = try? await disk.disk.close() }
      try await pool.close()
    }
    machine.cutPower()
    models.crashed()
    machine.disks[evicted].reappear()
    let others = [0, 1, 2].filter { $0 != evicted }
    try Self.look(machine) { reactor in
      // With one of the others, which is the newest epoch's.
      var salvaged: UInt64 = 0
      for other in others {
        let opened = try await Self.open(machine, reactor, [evicted, other], models)
        #expect(opened.pool.disks.count == 2)
        let disk = try #require(opened.disks["mirror"])
        let report = await disk.disk.examineData()
        #expect(try await Self.readAll(disk) == report.lostByteCount)
        #expect(report.lostByteCount % (256 << 10) == 0 && report.lostByteCount <= 1 << 20)
        salvaged += report.lostByteCount
        try await opened.close()
        // Without it more is lost.
        let alone = try await Self.open(machine, reactor, [other], models)
        let less = try #require(alone.disks["mirror"])
        #expect(try await Self.readAll(less) >= report.lostByteCount)
        try await alone.close()
      }
      #expect(salvaged > 0, "some row has a copy on the evicted disk and one on a missing one")
    }
    // Alone it knows no better than what it was: that is said, and with the witness that the pool went on.
    try Self.look(machine) { reactor in
      let port = try #require(machine.disks[3].open())
      let witness = Witness(device: PhysicalDisk(reactor: reactor, port: port))
      let fresh = Models()
      let superblock = try #require(await MetadataStore.probe(try Self.device(machine, reactor, others[0])).newest)
      let state = try await witness.read(pool: superblock.pool).state
      let opened = try await Self.open(machine, reactor, [evicted], fresh, witness: state)
      let reading = try #require(opened.pool.reading)
      #expect(!reading.isProvenNewest)
      #expect(reading.sentences.contains { $0.contains("The witness knows epoch") })
      try await opened.close()
    }
  }

  private static func device(_ machine: SimulatedMachine, _ reactor: SimulatedReactor, _ index: Int) throws -> BlockDevice {
    guard let port = machine.disks[index].open() else { throw Surprise("disk \(index) cannot be opened") }
    return PhysicalDisk(reactor: reactor, port: port)
  }

  // MARK: Disks that get worse

  /// A copy that cannot be read is answered from another, and nothing is repaired; a disk that hangs is read no more.
  @Test(arguments: [Fault.ioError, .hang]) func aBadDiskIsPassedBy(fault: Fault) throws {
    let models = Models()
    let machine = try Self.closedPool(seed: 3, models)
    try Self.look(machine) { reactor in
      let opened = try await Self.open(machine, reactor, [0, 1, 2], models)
      opened.pool.startHousekeeping()
      // A disk that holds a last copy is waited for.
      try await opened.disks["simple"]?.disk.close()
      machine.plan.add(FaultRule(fault, .always, disk: 1, operations: [.read]))
      let disk = try #require(opened.disks["mirror"])
      #expect(try await Self.readAll(disk) == 0)
      machine.plan.rules.removeAll()
      machine.disks[1].releaseHung()
      #expect(opened.pool.usableDisk(DiskNumber(2)) == nil || fault == .ioError)
      try await disk.disk.close()
      try await opened.pool.close()
      for disk in opened.physical where !disk.isAbandoned { await disk.close() }
    }
  }
}
