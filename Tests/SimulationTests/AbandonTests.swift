import BlockDevice
import CLinux
import PhysicalDisk
import Reactor
import Simulation
import Testing

/// Disks that stall or hang and are given up, through PhysicalDisk over simulated disks.
@Suite struct AbandonTests {
  /// How requests ended that run beside the test, and when.
  private final class Outcomes: @unchecked Sendable {  // reactor-confined
    var errors: [BlockError?] = []
    var last = Instant(nanoseconds: 0)

    func start(_ reactor: any Reactor, _ body: @escaping @Sendable () async throws(BlockError) -> Void) {
      reactor.spawn { [self] in
        var failure: BlockError?
        do throws(BlockError) { try await body() } catch { failure = error }
        errors.append(failure)
        last = reactor.now
      }
    }
  }

  private static func write(_ fill: Fill, at sector: UInt64, to disk: PhysicalDisk, _ flags: IOFlags = []) async throws(BlockError) {
    let slice = await disk.reactor.buffers.acquire(byteCount: 4096)
    fill.write(to: slice.bytes, firstSector: sector)
    defer { disk.reactor.buffers.release(slice.buffer) }
    try await disk.write(at: sector * 512, from: slice, IORequest(flags: flags))
  }

  private static func opened(_ machine: SimulatedMachine) throws -> (reactor: SimulatedReactor, disk: PhysicalDisk) {
    let reactor = try machine.present()
    return (reactor, PhysicalDisk(reactor: reactor, port: try machine.openDisk(0)))
  }

  @Test func everyKindOfRequestIsSentAwayAtOnceAndLaterOnesToo() throws {
    let machine = machineWithOneDisk(
      seed: 3, plan: [FaultRule(.hang, .always, operations: [.read, .write, .durableWrite, .flush, .punch, .zero])])
    let (reactor, disk) = try AbandonTests.opened(machine)
    try reactor.runToCompletion {
      let outcomes = Outcomes()
      #expect(disk.oldestRequestAge(now: reactor.now) == 0 && disk.hasDrained)
      outcomes.start(reactor) { () async throws(BlockError) in try await AbandonTests.write(Fill(1), at: 0, to: disk) }
      outcomes.start(reactor) { () async throws(BlockError) in try await AbandonTests.write(Fill(2), at: 8, to: disk, .forceUnitAccess) }
      outcomes.start(reactor) { () async throws(BlockError) in try await disk.writeZeroes(at: 8192, byteCount: 4096, IORequest()) }
      outcomes.start(reactor) { () async throws(BlockError) in try await disk.discard(at: 16384, byteCount: 4096, IORequest()) }
      outcomes.start(reactor) { () async throws(BlockError) in
        let slice = await reactor.buffers.acquire(byteCount: 4096)
        defer { reactor.buffers.release(slice.buffer) }
        try await disk.read(at: 32768, into: slice, IORequest())
      }
      // One leads a disk flush, two wait behind the gate for the next.
      for _ in 0..<3 { outcomes.start(reactor) { () async throws(BlockError) in try await disk.flush(IORequest()) } }
      await reactor.sleep(milliseconds: 12_000)
      #expect(outcomes.errors.isEmpty)
      let age = disk.oldestRequestAge(now: reactor.now)
      #expect(age > 11_900_000_000 && age <= 12_000_000_000)
      let given = reactor.now
      disk.abandon()
      disk.abandon()
      await reactor.sleep(milliseconds: 1)
      #expect(outcomes.errors == [BlockError?](repeating: BlockError(.stalled), count: 8))
      #expect(outcomes.last == given, "not a nanosecond later")
      #expect(disk.oldestRequestAge(now: reactor.now) == 0 && !disk.hasDrained && disk.port.hungCount == 6)
      #expect(disk.ailment == "it did not answer for 11.9 s and was given up" || disk.ailment?.contains("12.0 s") == true)
      #expect(reactor.buffers.heldCount == 3, "two writes and a read are still the disk's")
      await #expect(throws: BlockError(.stalled)) { try await AbandonTests.write(Fill(1), at: 0, to: disk) }
      await #expect(throws: BlockError(.stalled)) { try await disk.flush(IORequest()) }
      await #expect(throws: BlockError(.stalled)) { try await disk.discard(at: 0, byteCount: 4096, IORequest()) }
      await #expect(throws: BlockError(.stalled)) { try await disk.writeZeroes(at: 0, byteCount: 4096, IORequest()) }
      await #expect(throws: BlockError(.stalled)) { try await disk.checkIntegrity() }
      #expect(disk.port.hungCount == 6, "nothing more was sent")
      machine.disks[0].releaseHung()
      await disk.drained()
      #expect(disk.hasDrained && reactor.buffers.heldCount == 0)
      #expect(await disk.close() == .closed)
    }
    #expect(machine.disks[0].peekFills(sectors: 0..<1) == [Fill(1)] && machine.disks[0].peekFills(sectors: 8..<9) == [Fill(2)])
    #expect(machine.coverage[.callerSentAway] == 6 && machine.coverage[.diskAbandoned] == 1)
    #expect(machine.coverage[.abandonedWriteLanded] == 5 && machine.coverage[.abandonedReadLanded] == 1)
  }

