import PartitionTable
import Testing

@Suite("Sizes, types and attributes by name")
struct SizeTests {
  /// 100 MiB of 512-byte sectors: usable from 34 to 204,766.
  private func table() throws -> GPT { try GPTEditingTests.table() }

  private func guid(_ number: UInt64) -> GUID { GUID(high: number, low: 99) }

  @Test("shares of the disk and of what is free")
  func shares() throws {
    var table = try table()
    let half = try table.addPartition(type: .linux, uniqueGUID: guid(1), size: .percentOfDisk(50))
    // 50 % of 204,733 sectors, rounded down to whole MiB.
    #expect(half.firstLBA == 2048 && half.sectorCount == 49 * 2048)
    let quarter = try table.addPartition(type: .linux, uniqueGUID: guid(2), size: .percentOfFree(50))
    #expect(quarter.firstLBA.value == half.lastLBA.value + 1 && quarter.sectorCount == 24 * 2048)
    #expect(throws: GPTError.noSpace(neededSectors: 49 * 2048, largestFreeSectors: 53215, .bytes512)) {
      try table.addPartition(type: .linux, uniqueGUID: guid(3), size: .percentOfDisk(50))
    }
    let rest = try table.addPartition(type: .linux, uniqueGUID: guid(3), size: .percentOfDisk(100))
    #expect(rest.lastLBA == table.lastUsableLBA)
    for percent in [0, -1, 101, Int.max] {
      #expect(throws: GPTError.percentInvalid(percent)) { try table.resizePartition(number: 1, to: .percentOfDisk(percent)) }
    }
    var empty = try self.table()
    #expect(throws: GPTError.sizeIsZero) {
      try empty.addPartition(type: .linux, uniqueGUID: guid(1), size: .percentOfDisk(50), alignmentByteCount: 1 << 40)
    }
  }

  @Test("a partition grows into the room behind it and nowhere else")
  func resizing() throws {
    var table = try table()
    try table.addPartition(type: .linux, uniqueGUID: guid(1), size: .bytes(10 * mebibyte))
    try table.addPartition(type: .linux, uniqueGUID: guid(2), size: .bytes(10 * mebibyte))
    try table.addPartition(type: .linux, uniqueGUID: guid(3), size: .bytes(10 * mebibyte))
    try table.removePartitions(numbers: [2])
    let others = table.partition(number: 3)
    #expect(throws: GPTError.noRoomBehind(number: 1, neededSectors: 40961, availableSectors: 40960, .bytes512)) {
      try table.resizePartition(number: 1, to: .bytes(20 * mebibyte + 1))
    }
    #expect(throws: GPTError.noRoomBehind(number: 1, neededSectors: 1 << 55, availableSectors: 40960, .bytes512)) {
      try table.resizePartition(number: 1, to: .bytes(.max))
    }
    #expect(try table.resizePartition(number: 1, to: .percentOfFree(50)).sectorCount == 15 * 2048)
    #expect(try table.resizePartition(number: 1, to: .largestFree).sectorCount == 40960)
    #expect(try table.resizePartition(number: 1, to: .bytes(mebibyte)).sectorCount == 2048)
    #expect(try table.resizePartition(number: 3, to: .percentOfDisk(100)).lastLBA == table.lastUsableLBA)
    #expect(table.partition(number: 3)?.firstLBA == others?.firstLBA)
    #expect(throws: GPTError.sizeIsZero) { try table.resizePartition(number: 1, to: .bytes(0)) }
    #expect(throws: GPTError.noSuchPartition(2)) { try table.resizePartition(number: 2, to: .largestFree) }
  }

  @Test("sizes are told as people give them")
  func messages() {
    let noSpace = GPTError.noSpace(neededSectors: 600 * 256, largestFreeSectors: 255, .bytes4096).description
    #expect(noSpace.contains("range of 600 MiB: ") && noSpace.contains("has 255 sectors of 4096 bytes;"))
    let room = GPTError.noRoomBehind(number: 2, neededSectors: 20 << 31, availableSectors: 1_044_480, .bytes512).description
    #expect(room.contains("2 cannot have 20971520 MiB") && room.contains("it can have 510 MiB;"))
  }

  @Test("the alignment is a multiple of 1 MiB and of the stripe")
  func alignment() {
    let kibibyte: UInt64 = 1024
    let expected: [(UInt64, UInt64)] = [
      (0, mebibyte), (256 * kibibyte, mebibyte), (768 * kibibyte, 3 * mebibyte), (1280 * kibibyte, 5 * mebibyte),
      (2 * mebibyte, 2 * mebibyte),
      (12 * kibibyte, 3 * mebibyte), (.max, mebibyte),
    ]
    for (stripe, alignment) in expected { #expect(GPT.alignmentByteCount(stripeByteCount: stripe) == alignment, "\(stripe)") }
  }

  @Test("random changes never make two partitions overlap, nor one leave the disk", arguments: SectorSize.allCases)
  func randomChanges(sectorSize: SectorSize) throws {
    var generator = SeededGenerator(seed: 40)
    var outcomes = (done: 0, refused: 0)
    var table = try GPTEditingTests.table(mebibytes: 300, sectorSize: sectorSize)
    for _ in 0..<4000 {
      let sizes: [GPT.PartitionSize] = [
        .bytes(generator.next() % (200 * mebibyte)), .bytes(generator.next()), .largestFree, .percentOfDisk(Int(generator.next() % 102)),
        .percentOfFree(Int(generator.next() % 102)),
      ]
      let size = sizes[Int(generator.next() % 5)]
      let number = Int(generator.next() % 8)
      let alignment = [UInt64(4096), mebibyte, 3 * mebibyte][Int(generator.next() % 3)]
      let before = table
      do {
        switch generator.next() % 4 {
        case 0: try table.removePartitions(numbers: [number])
        case 1: try table.resizePartition(number: number, to: size, alignmentByteCount: alignment)
        default: try table.addPartition(type: .linux, uniqueGUID: generator.guid(), size: size, alignmentByteCount: alignment)
        }
        outcomes.done += 1
        #expect(table.problems().isEmpty)
      } catch {
        outcomes.refused += 1
        #expect(table == before)
      }
    }
    #expect(outcomes.done > 500 && outcomes.refused > 500, "\(outcomes)")
  }

  @Test("types by name, alias, code and GUID, in either case")
  func types() {
    let expected: [(String, GUID)] = [
      ("linux", .linux), ("LINUX", .linux), ("swap", .linuxSwap), ("efi", .efiSystem), ("ESP", .efiSystem), ("lvm", .linuxLVM),
      ("raid", .linuxRAID), ("home", .linuxHome), ("root-x86-64", .linuxRootX8664), ("msdata", .microsoftBasicData),
      ("MSR", .microsoftReserved),
      ("bios", .biosBoot), ("ef02", .biosBoot), ("linux filesystem", .linux), ("0fc63daf-8483-4772-8e79-3d69d8477de4", .linux),
    ]
    for (text, guid) in expected { #expect(GPTPartitionType.parse(text) == guid, "\(text)") }
    for text in ["", "nothing", "00000000-0000-0000-0000-000000000000"] { #expect(GPTPartitionType.parse(text) == nil) }
    for type in GPTPartitionType.all { #expect(GPTPartitionType.parse(GPTPartitionType.shortName(type.guid)) == type.guid) }
    #expect(GPTPartitionType.shortName(guid(7)) == guid(7).description)
  }

  @Test("attributes by name and by bit")
  func attributes() {
    for name in GPTAttributes.knownNames { #expect(GPTAttributes(parsing: name)?.words == [name]) }
    #expect(GPTAttributes(parsing: "Read-Only") == .readOnly && GPTAttributes(parsing: "60") == .readOnly)
    #expect(GPTAttributes(parsing: "63") == .noAutomaticMount && GPTAttributes(parsing: "0") == .requiredPartition)
    for text in ["", "64", "-1", "x", "1.5"] { #expect(GPTAttributes(parsing: text) == nil) }
    #expect(GPTAttributes(rawValue: 1 << 5 | 1 << 62).words == ["5", "hidden"])
  }
}
