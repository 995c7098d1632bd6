import PartitionTable
import Testing

@Suite("GPT: reading")
struct GPTScanTests {
  static func sample(_ sectorSize: SectorSize = .bytes512, entryCount: Int = 128) throws -> GPT {
    var table = try GPT(
      diskGUID: GUID(high: 11, low: 12), diskByteCount: 64 * mebibyte, sectorSize: sectorSize, entryCount: entryCount)
    try table.addPartition(type: .linux, uniqueGUID: GUID(high: 1, low: 1), size: .bytes(8 * mebibyte), name: "first")
    try table.addPartition(
      type: .linuxSwap, uniqueGUID: GUID(high: 2, low: 2), size: .largestFree, name: "zwei 🚀", attributes: [.readOnly], number: 4)
    return table
  }

  @Test("random tables round-trip through the disk, by closure and awaited")
  func roundTrip() async throws {
    var generator = SeededGenerator(seed: 20)
    for round in 0..<150 {
      let table = try randomTable(&generator)
      let disk = try TestDisk(table)
      let scan = disk.scan()
      #expect(scan.gpt == table, "round \(round)")
      #expect(scan.kind == .gpt && scan.findings.isEmpty && scan.gptSource == .primary, "round \(round)")
      let awaited = await PartitionTableScan.scan(diskByteCount: disk.byteCount, sectorSize: disk.sectorSize) { range async in
        await Task.yield()
        return disk.read(range)
      }
      #expect(awaited == scan)
    }
  }