  /// Minutes later, and with what its memory holds then: which is what it was, because nobody else was given that buffer.
  @Test func aStalledWriteLandsMinutesLaterAndItsBufferIsNobodyElses() throws {
    let machine = machineWithOneDisk(seed: 4, plan: [FaultRule(.stall(seconds: 180...180), .atMatch(1), operations: [.write])])
    let (reactor, disk) = try AbandonTests.opened(machine)
    try reactor.runToCompletion {
      let outcomes = Outcomes()
      outcomes.start(reactor) { () async throws(BlockError) in try await AbandonTests.write(Fill(7), at: 0, to: disk) }
      await reactor.sleep(milliseconds: 10_000)
      disk.abandon()
      await reactor.sleep(milliseconds: 0)
      #expect(outcomes.errors == [BlockError(.stalled)])
      // Whoever takes buffers now scribbles over all there are.
      var taken: [BufferSlice] = []
      while taken.count < 200, let slice = reactor.buffers.tryAcquire(byteCount: 4096) {
        memset(slice.start, 0xAA, slice.byteCount)
        taken.append(slice)
      }
      for slice in taken { reactor.buffers.release(slice.buffer) }
      #expect(await disk.close() == .whenDrained)
      #expect(machine.disks[0].open() == nil, "it is still claimed")
      #expect(machine.disks[0].peekFills(sectors: 0..<1) == [.zeros])
      let waited = reactor.now
      await disk.drained()
      #expect(reactor.now.nanoseconds(since: waited) > 169_000_000_000)
      await reactor.sleep(milliseconds: 100)
      #expect(machine.disks[0].peekFills(sectors: 0..<1) == [Fill(7)])
      #expect(reactor.buffers.heldCount == 0)
    }
    #expect(machine.disks[0].open() != nil, "the claim was given up in the background")
  }

