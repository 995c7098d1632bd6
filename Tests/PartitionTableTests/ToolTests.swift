import Foundation
import PartitionTable
import TestSupport
import Testing

/// Tables of ours read by sgdisk and sfdisk, theirs and parted's read by us; always the numbers, never only "no problems": an empty
/// disk has none either.
@Suite("Against sgdisk, sfdisk and parted")
struct ToolTests {
  /// Compares a disk's table as we have it with what both tools print.
  static func compare(_ table: GPT, _ disk: DiskPath) throws {
    let verdict = try Tools.run("sgdisk", ["-v", disk.path])
    #expect(verdict.contains("No problems found"), "\(verdict)")
    let lines = try SgdiskLine.read(disk.path)
    #expect(lines.map(\.number) == table.partitions.map(\.number))
    #expect(lines.map(\.first) == table.partitions.map(\.firstLBA.value))
    #expect(lines.map(\.last) == table.partitions.map(\.lastLBA.value))
    for partition in table.partitions { try compare(partition, sgdiskInfo: Tools.run("sgdisk", ["-i", "\(partition.number)", disk.path])) }
    let other = try SfdiskTable.read(disk.path)
    #expect(other.label == "gpt" && other.id == table.diskGUID.description)
    #expect(other.firstlba == table.firstUsableLBA.value && other.lastlba == table.lastUsableLBA.value)
    #expect(other.sectorsize == table.sectorSize.byteCount)
    let theirs = (other.partitions ?? []).sorted {
      (SfdiskTable.number($0, path: disk.path) ?? 0) < (SfdiskTable.number($1, path: disk.path) ?? 0)
    }
    #expect(theirs.map { SfdiskTable.number($0, path: disk.path) } == table.partitions.map(\.number))
    #expect(theirs.map(\.start) == table.partitions.map(\.firstLBA.value))
    #expect(theirs.map(\.size) == table.partitions.map(\.sectorCount))
    #expect(theirs.map(\.type) == table.partitions.map(\.type.description))
    #expect(theirs.map(\.uuid) == table.partitions.map(\.uniqueGUID.description))
    #expect(theirs.map { $0.name ?? "" } == table.partitions.map(\.name))
    let listing = try Tools.run("sfdisk", ["-l", disk.path])
    #expect(listing.contains("Disklabel type: gpt") && !listing.lowercased().contains("corrupt"), "\(listing)")
    #expect(listing.contains("\(table.sectorCount) sectors"))
  }

  private static func compare(_ partition: GPTPartition, sgdiskInfo text: String) {
    #expect(text.contains("Partition GUID code: \(partition.type) "), "\(text)")
    #expect(text.contains("Partition unique GUID: \(partition.uniqueGUID)\n"), "\(text)")
    #expect(text.contains("First sector: \(partition.firstLBA) ") && text.contains("Last sector: \(partition.lastLBA) "), "\(text)")
    #expect(text.contains("Partition size: \(partition.sectorCount) sectors"), "\(text)")
    let digits = String(partition.attributes.rawValue, radix: 16, uppercase: true)
    #expect(text.contains("Attribute flags: \(String(repeating: "0", count: 16 - digits.count))\(digits)\n"), "\(text)")
    // sgdisk prints the halves of a surrogate pair singly, which is no text; sfdisk, compared as well, prints them right.
    guard partition.nameUnits.allSatisfy({ !UTF16.isSurrogate($0) }) else { return }
    #expect(text.contains("Partition name: '\(partition.name)'"), "\(text)")
  }

  @Test("pooled disks", arguments: DiskPath.testableSectorSizes)
  func pooledDisk(sectorSize: SectorSize) throws {
    var generator = SeededGenerator(seed: 30)
    let byteCount = 512 * mebibyte
    let table = try GPT.pooledDisk(
      diskByteCount: byteCount, sectorSize: sectorSize, metadataByteCount: 32 * mebibyte, poolName: "tank", diskGUID: generator.guid(),
      metadataGUID: generator.guid(), dataGUID: generator.guid())
    #expect(table.partitions.count == 2)
    try DiskPath.withDisk(byteCount: byteCount, sectorSize: sectorSize) { disk in
      try disk.write(table.encode())
      try Self.compare(table, disk)
      #expect(try disk.scan().gpt == table)
      // Wiped as we say, no tool finds anything, backup included.
      let zeros = GPT.wipeRanges(diskByteCount: byteCount).map {
        DiskWrite(copy: .primary, offsetBytes: $0.offsetBytes, bytes: [UInt8](repeating: 0, count: $0.byteCount))
      }
      try disk.write(zeros)
      let blank = try Program.runBlocking(["sfdisk", "--json", disk.path])
      #expect(blank.status != 0 && blank.text.contains("does not contain a recognized partition table"), "\(blank.text)")
      #expect(try Program.runBlocking(["sgdisk", "-p", disk.path]).text.contains("Creating new GPT entries"))
    }
  }

