import PartitionTable
import Testing

@Suite("Pooled disks")
struct PooledDiskTests {
  static let guids = (disk: GUID(high: 1, low: 1), metadata: GUID(high: 2, low: 2), data: GUID(high: 3, low: 3))

  static func make(_ byteCount: UInt64, _ sectorSize: SectorSize, metadata: UInt64 = 32 * mebibyte, name: String = "pool") throws -> GPT {
    try GPT.pooledDisk(
      diskByteCount: byteCount, sectorSize: sectorSize, metadataByteCount: metadata, poolName: name, diskGUID: guids.disk,
      metadataGUID: guids.metadata, dataGUID: guids.data)
  }

  @Test("the layout is the same under both sector sizes, and aligned", arguments: SectorSize.allCases)
  func layout(sectorSize: SectorSize) throws {
    for byteCount in [100 * mebibyte, 100 * mebibyte + 20480, 100 * mebibyte - 512, 36 * mebibyte + 20480, 10_000_000_000_000] {
      let table = try Self.make(byteCount, sectorSize)
      #expect(table.problems().isEmpty)
      #expect(table.partitions.map(\.type) == [.spaceportMetadata, .spaceportData])
      #expect(table.partitions.map(\.number) == [GPT.pooledMetadataNumber, GPT.pooledDataNumber])
      #expect(table.partitions.map(\.name) == ["pool", "pool"])
      let metadata = try #require(table.partitions[0].byteRange(sectorSize: sectorSize))
      let data = try #require(table.partitions[1].byteRange(sectorSize: sectorSize))
      #expect(metadata.offsetBytes == mebibyte && metadata.byteCount == 32 * mebibyte)
      #expect(data.offsetBytes == 33 * mebibyte && data.byteCount % mebibyte == 0)
      // Nothing that would have held another whole MiB is given away, and the backup has its room.
      let end = data.offsetBytes + data.byteCount
      #expect(end + 33 * 512 <= byteCount && end + mebibyte + 5 * 4096 > byteCount / 4096 * 4096)
    }
  }

  @Test("the smallest disk is accepted, one sector less is refused", arguments: SectorSize.allCases)
  func smallest(sectorSize: SectorSize) throws {
    let tail: UInt64 = sectorSize == .bytes512 ? 33 * 512 : 5 * 4096
    let needed = 36 * mebibyte + tail
    #expect(try Self.make(needed, sectorSize).partitions.count == 2)
    let less = needed - UInt64(sectorSize.byteCount)
    #expect(throws: GPTError.diskTooSmall(diskByteCount: less, neededByteCount: needed)) { try Self.make(less, sectorSize) }
  }

  @Test("bad arguments are refused")
  func refusals() {
    for size in [0, 1, mebibyte + 512, UInt64.max] {
      #expect(throws: GPTError.metadataSizeInvalid(byteCount: size)) { try Self.make(100 * mebibyte, .bytes512, metadata: size) }
    }
    let huge = UInt64.max / mebibyte * mebibyte
    #expect(throws: GPTError.diskTooSmall(diskByteCount: 100 * mebibyte, neededByteCount: .max)) {
      try Self.make(100 * mebibyte, .bytes512, metadata: huge)
    }
    #expect(throws: GPTError.nameHoldsNUL(number: 1)) { try Self.make(100 * mebibyte, .bytes512, name: "a\0") }
    #expect(throws: (any Error).self) {
      try GPT.pooledDisk(
        diskByteCount: 100 * mebibyte, sectorSize: .bytes512, metadataByteCount: mebibyte, poolName: "p", diskGUID: Self.guids.disk,
        metadataGUID: Self.guids.data, dataGUID: Self.guids.data)
    }
    #expect(throws: Never.self) { try Self.make(.max, .bytes512) }
  }

  @Test("long names are cut at 36 units")
  func longName() throws {
    let name = String(repeating: "a", count: 35) + "🚀 and more"
    let table = try Self.make(100 * mebibyte, .bytes512, name: name)
    #expect(table.partitions.map(\.name) == [String(repeating: "a", count: 35), String(repeating: "a", count: 35)])
  }

  @Test("after a wipe nothing is found under either sector size", arguments: SectorSize.allCases)
  func wipe(sectorSize: SectorSize) throws {
    for byteCount in [100 * mebibyte, 100 * mebibyte + 3584, 6 * mebibyte + 512] {
      var disk = TestDisk(byteCount: byteCount, sectorSize: sectorSize)
      disk.write(try Self.make(byteCount, sectorSize, metadata: mebibyte).encode())
      #expect(disk.scan().kind == .gpt)
      let ranges = GPT.wipeRanges(diskByteCount: byteCount)
      #expect(ranges.count == 2)
      for range in ranges {
        #expect(range.byteCount <= 24 * 1024 && range.offsetBytes % 4096 == 0)
        #expect(range.offsetBytes + UInt64(range.byteCount) <= byteCount)
        disk.write([UInt8](repeating: 0, count: range.byteCount), at: range.offsetBytes)
      }
      // Not only the signatures are gone, but all that was written.
      for write in try Self.make(byteCount, sectorSize, metadata: mebibyte).encode() {
        let left = try #require(disk.read(DiskByteRange(offsetBytes: write.offsetBytes, byteCount: write.bytes.count)))
        #expect(left.allSatisfy { $0 == 0 })
      }
      for size in SectorSize.allCases {
        disk.sectorSize = size
        let scan = disk.scan()
        #expect(scan.kind == .none && scan.findings.isEmpty && scan.mbr == nil)
      }
    }
  }

  @Test("wipe ranges of tiny disks stay on them", arguments: [0, 1, 512, 4095, 24576, 24577, 40000, 45056, 65536])
  func tinyDisks(byteCount: UInt64) {
    let ranges = GPT.wipeRanges(diskByteCount: byteCount)
    #expect(
      ranges.reduce(0) { $0 + UInt64($1.byteCount) }
        == min(byteCount, ranges.count < 2 ? byteCount : 24576 + (byteCount - ranges[1].offsetBytes)))
    for range in ranges { #expect(range.offsetBytes + UInt64(range.byteCount) <= byteCount) }
  }
}
