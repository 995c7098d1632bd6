import PartitionTable
import Testing

/// A file system on the whole disk, with what is left of an older GPT around it.
@Suite("Left-overs of a GPT")
struct LeftOverTests {
  static func superblock() -> [UInt8] {
    var block = [UInt8](repeating: 0, count: 1024)
    block.replaceSubrange(0..<8, with: [0, 1, 0, 0, 0, 4, 0, 0])
    block.replaceSubrange(0x18..<0x1C, with: [2, 0, 0, 0])
    block.replaceSubrange(0x38..<0x3A, with: [0x53, 0xEF])
    block.replaceSubrange(0x4C..<0x50, with: [1, 0, 0, 0])
    return block
  }

  /// Each leaves the backup at the disk's end as it was.
  static func put(_ what: String, on disk: inout TestDisk) {
    let unit = disk.sectorSize.byteCount
    switch what {
    case "image": disk.write([UInt8](repeating: 0, count: 40960), at: 0)
    case "ext4": disk.write(superblock(), at: 1024)
    case "ext4 image":
      disk.write([UInt8](repeating: 0, count: 40960), at: 0)
      disk.write(superblock(), at: 1024)
    case "swap": disk.write(Array("SWAPSPACE2".utf8), at: 4086)
    default:
      disk.write(MBRScanTests.sector([]), at: 0)
      disk.write([0xEB, 0x3C, 0x90] + Array("mkfs.fat".utf8) + [0x00, 0x02, 0x04, 0x04, 0x00], at: 0)
      disk.write([UInt8](repeating: 0xF8, count: unit), at: UInt64(unit))
    }
  }

  @Test("are not served, nor believed unasked", arguments: SectorSize.allCases, ["image", "ext4", "ext4 image", "swap", "FAT"])
  func leftOver(sectorSize: SectorSize, what: String) throws {
    let table = try GPTScanTests.sample(sectorSize)
    var disk = try TestDisk(table)
    Self.put(what, on: &disk)
    // Under sectors of 4 KiB both lie in sector 0, behind the MBR: the table is whole, and so is the file system.
    if sectorSize == .bytes4096 && ["ext4", "swap"].contains(what) {
      #expect(disk.scan().usablePartitions?.count == 2)
      disk.patch(4096, [UInt8](repeating: 0xA5, count: 512))
    }
    let scan = disk.scan()
    #expect(scan.kind == .gpt && scan.gptSource == .backup && scan.usablePartitions == nil, "\(scan.findings)")
    #expect(throws: PartitionTableRefusal.self) { try scan.repair() }
    #expect(throws: PartitionTableRefusal.self) { try scan.repair(from: .primary) }
    #expect(throws: PartitionTableRefusal.self) { try scan.editableTable() }
    guard what != "FAT" else {
      #expect(throws: PartitionTableRefusal.self) { try scan.repair(from: .backup) }
      return
    }
    for step in try scan.repair(from: .backup).steps { disk.write(step) }
    #expect(disk.scan().findings.isEmpty && disk.scan().usablePartitions?.count == 2)
  }

  @Test("what only looks a little like it is damage, and the backup counts")
  func damage() throws {
    for offset in [0x18, 0x4C] {
      var disk = try TestDisk(GPTScanTests.sample())
      var block = Self.superblock()
      block[offset] = 0xFF
      disk.write(block, at: 1024)
      #expect(disk.scan().usablePartitions?.count == 2)
      #expect(try disk.scan().repair().steps.count == 1)
    }
  }

  @Test("a boot sector over a GPT that is whole is not served either")
  func bootSector() throws {
    var disk = try TestDisk(GPTScanTests.sample())
    disk.write(MBRScanTests.sector([]), at: 0)
    disk.write([0xEB, 0x52, 0x90] + Array("NTFS    ".utf8), at: 0)
    #expect(disk.scan().kind == .gpt && disk.scan().findings == [.bootSectorOverGPT] && disk.scan().usablePartitions == nil)
  }
}
