import PartitionTable
import Testing

@Suite("Repair, and which tables may be changed")
struct RepairTests {
  private func apply(_ plan: PartitionTableRepair, to disk: inout TestDisk) { for step in plan.steps { disk.write(step) } }

  @Test("either copy is made anew from the other, and only that one is written", arguments: SectorSize.allCases)
  func eitherCopy(sectorSize: SectorSize) throws {
    let table = try GPTScanTests.sample(sectorSize)
    let unit = UInt64(sectorSize.byteCount)
    for copy in [GPTCopy.primary, .backup] {
      let header = copy == .primary ? unit : table.backupHeaderLBA.value * unit
      let entries = copy == .primary ? 2 * unit : table.backupEntriesLBA.value * unit
      for offset in [header, header + 50, entries + 40] {
        var disk = try TestDisk(table)
        disk.patch(offset, [0xA5])
        #expect(throws: PartitionTableRefusal.self) { try disk.scan().editableTable() }
        let plan = try disk.scan().repair()
        #expect(plan.steps.count == 1 && plan.steps.joined().allSatisfy { $0.copy == copy } && plan.actions.count == 1, "\(plan.actions)")
        #expect(plan.actions[0].contains("write the \(copy) GPT"))
        apply(plan, to: &disk)
        #expect(disk.scan().findings.isEmpty && disk.scan().gpt == table)
        #expect(try disk.scan().editableTable() == table)
        #expect(try disk.scan().repair().steps.isEmpty)
      }
    }
  }

  @Test("copies that differ are made like the primary, or like the backup on request")
  func copiesDiffer() throws {
    let old = try GPTScanTests.sample()
    var new = old
    try new.removePartitions(numbers: [1])
    for source in [GPTCopy.primary, .backup] {
      var disk = try TestDisk(old)
      disk.write(try new.encode().filter { $0.copy == .primary })
      let plan = try disk.scan().repair(from: source)
      #expect(plan.table == (source == .primary ? new : old))
      apply(plan, to: &disk)
      #expect(disk.scan().findings.isEmpty && disk.scan().gpt == plan.table)
    }
  }

  @Test("a grown disk gets its backup at the end, first the new backup and then the primary that names it")
  func grown() throws {
    for isBackupLost in [false, true] {
      let table = try GPTScanTests.sample()
      var disk = try TestDisk(table)
      disk.byteCount += 10 * mebibyte
      if isBackupLost { disk.patch(table.backupHeaderLBA.value * 512, [UInt8](repeating: 0, count: 512)) }
      let plan = try disk.scan().repair()
      #expect(plan.steps.map { $0.first?.copy } == [.backup, .primary, .primary] && plan.steps[2][0].offsetBytes == 0, "\(plan.actions)")
      #expect(plan.table?.partitions == table.partitions && plan.table?.backupHeaderLBA == LBA(disk.byteCount / 512 - 1))
      apply(plan, to: &disk)
      #expect(disk.scan().findings.isEmpty && disk.scan().gpt == plan.table)
    }
  }

