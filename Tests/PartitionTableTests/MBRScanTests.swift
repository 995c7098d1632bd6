import PartitionTable
import Testing

@Suite("MBR: reading")
struct MBRScanTests {
  static func entry(_ type: UInt8, _ first: UInt32, _ count: UInt32, status: UInt8 = 0) -> [UInt8] {
    [status, 0, 0, 0, type, 0, 0, 0] + littleEndian(first, byteCount: 4) + littleEndian(count, byteCount: 4)
  }

  static func sector(_ entries: [[UInt8]], signature: UInt32 = 0) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 440) + littleEndian(signature, byteCount: 4) + [0, 0]
    for index in 0..<4 { bytes += index < entries.count ? entries[index] : [UInt8](repeating: 0, count: 16) }
    return bytes + [0x55, 0xAA]
  }

  static func disk(_ entries: [[UInt8]]) -> TestDisk {
    var disk = TestDisk(byteCount: 100 * mebibyte)
    disk.write(sector(entries, signature: 0x1234_5678), at: 0)
    return disk
  }

  @Test("kinds are told apart")
  func kinds() throws {
    #expect(TestDisk(byteCount: mebibyte).scan().kind == .none)
    #expect(Self.disk([]).scan().kind == .mbr)
    let mbr = Self.disk([Self.entry(0x83, 2048, 4096, status: 0x80)]).scan()
    #expect(mbr.kind == .mbr && mbr.findings.isEmpty && mbr.mbr?.diskSignature == 0x1234_5678)
    let partition = try #require(mbr.mbr?.partitions.first)
    #expect(partition.number == 1 && partition.isBootable && partition.type == 0x83 && !partition.isExtended)
    #expect(partition.firstLBA == 2048 && partition.sectorCount == 4096 && partition.lastLBA == 6143)
    #expect(Self.disk([Self.entry(0x83, 2048, 4096, status: 0x21)]).scan().kind == .bootSector)
    let lone = Self.disk([Self.entry(0xEE, 1, 204_799)]).scan()
    #expect(lone.kind == .damagedGPT && lone.findings.count == 2)
  }

  @Test("boot sectors of file systems are no tables")
  func bootSectors() {
    var fat = Self.sector([])
    fat.replaceSubrange(0..<16, with: [0xEB, 0x3C, 0x90] + Array("mkfs.fat".utf8) + [0x00, 0x02, 0x04, 0x04, 0x00])
    var ntfs = Self.sector([])
    ntfs.replaceSubrange(0..<11, with: [0xEB, 0x52, 0x90] + Array("NTFS    ".utf8))
    for sector in [fat, ntfs] {
      var disk = TestDisk(byteCount: 100 * mebibyte)
      disk.write(sector, at: 0)
      #expect(disk.scan().kind == .bootSector && disk.scan().mbr == nil)
    }
  }

  @Test("hybrid tables, and an MBR over a GPT, are named and never overwritten")
  func hybrid() throws {
    let table = try GPTScanTests.sample()
    var disk = try TestDisk(table)
    disk.write(Self.sector([Self.entry(0xEE, 1, 2047), Self.entry(0x83, 2048, 16384)]), at: 0)
    let scan = disk.scan()
    #expect(scan.kind == .hybrid && scan.gpt == table && scan.findings.isEmpty && scan.protectiveMBR == .untouched)
    #expect(scan.mbr?.protectiveEntry?.sectorCount == 2047)
    disk.write(Self.sector([Self.entry(0x83, 2048, 16384)]), at: 0)
    #expect(disk.scan().kind == .mbrOverGPT && disk.scan().findings == [.mbrWithoutProtectiveEntry])
    #expect(disk.scan().protectiveMBR == .untouched)
    disk.write(Self.sector([]), at: 0)
    #expect(disk.scan().kind == .gpt && disk.scan().findings == [.protectiveMBRMissing])
    disk.write([UInt8](repeating: 0, count: 512), at: 0)
    #expect(disk.scan().kind == .gpt && disk.scan().findings == [.protectiveMBRMissing])
    #expect(disk.scan().protectiveMBR == .fresh)
    disk.write(Self.sector([Self.entry(0xEE, 1, 5)]), at: 0)
    #expect(disk.scan().findings == [.protectiveMBRSize(foundSectors: 5, expectedSectors: 131_071)])
    disk.write(Self.sector([Self.entry(0xEE, 1, .max)]), at: 0)
    #expect(disk.scan().findings.isEmpty)
  }

  @Test("bounds and overlaps are named")
  func faults() {
    let scan = Self.disk([Self.entry(0x83, 2048, 4096), Self.entry(0x83, 6143, 10), Self.entry(0x83, .max, .max)]).scan()
    #expect(scan.kind == .mbr)
    #expect(scan.findings == [.mbrPartitionOutOfBounds(number: 3), .mbrPartitionsOverlap(first: 1, second: 2)])
  }

  @Test("logical partitions are followed")
  func logical() {
    var disk = Self.disk([Self.entry(0x83, 63, 1000), Self.entry(0x0F, 2048, 100_000)])
    disk.write(Self.sector([Self.entry(0x83, 63, 1000), Self.entry(0x05, 5000, 2000)]), at: 2048 * 512)
    disk.write(Self.sector([Self.entry(0x82, 100, 200)]), at: 7048 * 512)
    let scan = disk.scan()
    #expect(scan.findings.isEmpty)
    #expect(scan.mbr?.partitions.map(\.number) == [1, 2, 5, 6])
    #expect(scan.mbr?.partitions.map(\.firstLBA) == [63, 2048, 2111, 7148])
    #expect(scan.mbr?.partitions.map(\.sectorCount) == [1000, 100_000, 1000, 200])
  }

  @Test("a logical partition stays in its extended one, and off the primaries")
  func logicalBounds() {
    // The primary reaches into the extended partition's place; the extended overlaps it, which is named too.
    func findings(primary: [UInt8], logical: [UInt8]) -> [PartitionTableFinding] {
      var disk = Self.disk([primary, Self.entry(0x05, 10_000, 5_000)])
      disk.write(Self.sector([logical]), at: 10_000 * 512)
      #expect(disk.scan().findings.isEmpty == (disk.scan().usablePartitions != nil))
      return disk.scan().findings
    }
    let primary = Self.entry(0x83, 2048, 4096)
    #expect(findings(primary: primary, logical: Self.entry(0x83, 1, 4999)) == [])
    #expect(findings(primary: primary, logical: Self.entry(0x83, 1, 5000)) == [.logicalPartitionOutsideExtended(number: 5)])
    #expect(findings(primary: primary, logical: Self.entry(0x83, 5001, 5)) == [.logicalPartitionOutsideExtended(number: 5)])
    #expect(
      findings(primary: Self.entry(0x83, 20_000, 4096), logical: Self.entry(0x83, 1, 10_000)) == [
        .logicalPartitionOutsideExtended(number: 5), .mbrPartitionsOverlap(first: 5, second: 1),
      ])
    #expect(
      findings(primary: Self.entry(0x83, 14_000, 4096), logical: Self.entry(0x83, 4500, 10)) == [
        .mbrPartitionsOverlap(first: 2, second: 1), .mbrPartitionsOverlap(first: 1, second: 5),
      ])
  }

  @Test("a GPT header inside an MBR partition is its data")
  func headersInPartitions() throws {
    var disk = try TestDisk(GPTScanTests.sample())
    let sectorCount = UInt32(disk.byteCount / 512)
    // Both headers lie in it, then the backup alone, then neither.
    for (first, kind) in [(UInt32(1), PartitionTableKind.mbr), (2, .mbrOverGPT), (2048, .mbrOverGPT)] {
      disk.write(Self.sector([Self.entry(0x83, first, sectorCount - first)]), at: 0)
      let scan = disk.scan()
      #expect(scan.kind == kind && scan.findings.isEmpty == (kind == .mbr), "from \(first) on: \(scan.findings)")
      #expect(scan.usablePartitions?.count == (kind == .mbr ? 1 : nil))
      #expect(!scan.consultedRanges.contains { $0.offsetBytes == (UInt64(sectorCount) - 1) * 512 })
    }
    disk.write(Self.sector([Self.entry(0x83, 2048, 10)]), at: 0)
    #expect(disk.scan().findings == [.mbrWithoutProtectiveEntry])
    // A header of the other sector size.
    var other = Self.disk([Self.entry(0x83, 1, 1000)])
    other.write(Array("EFI PART".utf8), at: 4096)
    #expect(other.scan().findings.isEmpty && other.scan().usablePartitions?.count == 1)
  }

  @Test("looped, endless and stray chains end, and are named")
  func chains() {
    func chain(_ records: [UInt32: [[UInt8]]]) -> [PartitionTableFinding] {
      var disk = Self.disk([Self.entry(0x05, 1000, 50000)])
      for (lba, entries) in records { disk.write(Self.sector(entries), at: UInt64(lba) * 512) }
      return disk.scan().findings
    }
    #expect(chain([1000: [Self.entry(0x83, 1, 1), Self.entry(0x05, 0, 100)]]) == [.ebrLoop(1000)])
    #expect(
      chain([1000: [[], Self.entry(0x05, 10, 9)].map { $0.isEmpty ? Self.entry(0, 0, 0) : $0 }, 1010: [Self.entry(0x05, 0, 1)]]) == [
        .ebrLoop(1000)
      ])
    #expect(chain([1000: [Self.entry(0x05, 50000, 1)]]) == [.ebrOutOfBounds(51000)])
    #expect(chain([1000: [Self.entry(0x05, .max, 1)]]) == [.ebrOutOfBounds(LBA(1000 + UInt64(UInt32.max)))])
    #expect(chain([1000: [Self.entry(0x05, 20, 1)]]) == [.ebrSignatureMissing(1020)])
    var records: [UInt32: [[UInt8]]] = [:]
    for index: UInt32 in 0..<400 { records[1000 + 10 * index] = [Self.entry(0x83, 1, 5), Self.entry(0x05, 10 * (index + 1), 10)] }
    #expect(chain(records) == [.ebrChainTooLong(maximum: 256)])
    var disk = Self.disk([Self.entry(0x05, 1000, 50000)])
    disk.unreadable = [1000]
    #expect(disk.scan().findings == [.ebrUnreadable(1000)])
    let outside = Self.disk([Self.entry(0x05, 300_000, 50000)]).scan()
    #expect(outside.findings == [.ebrOutOfBounds(300_000), .mbrPartitionOutOfBounds(number: 1)])
  }
}
