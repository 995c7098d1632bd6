import Testing

@testable import PartitionTable

/// What a hostile table makes a scan do.
@Suite("The cost of a scan")
struct ScanCostTests {
  @Test("the largest entries are checked once, however many extended boot records follow")
  func hybrid() throws {
    var table = try GPT(diskGUID: GUID(high: 1, low: 2), diskByteCount: 256 * mebibyte, sectorSize: .bytes512, entryCount: 32768)
    for number in [1, 32768] {
      try table.addPartition(type: .linux, uniqueGUID: GUID(high: 3, low: UInt64(number)), size: .bytes(mebibyte), number: number)
    }
    var disk = try TestDisk(table)
    disk.write(MBRScanTests.sector([MBRScanTests.entry(0xEE, 1, 10_000), MBRScanTests.entry(0x05, 100_000, 100_000)]), at: 0)
    for index: UInt32 in 0..<300 {
      let record = MBRScanTests.sector([MBRScanTests.entry(0x83, 1, 5), MBRScanTests.entry(0x05, 10 * (index + 1), 10)])
      disk.write(record, at: (100_000 + 10 * UInt64(index)) * 512)
    }
    var decoder = PartitionTableDecoder(source: ScanSource(diskByteCount: disk.byteCount, sectorSize: .bytes512))
    for range in decoder.source.rangesAhead { decoder.source.addAhead(disk.read(range), at: range) }
    var runCount = 0
    var found: PartitionTableScan?
    while found == nil {
      runCount += 1
      switch decoder.attempt() {
      case .success(let scan): found = scan
      case .failure(let needed): decoder.source.add(disk.read(needed.range), at: needed.range)
      }
    }
    #expect(found?.kind == .hybrid && found?.gpt == table && found == disk.scan())
    #expect(found?.findings == [.ebrChainTooLong(maximum: 256)])
    #expect(runCount > 256 && runCount < 270)
    #expect(decoder.checkedByteCount == 2 * PartitionLimits.maximumEntryArrayByteCount)
  }

  @Test("findings fill no more than a sentence")
  func sentence() {
    let findings = (1...20000).map { PartitionTableFinding.mbrPartitionOutOfBounds(number: $0) }
    let words = findings.sentence
    #expect(words.hasPrefix("MBR partition 1 leaves the disk; ") && words.hasSuffix("MBR partition 8 leaves the disk; and 19992 more"))
    #expect(Array(findings.prefix(2)).sentence == "MBR partition 1 leaves the disk; MBR partition 2 leaves the disk")
    #expect([PartitionTableFinding]().sentence.isEmpty)
  }
}