  @Test("what is written is the backup first, then the primary, and is whole sectors", arguments: SectorSize.allCases)
  func regions(sectorSize: SectorSize) throws {
    let table = try Self.sample(sectorSize)
    let writes = try table.encode()
    let array = 16384
    #expect(writes.map(\.copy) == [.backup, .primary])
    #expect(writes[0].offsetBytes == 64 * mebibyte - UInt64(array + sectorSize.byteCount))
    #expect(writes[0].bytes.count == array + sectorSize.byteCount)
    #expect(writes[1].offsetBytes == 0 && writes[1].bytes.count == 2 * sectorSize.byteCount + array)
    #expect(
      Array(writes[1].bytes[446..<462]) == [0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]
        + littleEndian(table.sectorCount - 1, byteCount: 4))
    #expect(Array(writes[1].bytes[510..<512]) == [0x55, 0xAA])
    let untouched = try table.encode(protectiveMBR: .untouched)
    #expect(untouched[1].offsetBytes == UInt64(sectorSize.byteCount))
    #expect(untouched[1].bytes == Array(writes[1].bytes[sectorSize.byteCount...]))
    let code = (0..<446).map { UInt8(truncatingIfNeeded: $0) }
    let kept = try table.encode(protectiveMBR: .keepingBootCode(code))
    #expect(Array(kept[1].bytes[..<446]) == code && kept[1].bytes[446...] == writes[1].bytes[446...])
    #expect(throws: GPTError.bootCodeInvalid(byteCount: 447)) { try table.encode(protectiveMBR: .keepingBootCode(code + [0])) }
  }

  @Test("a primary destroyed in any way is named, and the backup is used")
  func primaryBad() throws {
    let table = try Self.sample()
    let patches: [(Int, [UInt8], (GPTHeaderFault) -> Bool)] = [
      (0, [0], { $0 == .signatureMissing(1) }),
      (8, [0, 0, 2, 0], { $0 == .revisionUnknown(0x20000) }),
      (12, [91, 0, 0, 0], { $0 == .headerSizeInvalid(91) }),
      (12, [1, 2, 0, 0], { $0 == .headerSizeInvalid(513) }),
      (12, [0xFF, 0xFF, 0xFF, 0xFF], { $0 == .headerSizeInvalid(.max) }),
      (24, [2], { $0 == .atWrongLBA(stored: 2, actual: 1) }),
      (84, [0x81, 0, 0, 0], { $0 == .entrySizeInvalid(129) }),
      (84, [0, 0, 0, 0], { $0 == .entrySizeInvalid(0) }),
      (84, [64, 0, 0, 0], { $0 == .entrySizeInvalid(64) }),
      (80, [0, 0, 0, 0], { $0 == .entryCountIsZero }),
      (80, [0xFF, 0xFF, 0xFF, 0xFF], { $0 == .entryArrayTooLarge(entryCount: .max, entryByteCount: 128) }),
      (80, [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0x80], { $0 == .entryArrayTooLarge(entryCount: .max, entryByteCount: 1 << 31) }),
      (40, [33], { if case .usableRangeInvalid(33, _, _) = $0 { true } else { false } }),
      (40, [UInt8](repeating: 0xFF, count: 8), { if case .usableRangeInvalid = $0 { true } else { false } }),
      (48, [UInt8](repeating: 0xFF, count: 8), { if case .usableRangeInvalid = $0 { true } else { false } }),
      (48, [0, 0, 0, 0, 0, 0, 0, 0], { if case .usableRangeInvalid = $0 { true } else { false } }),
      (72, [1], { $0 == .entryArrayMisplaced(first: 1) }),
      (72, [3], { $0 == .entryArrayMisplaced(first: 3) }),
      (72, [UInt8](repeating: 0xFF, count: 8), { $0 == .entryArrayMisplaced(first: LBA(.max)) }),
      (88, [1, 2, 3, 4], { if case .entryArrayChecksum(0x0403_0201, _) = $0 { true } else { false } }),
    ]
    for (field, bytes, isExpected) in patches {
      var disk = try TestDisk(table)
      disk.patchHeader(lba: 1, field: field, bytes)
      let scan = disk.scan()
      #expect(scan.gpt == table && scan.gptSource == .backup && scan.kind == .gpt, "field \(field)")
      #expect(scan.findings.count == 1)
      guard case .gptCopyBad(.primary, let fault) = scan.findings.first else {
        Issue.record("field \(field) \(bytes): \(scan.findings)")
        continue
      }
      #expect(isExpected(fault), "field \(field) \(bytes): \(fault)")
      #expect(!fault.description.isEmpty)
      disk.write(try #require(scan.gpt).encode(protectiveMBR: scan.protectiveMBR))
      #expect(disk.scan().findings.isEmpty, "repair")
    }
  }

  @Test("single flipped bits in headers and entries are found by the checksums", arguments: [GPTCopy.primary, .backup])
  func flippedBits(copy: GPTCopy) throws {
    let table = try Self.sample()
    let header = copy == .primary ? 1 : table.backupHeaderLBA.value
    let entries = copy == .primary ? 2 : table.backupEntriesLBA.value
    for offset in [0, 9, 20, 33, 56, 91].map({ header * 512 + $0 }) + [0, 17, 60, 400, 16383].map({ entries * 512 + $0 }) {
      var disk = try TestDisk(table)
      let old = try #require(disk.read(DiskByteRange(offsetBytes: offset / 512 * 512, byteCount: 512)))[Int(offset % 512)]
      disk.patch(offset, [old ^ 0x10])
      let scan = disk.scan()
      #expect(scan.gpt == table && scan.kind == .gpt)
      #expect(scan.gptSource == (copy == .primary ? .backup : .primary))
      guard case .gptCopyBad(copy, _) = scan.findings.first else {
        Issue.record("byte \(offset): \(scan.findings)")
        continue
      }
    }
  }

  @Test("unreadable sectors hide nothing but themselves")
  func unreadable() throws {
    let table = try Self.sample()
    let last = table.backupHeaderLBA.value
    let cases: [(UInt64, PartitionTableFinding)] = [
      (0, .mbrUnreadable), (1, .gptCopyBad(.primary, .unreadable(1))), (20, .gptCopyBad(.primary, .entryArrayUnreadable(2))),
      (last, .gptCopyBad(.backup, .unreadable(LBA(last)))),
      (last - 1, .gptCopyBad(.backup, .entryArrayUnreadable(table.backupEntriesLBA))),
    ]
    for (sector, finding) in cases {
      var disk = try TestDisk(table)
      disk.unreadable = [sector]
      let scan = disk.scan()
      #expect(scan.gpt == table && scan.findings.contains(finding), "sector \(sector): \(scan.findings)")
    }
    var disk = try TestDisk(table)
    disk.unreadable = Set(0..<40).union((last - 40)...last)
    #expect(disk.scan().kind == .none)
    #expect(disk.scan().gpt == nil)
  }

  @Test("both copies bad: named as a damaged GPT, no table")
  func bothBad() throws {
    let table = try Self.sample()
    var disk = try TestDisk(table)
    disk.patch(512 + 40, [0xAA])
    disk.patch(table.backupHeaderLBA.value * 512 + 40, [0xAA])
    let scan = disk.scan()
    #expect(scan.kind == .damagedGPT && scan.gpt == nil && scan.findings.count == 2)
  }

  @Test("a disk that grew: the backup is found where it was, and fits the new size on request")
  func grown() throws {
    let table = try Self.sample()
    var disk = try TestDisk(table)
    disk.byteCount += 10 * mebibyte
    let scan = disk.scan()
    let expected = LBA(disk.byteCount / 512 - 1)
    #expect(scan.findings.contains(.gptBackupNotAtEnd(found: table.backupHeaderLBA, expected: expected)))
    #expect(scan.findings.contains(.protectiveMBRSize(foundSectors: 131_071, expectedSectors: 151_551)))
    #expect(scan.kind == .gpt)
    var moved = try #require(scan.gpt)
    #expect(moved.lastUsableLBA == table.lastUsableLBA && moved.partitions == table.partitions)
    try moved.fit(toDiskByteCount: disk.byteCount)
    disk.write(try moved.encode(protectiveMBR: scan.protectiveMBR))
    #expect(disk.scan().findings.isEmpty && disk.scan().gpt == moved)
  }

  @Test("a disk cut short is not trusted")
  func shrunk() throws {
    var disk = try TestDisk(Self.sample())
    disk.byteCount -= 10 * mebibyte
    let scan = disk.scan()
    #expect(scan.kind == .damagedGPT && scan.gpt == nil)
    guard case .gptCopyBad(.primary, .usableRangeInvalid) = scan.findings.first else {
      Issue.record("\(scan.findings)")
      return
    }
  }

  @Test("copies that are whole but differ: the primary counts")
  func copiesDiffer() throws {
    var table = try Self.sample()
    var disk = try TestDisk(table)
    try table.removePartitions(numbers: [1])
    disk.write(try table.encode().filter { $0.copy == .primary })
    let scan = disk.scan()
    #expect(scan.gpt == table && scan.findings == [.gptCopiesDiffer])
  }

  @Test("overlap, bounds and duplicates in a table with right checksums are named; it cannot be written again")
  func unsoundTable() throws {
    let table = try Self.sample()
    let arrayOffsets = [1024, table.backupEntriesLBA.value * 512]
    func scan(_ entryOffset: UInt64, _ bytes: [UInt8]) throws -> PartitionTableScan {
      var disk = try TestDisk(table)
      for offset in arrayOffsets { disk.patch(offset + entryOffset, bytes) }
      let array = try #require(disk.read(DiskByteRange(offsetBytes: 1024, byteCount: 16384)))
      let checksum = littleEndian(CRC32.checksum(array), byteCount: 4)
      disk.patchHeader(lba: 1, field: 88, checksum)
      disk.patchHeader(lba: table.backupHeaderLBA.value, field: 88, checksum)
      return disk.scan()
    }
    // Partition 4 begins within partition 1.
    let overlap = try scan(3 * 128 + 32, littleEndian(UInt64(3000), byteCount: 8))
    #expect(overlap.findings == [.gptProblem(.partitionsOverlap(first: 1, second: 4))])
    #expect(overlap.kind == .gpt)
    #expect(throws: GPTError.partitionsOverlap(first: 1, second: 4)) { try overlap.gpt?.encode() }
    var repaired = try #require(overlap.gpt)
    try repaired.removePartitions(numbers: [4])
    #expect(repaired.partitions.count == 1)
    // Nested in partition 1, it must not make the rest of that one look free.
    let nested = try scan(3 * 128 + 32, littleEndian(UInt64(3000), byteCount: 8) + littleEndian(UInt64(3001), byteCount: 8))
    #expect(nested.findings == [.gptProblem(.partitionsOverlap(first: 1, second: 4))])
    #expect(try nested.gpt?.freeRanges().map(\.firstLBA) == [18432])
    let beyond = try scan(3 * 128 + 40, littleEndian(UInt64.max, byteCount: 8))
    guard case .gptProblem(.partitionOutOfBounds(4, _, LBA(.max), _, _)) = beyond.findings.first else {
      Issue.record("\(beyond.findings)")
      return
    }
    #expect(try beyond.gpt?.freeRanges().isEmpty == true)
    let reversed = try scan(3 * 128 + 40, littleEndian(UInt64(100), byteCount: 8))
    #expect(reversed.findings == [.gptProblem(.partitionReversed(number: 4, first: 18432, last: 100))])
    let twin = try scan(3 * 128 + 16, GUID(high: 1, low: 1).diskBytes)
    #expect(twin.findings == [.gptProblem(.uniqueGUIDTwice(GUID(high: 1, low: 1), first: 1, second: 4))])
  }

  @Test("odd but lawful tables: large entries, unpaired surrogates, longer header", arguments: SectorSize.allCases)
  func lawfulOddities(sectorSize: SectorSize) throws {
    let table = try Self.sample(sectorSize, entryCount: 8)
    var disk = TestDisk(byteCount: 64 * mebibyte, sectorSize: sectorSize)
    // 8 entries of 256 bytes: entry n lies at 256 (n - 1), its second half unknown to the standard.
    var array: [UInt8] = []
    let plain = try #require(table.encode().last).bytes[(2 * sectorSize.byteCount)...]
    for index in 0..<8 {
      array += plain.dropFirst(128 * index).prefix(128) + [UInt8](repeating: UInt8(index), count: 128)
    }
    array.replaceSubrange(56..<60, with: [0x00, 0xD8, 0x41, 0x00])
    disk.write(try table.encode())
    let unit = UInt64(sectorSize.byteCount)
    let last = table.backupHeaderLBA.value
    let arraySectors = (UInt64(array.count) + unit - 1) / unit
    for (header, entries) in [(1, UInt64(2)), (last, last - arraySectors)] {
      disk.write(array, at: entries * unit)
      disk.patchHeader(lba: header, field: 72, littleEndian(entries, byteCount: 8))
      disk.patchHeader(lba: header, field: 84, littleEndian(UInt32(256), byteCount: 4))
      disk.patchHeader(lba: header, field: 88, littleEndian(CRC32.checksum(array), byteCount: 4))
    }
    let scan = disk.scan()
    #expect(scan.findings.isEmpty, "\(scan.findings)")
    let found = try #require(scan.gpt)
    #expect(found.entryByteCount == 256 && found.entryCount == 8 && found.partitions.map(\.number) == [1, 4])
    #expect(found.partitions[0].nameUnits.prefix(2) == [0xD800, 0x41])
    #expect(found.partitions[0].name.unicodeScalars.first == "\u{FFFD}")
    #expect(found.partitions[1] == table.partitions[1])
    // Written by us, it stays a table of 256-byte entries.
    var copy = TestDisk(byteCount: disk.byteCount, sectorSize: sectorSize)
    copy.write(try found.encode())
    #expect(copy.scan().gpt == found && copy.scan().findings.isEmpty)
  }

  @Test("a table written under the other sector size is recognised", arguments: SectorSize.allCases)
  func otherSectorSize(sectorSize: SectorSize) throws {
    let other: SectorSize = sectorSize == .bytes512 ? .bytes4096 : .bytes512
    var disk = try TestDisk(Self.sample(other))
    disk.sectorSize = sectorSize
    let scan = disk.scan()
    #expect(scan.kind == .damagedGPT && scan.gpt == nil)
    #expect(scan.findings.contains(.gptOfOtherSectorSize(other)))
  }

  @Test("disks too small for anything are read without harm", arguments: SectorSize.allCases)
  func tinyDisks(sectorSize: SectorSize) {
    for byteCount in [0, 1, 511, 512, 1024, 4096, 8192, 12288, 40960] {
      for fill: UInt8 in [0, 0xFF] {
        let scan = PartitionTableScan.scan(diskByteCount: UInt64(byteCount), sectorSize: sectorSize) { range in
          #expect(range.offsetBytes + UInt64(range.byteCount) <= UInt64(byteCount))
          return [UInt8](repeating: fill, count: range.byteCount)
        }
        #expect(scan.gpt == nil && scan.kind == .none)
      }
    }
  }

  @Test("errors of the reader end the scan")
  func readerErrors() {
    struct Broken: Error {}
    #expect(throws: Broken.self) {
      try PartitionTableScan.scan(diskByteCount: mebibyte, sectorSize: .bytes512) { _ in throw Broken() }
    }
  }
}