  @Test("random tables of ours", arguments: DiskPath.testableSectorSizes)
  func ours(sectorSize: SectorSize) throws {
    var generator = SeededGenerator(seed: 31)
    var partitionCount = 0
    for _ in 0..<8 {
      var table = try randomTable(&generator)
      while table.sectorSize != sectorSize || table.entryCount < 128 { table = try randomTable(&generator) }
      // The tools print quotes and control characters in ways of their own; names of letters of any script are the point here.
      for var partition in table.partitions {
        partition.name = partition.number % 2 == 0 ? "pärt 水🚀 \(partition.number)" : "pärt 水 \(partition.number)"
        try table.updatePartition(partition)
      }
      partitionCount += table.partitions.count
      let byteCount = table.sectorCount * UInt64(sectorSize.byteCount)
      try DiskPath.withDisk(byteCount: byteCount, sectorSize: sectorSize) { disk in
        try disk.write(table.encode())
        try Self.compare(table, disk)
      }
    }
    #expect(partitionCount >= 20)
  }

  @Test("tables made by sgdisk", arguments: DiskPath.testableSectorSizes)
  func sgdisk(sectorSize: SectorSize) throws {
    try DiskPath.withDisk(byteCount: 256 * mebibyte, sectorSize: sectorSize) { disk in
      try Tools.run(
        "sgdisk",
        [
          "-o", "-n", "1:0:+16M", "-t", "1:ef00", "-c", "1:EFI ä", "-n", "5:0:+32M", "-t", "5:8e00", "-A", "5:set:2", "-A", "5:set:60",
          "-a", "1", "-n", "3:0:0", "-c", "3:rest", disk.path,
        ])
      let scan = try disk.scan()
      #expect(scan.kind == .gpt && scan.findings.isEmpty, "\(scan.findings)")
      let table = try #require(scan.gpt)
      #expect(table.partitions.map(\.number) == [1, 3, 5])
      #expect(table.partitions.map(\.type) == [.efiSystem, .linux, .linuxLVM])
      #expect(table.partitions.map(\.name) == ["EFI ä", "rest", ""] || table.partitions[2].name == "Linux LVM")
      #expect(table.partitions[2].attributes == [.legacyBIOSBootable, .readOnly])
      try Self.compare(table, disk)
      // Written back by us, byte for byte the same table for them.
      try disk.write(table.encode(protectiveMBR: scan.protectiveMBR))
      try Self.compare(table, disk)
    }
  }

  @Test("a table that sgdisk moved, and one that it made larger")
  func sgdiskOddities() throws {
    try DiskPath.withDisk(byteCount: 64 * mebibyte, sectorSize: .bytes512) { disk in
      try Tools.run("sgdisk", ["-o", "-S", "256", "-j", "1000", "-n", "200:0:+16M", disk.path])
      let scan = try disk.scan()
      #expect(scan.findings.isEmpty, "\(scan.findings)")
      var table = try #require(scan.gpt)
      #expect(table.entryCount == 256 && table.primaryEntriesLBA == 1000 && table.partitions.map(\.number) == [200])
      try Self.compare(table, disk)
      try table.addPartition(type: .linuxRAID, uniqueGUID: GUID(high: 77, low: 78), size: .largestFree, name: "second")
      try disk.write(table.encode(protectiveMBR: scan.protectiveMBR))
      #expect(try SgdiskLine.read(disk.path).count == 2)
      try Self.compare(table, disk)
    }
  }

  @Test("a hybrid table of sgdisk is named as such and left alone")
  func hybrid() throws {
    try DiskPath.withDisk(byteCount: 64 * mebibyte, sectorSize: .bytes512) { disk in
      try Tools.run("sgdisk", ["-o", "-n", "1:0:+16M", "-n", "2:0:0", "-h", "1", disk.path])
      let scan = try disk.scan()
      #expect(scan.kind == .hybrid && scan.gpt?.partitions.count == 2 && scan.protectiveMBR == .untouched)
      #expect(scan.mbr?.partitions.contains { $0.firstLBA == 2048 && $0.sectorCount == 32768 } == true)
    }
  }

