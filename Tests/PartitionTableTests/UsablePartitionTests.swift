import PartitionTable
import Testing

@Suite("Partitions that can be exported")
struct UsablePartitionTests {
  @Test("of a sound GPT, those of the table")
  func gpt() throws {
    let table = try GPTScanTests.sample()
    let scan = try TestDisk(table).scan()
    let usable = try #require(scan.usablePartitions)
    #expect(usable.map(\.number) == [1, 4] && usable.map(\.label) == ["first", "zwei 🚀"])
    #expect(usable[0].offsetBytes == mebibyte && usable[0].byteCount == 8 * mebibyte && usable[0].identity == .gpt(GUID(high: 1, low: 1)))
    #expect(!scan.isWiped)
  }

  @Test("no table is not the same as one that cannot be read")
  func wiped() throws {
    let table = try GPTScanTests.sample()
    #expect(TestDisk(byteCount: 64 * mebibyte).scan().usablePartitions == [])
    var unreadable = TestDisk(byteCount: 64 * mebibyte)
    for sector: UInt64 in [0, 1, 131_071] {
      unreadable.unreadable = [sector]
      #expect(unreadable.scan().usablePartitions == nil && !unreadable.scan().isWiped)
    }
    var disk = try TestDisk(table)
    disk.patch(512, [UInt8](repeating: 0, count: 512))
    #expect(disk.scan().usablePartitions?.count == 2, "the backup counts")
    disk.patch(131_071 * 512, [UInt8](repeating: 0, count: 512))
    #expect(disk.scan().usablePartitions == nil, "the protective MBR says that there was one")
    disk.patch(0, [UInt8](repeating: 0, count: 512))
    #expect(disk.scan().usablePartitions == [] && disk.scan().isWiped)
  }

  @Test("of an MBR, all but the extended; none where anything is wrong")
  func mbr() throws {
    var disk = MBRScanTests.disk([MBRScanTests.entry(0x83, 2048, 4096), MBRScanTests.entry(0x05, 10000, 50000)])
    disk.write(MBRScanTests.sector([MBRScanTests.entry(0x83, 63, 1000)]), at: 10000 * 512)
    let usable = try #require(disk.scan().usablePartitions)
    #expect(usable.map(\.number) == [1, 5] && usable[1].offsetBytes == 10063 * 512)
    #expect(usable[0].identity == .mbr(diskSignature: 0x1234_5678, number: 1, offsetBytes: 1 << 20))
    // From sector 1 to the last one, where a GPT would have its headers.
    let whole = MBRScanTests.disk([MBRScanTests.entry(0x83, 1, 204_799)]).scan()
    #expect(whole.kind == .mbr && whole.usablePartitions?.map(\.byteCount) == [204_799 * 512])
    // A logical partition over its own extended boot record, a primary over sector 0.
    disk.write(MBRScanTests.sector([MBRScanTests.entry(0x83, 0, 1000)]), at: 10000 * 512)
    #expect(disk.scan().usablePartitions == nil)
    #expect(MBRScanTests.disk([MBRScanTests.entry(0x83, 0, 4096)]).scan().usablePartitions == nil)
    #expect(MBRScanTests.disk([MBRScanTests.entry(0x83, 2048, .max)]).scan().usablePartitions == nil)
    #expect(MBRScanTests.disk([]).scan().usablePartitions == [])
  }

  @Test("what a scan found depends on no byte that it does not name")
  func consultedRanges() throws {
    var generator = SeededGenerator(seed: 42)
    for (bytes, sectorSize) in try FuzzTests.images() {
      func scan(_ bytes: [UInt8]) -> PartitionTableScan {
        PartitionTableScan.scan(diskByteCount: UInt64(bytes.count), sectorSize: sectorSize) { range in
          Array(bytes[Int(range.offsetBytes)..<(Int(range.offsetBytes) + range.byteCount)])
        }
      }
      let found = scan(bytes)
      #expect(!found.consultedRanges.isEmpty)
      var changed = bytes
      for offset in changed.indices
      where !found.consultedRanges.contains(where: { $0.offsetBytes <= offset && offset < Int($0.offsetBytes) + $0.byteCount }) {
        changed[offset] = UInt8(truncatingIfNeeded: generator.next())
      }
      #expect(changed != bytes && scan(changed) == found)
    }
  }

  @Test("what could not be read is named; another scan may find something else")
  func unreadable() throws {
    var disk = try TestDisk(GPTScanTests.sample())
    #expect(disk.scan().unreadableRange == nil)
    disk.unreadable = [5]
    #expect(disk.scan().unreadableRange == DiskByteRange(offsetBytes: 1024, byteCount: 16384))
    disk.unreadable = [200]
    #expect(disk.scan().unreadableRange == nil, "nobody looks there")
  }

  @Test("names of as many partitions as a table can have are made once, and looked up")
  func manyNames() {
    let partitions = (1...32_768).map {
      UsablePartition(
        number: $0, identity: .gpt(GUID(high: 0, low: UInt64($0))), label: "label \($0)", offsetBytes: UInt64($0) << 20, byteCount: 1)
    }
    let names = PartitionNames(partitions)
    let clock = ContinuousClock()
    // Made anew for each, or looked through, this would take hours, or minutes.
    let time = clock.measure {
      for number in stride(from: 1, through: 32_768, by: 3) {
        #expect(names["\(number)"]?.number == number && names["label \(number)"]?.number == number)
      }
    }
    #expect(time < .seconds(30))
    #expect(names.listed(limit: 256).count == 512)
  }

  @Test("a number wins over a label; a label with a slash, a twin or no print, or that is a GUID, has no export")
  func names() {
    func partition(_ number: Int, _ label: String) -> UsablePartition {
      UsablePartition(
        number: number, identity: .gpt(GUID(high: 0, low: UInt64(number))), label: label, offsetBytes: 0, byteCount: 1)
    }
    let partitions = [
      partition(1, "data"), partition(2, "1"), partition(3, "a/b"), partition(4, "twin"), partition(5, "twin"), partition(6, ""),
      partition(7, "bell\u{7}"), partition(8, "\u{FFFD}x"), partition(9, "zwei 🚀"), partition(10, "42"), partition(11, "\u{202E}x"),
      partition(12, "12345678-9abc-def0-1122-334455667788"),
    ]
    let names = PartitionNames(partitions)
    #expect(names.listed().map(\.name) == (1...12).map(String.init) + ["data", "zwei 🚀"])
    #expect(names.listed(limit: 2).map(\.name) == ["1", "2", "data"])
    #expect(names["1"]?.number == 1 && names["data"]?.number == 1 && names["12"]?.number == 12)
    // Beyond the listed ones too, and by GUID.
    #expect(names["zwei 🚀"]?.number == 9 && names[GUID(high: 0, low: 4).description]?.number == 4)
    for other in ["", "01", "+1", "-1", "13", "a/b", "twin", "42", "12345678-9abc-def0-1122-334455667788", "Data"] {
      #expect(names[other] == nil, "\(other)")
    }
  }
}
