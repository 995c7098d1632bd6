import PartitionTable
import Testing

@Suite("GPT: building and changing")
struct GPTEditingTests {
  static func table(mebibytes: UInt64 = 100, sectorSize: SectorSize = .bytes512, entryCount: Int = 128) throws -> GPT {
    try GPT(
      diskGUID: GUID(high: 1, low: 1), diskByteCount: mebibytes * mebibyte, sectorSize: sectorSize, entryCount: entryCount)
  }

  @Test("geometry is what sgdisk uses", arguments: [(SectorSize.bytes512, 34, 204_766), (.bytes4096, 6, 25594)])
  func geometry(sectorSize: SectorSize, first: UInt64, last: UInt64) throws {
    let table = try Self.table(sectorSize: sectorSize)
    #expect(table.firstUsableLBA == LBA(first))
    #expect(table.lastUsableLBA == LBA(last))
    #expect(table.backupHeaderLBA.value == table.sectorCount - 1)
    #expect(table.problems().isEmpty)
  }

  @Test("the smallest disk is accepted, one sector less is refused", arguments: SectorSize.allCases)
  func smallestDisk(sectorSize: SectorSize) throws {
    let reserved = UInt64(16384 / sectorSize.byteCount)
    let needed = (2 * reserved + 4) * UInt64(sectorSize.byteCount)
    let table = try GPT(diskGUID: GUID(high: 1, low: 1), diskByteCount: needed, sectorSize: sectorSize)
    #expect(table.firstUsableLBA == table.lastUsableLBA)
    #expect(table.problems().isEmpty)
    #expect(throws: GPTError.diskTooSmall(diskByteCount: needed - 1, neededByteCount: needed)) {
      try GPT(diskGUID: GUID(high: 1, low: 1), diskByteCount: needed - 1, sectorSize: sectorSize)
    }
    #expect(throws: GPTError.diskTooSmall(diskByteCount: 0, neededByteCount: needed)) {
      try GPT(diskGUID: GUID(high: 1, low: 1), diskByteCount: 0, sectorSize: sectorSize)
    }
  }

  @Test("entry counts out of range are refused", arguments: [0, -1, 32769, Int.max])
  func entryCounts(count: Int) {
    #expect(throws: GPTError.entryCountInvalid(count, maximum: 32768)) { try Self.table(entryCount: count) }
  }

  @Test("partitions are placed aligned, first fit, then largest free", arguments: SectorSize.allCases)
  func placing(sectorSize: SectorSize) throws {
    var generator = SeededGenerator(seed: 3)
    var table = try Self.table(sectorSize: sectorSize)
    let perMebibyte = mebibyte / UInt64(sectorSize.byteCount)
    let first = try table.addPartition(type: .linux, uniqueGUID: generator.guid(), size: .bytes(3 * mebibyte + 1), name: "a")
    #expect(first.number == 1)
    #expect(first.firstLBA.value == perMebibyte)
    #expect(first.sectorCount == 3 * perMebibyte + 1)
    let second = try table.addPartition(type: .linux, uniqueGUID: generator.guid(), size: .bytes(mebibyte))
    #expect(second.firstLBA.value == 5 * perMebibyte)
    try table.removePartitions(numbers: [1])
    let third = try table.addPartition(type: .linux, uniqueGUID: generator.guid(), size: .bytes(4 * mebibyte), number: 7)
    #expect(third.firstLBA.value == perMebibyte && third.number == 7)
    let rest = try table.addPartition(type: .linuxSwap, uniqueGUID: generator.guid(), size: .largestFree)
    #expect(rest.number == 1 && rest.firstLBA.value == 6 * perMebibyte && rest.lastLBA == table.lastUsableLBA)
    #expect(table.partitions.map(\.number) == [1, 2, 7])
    #expect(table.partition(number: 7) == third)
    #expect(try table.freeRanges().isEmpty)
    // Between the header's end and 1 MiB, nothing aligned to 1 MiB fits, but a sector does.
    let head = try table.freeRanges(alignmentByteCount: UInt64(sectorSize.byteCount))
    #expect(head.map(\.firstLBA) == [table.firstUsableLBA] && head.map(\.lastLBA) == [LBA(perMebibyte - 1)])
    let before = table
    #expect(throws: GPTError.noSpace(neededSectors: 1, largestFreeSectors: 0, sectorSize)) {
      try table.addPartition(type: .linux, uniqueGUID: GUID(high: 9, low: 9), size: .largestFree)
    }
    #expect(table == before)
  }

  @Test("requests that make no sense are refused, and nothing changes")
  func refusals() throws {
    var table = try Self.table(entryCount: 2)
    let one = GUID(high: 1, low: 2)
    try table.addPartition(type: .linux, uniqueGUID: one, size: .bytes(10 * mebibyte))
    let before = table
    func refused(_ error: GPTError, _ change: (inout GPT) throws -> Void) {
      #expect(throws: error) { try change(&table) }
      #expect(table == before)
      #expect(!error.description.isEmpty)
    }
    let two = GUID(high: 2, low: 2)
    refused(.uniqueGUIDTwice(one, first: 1, second: 2)) { try $0.addPartition(type: .linux, uniqueGUID: one, size: .bytes(1)) }
    refused(.sizeIsZero) { try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(0)) }
    refused(.noSpace(neededSectors: 1 << 55, largestFreeSectors: 182_239, .bytes512)) {
      try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(.max))
    }
    refused(.numberInUse(1)) { try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), number: 1) }
    refused(.numberInvalid(3, entryCount: 2)) { try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), number: 3) }
    refused(.numberInvalid(0, entryCount: 2)) { try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), number: 0) }
    refused(.typeIsZero(number: 2)) { try $0.addPartition(type: .zero, uniqueGUID: two, size: .bytes(1)) }
    refused(.uniqueGUIDIsZero(number: 2)) { try $0.addPartition(type: .linux, uniqueGUID: .zero, size: .bytes(1)) }
    refused(.nameTooLong(number: 2, unitCount: 37)) {
      try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), name: String(repeating: "x", count: 37))
    }
    refused(.nameHoldsNUL(number: 2)) { try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), name: "a\0b") }
    refused(.alignmentInvalid(byteCount: 0, sectorSize: .bytes512)) {
      try $0.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1), alignmentByteCount: 0)
    }
    refused(.alignmentInvalid(byteCount: 1000, sectorSize: .bytes512)) { _ = try $0.freeRanges(alignmentByteCount: 1000) }
    refused(.noSuchPartition(2)) { try $0.removePartitions(numbers: [1, 2]) }
    refused(.partitionReversed(number: 2, first: 40, last: 39)) {
      try $0.addPartition(GPTPartition(number: 2, type: .linux, uniqueGUID: two, firstLBA: 40, lastLBA: 39))
    }
    for (first, last): (LBA, LBA) in [(33, 40), (204_000, 204_767), (0, LBA(.max)), (LBA(.max), LBA(.max))] {
      refused(.partitionOutOfBounds(number: 2, first: first, last: last, usableFirst: 34, usableLast: 204_766)) {
        try $0.addPartition(GPTPartition(number: 2, type: .linux, uniqueGUID: two, firstLBA: first, lastLBA: last))
      }
    }
    for (first, last): (LBA, LBA) in [(40, 2048), (22527, 30000), (3000, 3001)] {
      let pair = first < 2048 ? (2, 1) : (1, 2)
      refused(.partitionsOverlap(first: pair.0, second: pair.1)) {
        try $0.addPartition(GPTPartition(number: 2, type: .linux, uniqueGUID: two, firstLBA: first, lastLBA: last))
      }
    }
    try table.addPartition(type: .linux, uniqueGUID: two, size: .bytes(1))
    #expect(throws: GPTError.tableFull(entryCount: 2)) {
      try table.addPartition(type: .linux, uniqueGUID: GUID(high: 3, low: 3), size: .bytes(1))
    }
  }

  @Test("a partition that overlaps a distant one behind a short one is found")
  func distantOverlap() throws {
    var table = try Self.table()
    try table.addPartition(GPTPartition(number: 1, type: .linux, uniqueGUID: GUID(high: 1, low: 1), firstLBA: 100, lastLBA: 1000))
    #expect(throws: GPTError.partitionsOverlap(first: 1, second: 2)) {
      try table.addPartition(GPTPartition(number: 2, type: .linux, uniqueGUID: GUID(high: 1, low: 2), firstLBA: 200, lastLBA: 210))
    }
  }

  @Test("update, grow and shrink the disk")
  func changing() throws {
    var table = try Self.table(mebibytes: 10)
    var partition = try table.addPartition(type: .linux, uniqueGUID: GUID(high: 1, low: 1), size: .bytes(4 * mebibyte), name: "old")
    partition.name = "new"
    partition.attributes = [.readOnly, .noAutomaticMount]
    partition.lastLBA = table.lastUsableLBA
    try table.updatePartition(partition)
    #expect(table.partitions == [partition])
    let range = try #require(partition.byteRange(sectorSize: .bytes512))
    #expect(range.offsetBytes == mebibyte && range.byteCount == 9 * mebibyte - 33 * 512)
    var other = partition
    other.number = 2
    #expect(throws: GPTError.noSuchPartition(2)) { try table.updatePartition(other) }
    try table.fit(toDiskByteCount: 20 * mebibyte + 511)
    #expect(table.sectorCount == 40960 && table.lastUsableLBA == 40926 && table.partitions == [partition])
    #expect(throws: (any Error).self) { try table.fit(toDiskByteCount: 9 * mebibyte) }
    #expect(throws: (any Error).self) { try table.fit(toDiskByteCount: 1000) }
    #expect(table.sectorCount == 40960)
    try table.fit(toDiskByteCount: 10 * mebibyte)
    #expect(table.sectorCount == 20480)
  }

  @Test("names are cut without splitting a surrogate pair")
  func names() {
    #expect(GPTPartition.nameCutToFit("pool") == "pool")
    let exact = String(repeating: "a", count: 34) + "🚀"
    #expect(GPTPartition.nameCutToFit(exact) == exact)
    #expect(GPTPartition.nameCutToFit(String(repeating: "a", count: 35) + "🚀") == String(repeating: "a", count: 35))
    #expect(GPTPartition.nameCutToFit(String(repeating: "水", count: 50)) == String(repeating: "水", count: 36))
  }

  @Test("hostile bounds give no byte range")
  func hostileByteRange() {
    let type = GUID.linux
    for (first, last): (LBA, LBA) in [(0, LBA(.max)), (LBA(.max), LBA(.max)), (5, 4), (LBA(1 << 60), LBA(1 << 61))] {
      let partition = GPTPartition(number: 1, type: type, uniqueGUID: type, firstLBA: first, lastLBA: last)
      #expect(partition.byteRange(sectorSize: .bytes4096) == nil)
    }
  }
}