  @Test("a disk that grew, and a primary that was lost, repaired by us to sgdisk's satisfaction")
  func repairs() throws {
    try DiskPath.withDisk(byteCount: 64 * mebibyte, sectorSize: .bytes512) { disk in
      try Tools.run("sgdisk", ["-o", "-n", "1:0:+16M", "-c", "1:kept", disk.path])
      try disk.write([DiskWrite(copy: .primary, offsetBytes: 512, bytes: [UInt8](repeating: 0xA5, count: 2048))])
      let scan = try disk.scan()
      #expect(scan.gptSource == .backup)
      try disk.write(try #require(scan.gpt).encode(protectiveMBR: scan.protectiveMBR))
      try Self.compare(try #require(scan.gpt), disk)

      let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: disk.path))
      try handle.truncate(atOffset: 96 * mebibyte)
      try handle.close()
      var larger = disk
      larger.byteCount = 96 * mebibyte
      let grown = try larger.scan()
      #expect(grown.findings.contains(.gptBackupNotAtEnd(found: 131_071, expected: 196_607)))
      var table = try #require(grown.gpt)
      try table.fit(toDiskByteCount: larger.byteCount)
      try larger.write(table.encode(protectiveMBR: grown.protectiveMBR))
      #expect(table.partitions.map(\.name) == ["kept"])
      try Self.compare(table, larger)
    }
  }

  @Test("created, resized, set and deleted by us, every step read by both tools", arguments: DiskPath.testableSectorSizes)
  func edits(sectorSize: SectorSize) throws {
    var generator = SeededGenerator(seed: 32)
    try DiskPath.withDisk(byteCount: 200 * mebibyte, sectorSize: sectorSize) { disk in
      var table = try GPT(diskGUID: generator.guid(), diskByteCount: disk.byteCount, sectorSize: sectorSize)
      for step in try table.encodeSteps(protectiveMBR: .fresh) { try disk.write(step) }
      let alignment = GPT.alignmentByteCount(stripeByteCount: 768 * 1024)
      let changes: [(inout GPT) throws -> Void] = [
        {
          try $0.addPartition(
            type: .efiSystem, uniqueGUID: generator.guid(), size: .bytes(20 * mebibyte), name: "esp", alignmentByteCount: alignment)
        },
        {
          try $0.addPartition(
            type: .linux, uniqueGUID: generator.guid(), size: .percentOfFree(50), name: "däta", alignmentByteCount: alignment)
        },
        { try $0.addPartition(type: .linuxHome, uniqueGUID: generator.guid(), size: .largestFree, alignmentByteCount: alignment) },
        { try $0.removePartitions(numbers: [2]) }, { try $0.resizePartition(number: 1, to: .largestFree) },
        { table in
          guard var partition = table.partition(number: 3) else { throw GPTError.noSuchPartition(3) }
          (partition.name, partition.type, partition.attributes) = ("renamed", .linuxSwap, [.readOnly, .requiredPartition])
          try table.updatePartition(partition)
        },
      ]
      for change in changes {
        try change(&table)
        let scan = try disk.scan()
        _ = try scan.editableTable()
        for step in try table.encodeSteps(protectiveMBR: .untouched) { try disk.write(step) }
        #expect(try disk.scan().gpt == table && disk.scan().findings.isEmpty)
        try Self.compare(table, disk)
        #expect(table.partitions.allSatisfy { $0.firstLBA.value * UInt64(sectorSize.byteCount) % alignment == 0 })
      }
      let listing = try Tools.run("parted", ["-s", "-m", disk.path, "unit", "s", "print"])
      for partition in table.partitions {
        let line = "\(partition.number):\(partition.firstLBA)s:\(partition.lastLBA)s:\(partition.sectorCount)s:"
        #expect(listing.contains(line), "\(line) is not in \(listing)")
      }
    }
  }

  @Test("damage made by writing over a copy, repaired by us to sgdisk's satisfaction", arguments: DiskPath.testableSectorSizes)
  func plannedRepairs(sectorSize: SectorSize) throws {
    try DiskPath.withDisk(byteCount: 64 * mebibyte, sectorSize: sectorSize) { disk in
      try Tools.run("sgdisk", ["-o", "-n", "1:0:+16M", "-c", "1:kept", "-n", "3:0:0", disk.path])
      let table = try #require(try disk.scan().gpt)
      let junk = [UInt8](repeating: 0xA5, count: 4096)
      for offset in [UInt64(sectorSize.byteCount), disk.byteCount - 4096] {
        try disk.write([DiskWrite(copy: .primary, offsetBytes: offset, bytes: junk)])
        #expect(try !disk.scan().findings.isEmpty)
        for step in try disk.scan().repair().steps { try disk.write(step) }
        #expect(try disk.scan().findings.isEmpty && disk.scan().gpt == table)
        try Self.compare(table, disk)
      }
    }
  }