  /// What the planted bug looks like: the buffer of a hung write is used again.
  @Test func aReusedBufferShowsAsWrongDataAndAsAViolation() throws {
    for operation in [DiskOperation.write, .read] {
      let machine = machineWithOneDisk(seed: 5, plan: [FaultRule(.stall(seconds: 60...90), .atMatch(1), operations: [operation])])
      let (reactor, disk) = try AbandonTests.opened(machine)
      machine.disks[0].poke(at: 0, [UInt8](repeating: 0x11, count: 4096))
      let kept = Recorder<BufferSlice>()
      let error = #expect(throws: SimulationError.self) {
        try reactor.runToCompletion {
          let outcomes = Outcomes()
          let slice = await reactor.buffers.acquire(byteCount: 4096)
          kept.values = [slice]
          memset(slice.start, 0x22, 4096)
          outcomes.start(reactor) { () async throws(BlockError) in
            if operation == .read {
              try await disk.read(at: 0, into: slice, IORequest())
            } else {
              try await disk.write(at: 0, from: slice, IORequest())
            }
          }
          await reactor.sleep(milliseconds: 10_000)
          disk.abandon()
          memset(slice.start, 0x33, 4096)
          await disk.drained()
        }
      }
      #expect(error?.cause == .violation && error?.description.contains("changed while it was in flight") == true)
      if operation == .write {
        #expect(machine.disks[0].peek(at: 0, byteCount: 1) == [0x33], "what it held when it landed")
      } else {
        #expect(kept.values[0].bytes.allSatisfy { $0 == 0x11 }, "the late read overwrote what the next user had there")
      }
    }
  }

  @Test func closingDoesNotWaitForADiskThatIsGivenUpMeanwhile() throws {
    let machine = machineWithOneDisk(seed: 6, plan: [FaultRule(.hang, .atMatch(1), operations: [.write])])
    let (reactor, disk) = try AbandonTests.opened(machine)
    try reactor.runToCompletion {
      let outcomes = Outcomes()
      outcomes.start(reactor) { () async throws(BlockError) in try await AbandonTests.write(Fill(1), at: 0, to: disk) }
      await reactor.sleep(milliseconds: 10)
      let closing = Recorder<DiskClosing>()
      let task = reactor.spawn { closing.values.append(await disk.close()) }
      await reactor.sleep(milliseconds: 10_000)
      #expect(closing.values.isEmpty)
      disk.abandon()
      await task.value
      #expect(closing.values == [.whenDrained] && outcomes.errors == [BlockError(.stalled)])
      machine.disks[0].releaseHung()
      await disk.drained()
      await reactor.sleep(milliseconds: 100)
      #expect(await disk.close() == .closed)
    }
    #expect(machine.disks[0].open() != nil)
  }

  /// A retry that sleeps between two tries learns of it when it wakes; a long zeroing writes no further piece.
  @Test func retriesAndLongZeroingsEnd() throws {
    let machine = machineWithOneDisk(
      seed: 7,
      plan: [FaultRule(.ioError, .always, operations: [.read]), FaultRule(.stall(seconds: 20...20), .atMatch(1), operations: [.write])]
    ) {
      $0.supportsZero = false
      $0.byteCount = 8 << 20
    }
    let (reactor, disk) = try AbandonTests.opened(machine)
    try reactor.runToCompletion {
      let outcomes = Outcomes()
      outcomes.start(reactor) { () async throws(BlockError) in try await disk.writeZeroes(at: 0, byteCount: 8 << 20, IORequest()) }
      outcomes.start(reactor) { () async throws(BlockError) in
        let slice = await reactor.buffers.acquire(byteCount: 4096)
        defer { reactor.buffers.release(slice.buffer) }
        try await disk.read(at: 0, into: slice, IORequest())
      }
      await reactor.sleep(milliseconds: 5)
      let given = reactor.now
      disk.abandon()
      await reactor.sleep(milliseconds: 200)
      #expect(outcomes.errors == [BlockError(.stalled), BlockError(.stalled)])
      #expect(outcomes.last.nanoseconds(since: given) <= 100_000_000)
      await disk.drained()
      await reactor.sleep(milliseconds: 60_000)
    }
    #expect(machine.coverage[.write] == 1, "of eight pieces one was sent")
  }

  /// Any moment, any mix: nobody waits for ever, every buffer comes back, nothing is sent after `abandon`, and the run can be repeated.
  @Test func atAnyMoment() throws {
    var coverage = Coverage()
    for seed in 0..<60 as Range<UInt64> {
      let digests = try (0..<2).map { _ in try AbandonTests.randomRun(seed, &coverage) }
      #expect(digests[0] == digests[1], "seed \(seed)")
    }
    let wanted: [CoverageEvent] = [
      .diskAbandoned, .callerSentAway, .abandonedWriteLanded, .abandonedReadLanded, .stall, .diskVanished, .powerCut,
    ]
    for event in wanted { #expect(coverage[event] > 0, "\(event) never happened") }
  }

  private static func randomRun(_ seed: UInt64, _ coverage: inout Coverage) throws -> TraceDigest {
    let machine = machineWithOneDisk(
      seed: seed,
      plan: [
        FaultRule(.stall(seconds: 1...300), .perMillion(30_000)), FaultRule(.ioError, .perMillion(20_000)),
        FaultRule(.diskVanishes, .perMillion(seed % 3 == 0 ? 5_000 : 0)),
      ])
    let (reactor, disk) = try AbandonTests.opened(machine)
    try reactor.runToCompletion {
      var random = SeededRandom(seed: seed, stream: 50)
      let outcomes = Outcomes()
      for client in 0..<8 as Range<UInt64> {
        let stream = random.next()
        outcomes.start(reactor) { () async throws(BlockError) in
          var random = SeededRandom(seed: stream, stream: client)
          while true { try await AbandonTests.step(disk, client, &random) }
        }
      }
      await reactor.sleep(milliseconds: random.below(200))
      disk.abandon()
      await reactor.sleep(milliseconds: 100)
      guard outcomes.errors.count == 8 else { throw Surprise("\(outcomes.errors.count) of 8 clients have ended") }
      if random.below(4) == 0 { machine.disks[0].losePowerAlone() }
      let closing = await disk.close()
      if (closing == .closed) != disk.hasDrained { throw Surprise("closed says \(closing)") }
      await disk.drained()
      await reactor.sleep(milliseconds: 1000)
      if reactor.buffers.heldCount != 0 { throw Surprise("\(reactor.buffers.heldCount) buffers are held by nobody") }
    }
    machine.cutPower()
    coverage.add(machine.coverage)
    return machine.digest
  }

  /// One request; ends the client only when the disk was given up.
  private static func step(_ disk: PhysicalDisk, _ client: UInt64, _ random: inout SeededRandom) async throws(BlockError) {
    let offset = (random.below(32) * 8 + client) * 4096
    do throws(BlockError) {
      switch random.below(6) {
      case 0, 1: try await write(Fill(random.next()), at: offset / 512, to: disk, random.coin() ? .forceUnitAccess : [])
      case 2:
        let slice = await disk.reactor.buffers.acquire(byteCount: 4096)
        defer { disk.reactor.buffers.release(slice.buffer) }
        try await disk.read(at: offset, into: slice, IORequest())
      case 3: try await disk.flush(IORequest())
      case 4: try await disk.discard(at: offset, byteCount: 4096, IORequest())
      default: try await disk.writeZeroes(at: offset, byteCount: 4096, IORequest())
      }
    } catch {
      if error.cause == .stalled { throw error }
      await disk.reactor.sleep(milliseconds: 1)
    }
  }
}