  @Test("a protective MBR is mended with its boot code; a hybrid and a boot sector are left alone")
  func protectiveMBR() throws {
    let table = try GPTScanTests.sample()
    var disk = TestDisk(byteCount: 64 * mebibyte)
    let code = [UInt8](repeating: 0x90, count: 446)
    disk.write(try table.encode(protectiveMBR: .keepingBootCode(code)))
    disk.patch(446 + 12, [1, 0, 0, 0])
    let plan = try disk.scan().repair()
    #expect(plan.actions.count == 1 && plan.actions[0].contains("protective MBR"))
    apply(plan, to: &disk)
    #expect(disk.scan().findings.isEmpty && disk.read(DiskByteRange(offsetBytes: 0, byteCount: 512))?.prefix(446) == code[...])

    let hybrid = MBRScanTests.sector([MBRScanTests.entry(0xEE, 1, 2047), MBRScanTests.entry(0x83, 2048, 16384)])
    disk.write(hybrid, at: 0)
    disk.patch(600, [1])
    let half = try disk.scan().repair()
    #expect(half.steps.count == 1 && half.steps[0].allSatisfy { $0.offsetBytes >= 512 })
    apply(half, to: &disk)
    #expect(disk.scan().kind == .hybrid && disk.scan().findings.isEmpty)
    #expect(disk.read(DiskByteRange(offsetBytes: 0, byteCount: 512)) == hybrid)

    var fat = MBRScanTests.sector([])
    fat.replaceSubrange(0..<16, with: [0xEB, 0x3C, 0x90] + Array("mkfs.fat".utf8) + [0x00, 0x02, 0x04, 0x04, 0x00])
    disk.write(fat, at: 0)
    #expect(disk.scan().findings == [.bootSectorOverGPT] && disk.scan().protectiveMBR == .untouched)
    let refusal = #expect(throws: PartitionTableRefusal.self) { try disk.scan().repair() }
    #expect(refusal?.message.contains("boot sector of a file system") == true)
    #expect(throws: PartitionTableRefusal.self) { try disk.scan().editableTable() }
  }

  @Test("what no copy knows the cure of is refused with the reason")
  func refusals() throws {
    let table = try GPTScanTests.sample()
    var bothBad = try TestDisk(table)
    bothBad.patch(512 + 40, [0xAA])
    bothBad.patch(table.backupHeaderLBA.value * 512 + 40, [0xAA])
    var left = try TestDisk(table)
    left.write(MBRScanTests.sector([MBRScanTests.entry(0x83, 2048, 16384)]), at: 0)
    let cases: [(TestDisk, String, String)] = [
      (bothBad, "Neither copy", "Neither copy"), (left, "systems follow the MBR", "MBR names partitions"),
      (MBRScanTests.disk([MBRScanTests.entry(0x83, 2048, 4096)]), "table is an MBR", "table is an MBR"),
      (TestDisk(byteCount: mebibyte), "no partition table", "no partition table"),
    ]
    for (disk, repairing, editing) in cases {
      let refusal = #expect(throws: PartitionTableRefusal.self) { try disk.scan().repair() }
      #expect(refusal?.message.contains(repairing) == true && refusal?.remedy.isEmpty == false, "\(refusal.debugDescription)")
      let other = #expect(throws: PartitionTableRefusal.self) { try disk.scan().editableTable() }
      #expect(disk.scan().kind == .damagedGPT || other?.message.contains(editing) == true, "\(other.debugDescription)")
    }
    var primaryBad = try TestDisk(table)
    primaryBad.patch(600, [1])
    let wrong = #expect(throws: PartitionTableRefusal.self) { try primaryBad.scan().repair(from: .primary) }
    #expect(wrong?.message.contains("primary GPT is not good") == true)
  }

  @Test("random tables, damaged at random in one copy, come back as they were")
  func random() throws {
    var generator = SeededGenerator(seed: 41)
    for round in 0..<200 {
      let table = try randomTable(&generator)
      var disk = try TestDisk(table)
      let copy = generator.next() % 2
      let unit = UInt64(table.sectorSize.byteCount)
      let start = copy == 0 ? unit : table.backupEntriesLBA.value * unit
      let length = UInt64(table.entryCount * table.entryByteCount) + (copy == 0 ? unit : 0)
      for _ in 0...generator.next() % 4 {
        disk.patch(start + generator.next() % length, [UInt8(truncatingIfNeeded: generator.next())])
      }
      // A disk that grew keeps its backup where the primary's header says, which then has to be whole.
      let header = DiskByteRange(offsetBytes: unit, byteCount: 512)
      let isHeaderWhole = try copy == 1 || disk.read(header) == TestDisk(table).read(header)
      if generator.next() % 3 == 0 && isHeaderWhole { disk.byteCount += unit * (1 + generator.next() % 100_000) }
      let plan = try disk.scan().repair()
      apply(plan, to: &disk)
      #expect(disk.scan().findings.isEmpty && disk.scan().gpt?.partitions == table.partitions, "round \(round): \(disk.scan().findings)")
    }
  }
}