  @Test("tables made by parted and sfdisk")
  func partedAndSfdisk() throws {
    try DiskPath.withDisk(byteCount: 128 * mebibyte, sectorSize: .bytes512) { disk in
      try Tools.run(
        "parted",
        ["-s", disk.path, "mklabel", "gpt", "mkpart", "alpha", "1MiB", "40MiB", "mkpart", "beta", "40MiB", "100%", "set", "2", "lvm", "on"])
      let scan = try disk.scan()
      #expect(scan.kind == .gpt && scan.findings.isEmpty, "\(scan.findings)")
      let table = try #require(scan.gpt)
      #expect(table.partitions.map(\.name) == ["alpha", "beta"] && table.partitions[1].type == .linuxLVM)
      #expect(table.partitions[0].firstLBA == 2048 && table.partitions[0].lastLBA == 81919)
      try Self.compare(table, disk)
    }
    try DiskPath.withDisk(byteCount: 128 * mebibyte, sectorSize: .bytes512) { disk in
      let script = "label: gpt\nstart=2048, size=20MiB, type=U, name=\"esp\"\nsize=30MiB, type=S\ntype=L, name=\"root\"\n"
      try Tools.run("sfdisk", [disk.path], input: script)
      let scan = try disk.scan()
      #expect(scan.findings.isEmpty, "\(scan.findings)")
      let table = try #require(scan.gpt)
      #expect(table.partitions.map(\.type) == [.efiSystem, .linuxSwap, .linux])
      try Self.compare(table, disk)
    }
  }

  @Test("MBR tables with logical partitions", arguments: ["parted", "sfdisk"])
  func masterBootRecords(tool: String) throws {
    try DiskPath.withDisk(byteCount: 256 * mebibyte, sectorSize: .bytes512) { disk in
      if tool == "parted" {
        let parts = ["primary 1MiB 20MiB", "extended 20MiB 100%", "logical 21MiB 60MiB", "logical 61MiB 100MiB", "logical 110MiB 200MiB"]
        try Tools.run(
          "parted", ["-s", disk.path, "mklabel", "msdos"] + parts.flatMap { ["mkpart"] + $0.split(separator: " ").map(String.init) })
      } else {
        let script = "label: dos\nsize=20MiB, type=83, bootable\nsize=5MiB, type=82\ntype=5\nsize=10MiB\nsize=20MiB, type=8e\n"
        try Tools.run("sfdisk", [disk.path], input: script)
      }
      let scan = try disk.scan()
      #expect(scan.kind == .mbr && scan.findings.isEmpty && scan.gpt == nil, "\(scan.findings)")
      let mbr = try #require(scan.mbr)
      let theirs = try SfdiskTable.read(disk.path)
      let partitions = try #require(theirs.partitions)
      #expect(partitions.count == 5)
      #expect(mbr.partitions.map(\.number) == partitions.map { SfdiskTable.number($0, path: disk.path) })
      #expect(mbr.partitions.map(\.firstLBA.value) == partitions.map(\.start))
      #expect(mbr.partitions.map(\.sectorCount) == partitions.map(\.size))
      #expect(mbr.partitions.map { String($0.type, radix: 16) } == partitions.map(\.type))
      #expect(mbr.partitions.map(\.isBootable) == partitions.map { $0.bootable ?? false })
      #expect(UInt32(theirs.id.dropFirst(2), radix: 16) == mbr.diskSignature)
    }
  }

  @Test("the names and GUIDs of types agree with sfdisk's list, the codes with sgdisk's")
  func typeNames() throws {
    var names: [GUID: String] = [:]
    for line in try Tools.run("sfdisk", ["--list-types", "--label", "gpt"]).split(separator: "\n") {
      guard let guid = GUID(line.prefix(36)) else { continue }
      names[guid] = line.dropFirst(36).trimmingCharacters(in: .whitespaces)
    }
    let named = GPTPartitionType.all.filter { names[$0.guid] != nil }
    #expect(named.count >= GPTPartitionType.all.count - 3, "only our own two and LUKS are unknown to sfdisk")
    for type in named { #expect(type.name == names[type.guid]) }
    try DiskPath.withDisk(byteCount: 128 * mebibyte, sectorSize: .bytes512) { disk in
      let coded = GPTPartitionType.all.filter { $0.sgdiskCode != nil }
      var arguments = ["-o"]
      for (index, type) in coded.enumerated() {
        arguments += ["-n", "\(index + 1):0:+1M", "-t", "\(index + 1):\(type.sgdiskCode ?? "")"]
      }
      try Tools.run("sgdisk", arguments + [disk.path])
      #expect(try disk.scan().gpt?.partitions.map(\.type) == coded.map(\.guid))
    }
  }
}
