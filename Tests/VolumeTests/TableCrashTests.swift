import BlockDevice
import PartitionTable
import PhysicalDisk
import Reactor
import Simulation
import Testing
import Volume

/// The power goes at every write of a change to a partition table.
@Suite struct TableCrashTests {
  private final class State: @unchecked Sendable {  // of one machine, which one thread uses at a time
    /// The tables as they were at the beginning, and after each change.
    var tables: [GPT] = []
    /// The change that was begun last, and the last that was answered.
    var begun = 0
    var answered = 0
  }

  private static let mebibyte: UInt64 = 1 << 20

  private static func prepare(_ machine: SimulatedMachine, sector: Int) -> State {
    var options = SimulatedDiskOptions.file("disk", byteCount: 64 * mebibyte)
    options.ioAlignment = sector
    machine.addDisk(options)
    machine.plan.isArmed = false
    return State()
  }

  private static func open(_ machine: SimulatedMachine) throws -> PhysicalDisk {
    guard let reactor = machine.reactor, let port = machine.disks[0].open() else { throw Surprise("the disk cannot be opened") }
    return PhysicalDisk(reactor: reactor, port: port)
  }

  /// Everything that the tool does to a table, one after the other.
  private static let changes: [@Sendable (inout GPT) throws -> Void] = [
    { try $0.addPartition(type: .linux, uniqueGUID: GUID(high: 1, low: 1), size: .bytes(8 * mebibyte), name: "one") },
    { try $0.addPartition(type: .linux, uniqueGUID: GUID(high: 2, low: 1), size: .percentOfDisk(50), name: "two") },
    { try $0.removePartitions(numbers: [1]) },
    { try $0.resizePartition(number: 2, to: .largestFree) },
    { try $0.addPartition(type: .linuxSwap, uniqueGUID: GUID(high: 3, low: 1), size: .largestFree, number: 128) },
  ]

  private func sweep(sector: Int, flushes: Bool, seed: UInt64) throws -> CrashSweepReport {
    try crashAtEveryWrite(
      seed: seed, options: CrashSweepOptions(variantsPerPoint: 3), prepare: { Self.prepare($0, sector: sector) },
      workload: { machine, state in
        let disk = try Self.open(machine)
        var table = try GPT(
          diskGUID: GUID(high: 9, low: 9), diskByteCount: 64 * Self.mebibyte, sectorSize: SectorSize(rawValue: sector) ?? .bytes512)
        state.tables = [table]
        try await PartitionTableIO.write(try table.encodeSteps(protectiveMBR: .fresh), to: disk, IORequest())
        machine.plan.isArmed = true
        for (index, change) in Self.changes.enumerated() {
          try change(&table)
          state.tables.append(table)
          state.begun = index + 1
          let steps = try table.encodeSteps(protectiveMBR: .untouched)
          // Without the flush between the copies both may be torn at the same time.
          try await PartitionTableIO.write(flushes ? steps : [Array(steps.joined())], to: disk, IORequest())
          state.answered = index + 1
        }
      },
      verify: { machine, state in
        let disk = try Self.open(machine)
        let scan = await PartitionTableIO.scan(disk, IORequest())
        guard let found = scan.gpt else { throw Surprise("no table: \(scan.findings)") }
        guard state.tables[state.answered...state.begun].contains(found) else {
          throw Surprise("change \(state.answered) of \(state.begun) was answered, found \(found.partitions)")
        }
        // And a repair makes both copies whole.
        try await PartitionTableIO.write(try scan.repair().steps, to: disk, IORequest())
        let repaired = await PartitionTableIO.scan(disk, IORequest())
        guard repaired.findings.isEmpty, repaired.gpt == found else { throw Surprise("after the repair: \(repaired.findings)") }
      })
  }

  @Test(arguments: [512, 4096]) func theOldOrTheNewTableIsThereAfterEveryCrash(sector: Int) throws {
    for seed in 1...4 as ClosedRange<UInt64> {
      let report = try sweep(sector: sector, flushes: true, seed: seed)
      #expect(report.pointCount >= 20 && report.runCount >= 60, "\(report)")
    }
  }

  /// Shows that the sweep would find it.
  @Test func withoutTheFlushBetweenTheCopiesTheTableIsLost() {
    var found = 0
    for seed in 1...24 as ClosedRange<UInt64> {
      do { _ = try sweep(sector: 512, flushes: false, seed: seed) } catch { found += 1 }
    }
    #expect(found >= 3, "found with \(found) of 24 seeds")
  }
}

private struct Surprise: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
