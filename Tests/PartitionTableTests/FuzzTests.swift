import PartitionTable
import Testing

/// Hostile bytes. The promise is that nothing traps, nothing reads off the disk, and what comes out can be used: asked for problems,
/// free space and wipe ranges, and encoded if it claims to be sound.
@Suite("Hostile images")
struct FuzzTests {
  /// Tables of few entries: a mutation hits something that matters, and checksums cost little.
  static func images() throws -> [(bytes: [UInt8], sectorSize: SectorSize)] {
    var result: [(bytes: [UInt8], sectorSize: SectorSize)] = []
    for (sectorSize, byteCount) in [(SectorSize.bytes512, 40960), (.bytes4096, 57344)] {
      var table = try GPT(
        diskGUID: GUID(high: 5, low: 6), diskByteCount: UInt64(byteCount), sectorSize: sectorSize, entryCount: 4)
      let first = table.firstUsableLBA
      try table.addPartition(GPTPartition(number: 1, type: .linux, uniqueGUID: GUID(high: 1, low: 1), firstLBA: first, lastLBA: first))
      try table.addPartition(
        GPTPartition(
          number: 3, type: .linuxSwap, uniqueGUID: GUID(high: 2, low: 1), firstLBA: LBA(first.value + 1), lastLBA: table.lastUsableLBA,
          name: "b"))
      var bytes = [UInt8](repeating: 0, count: byteCount)
      for write in try table.encode() {
        bytes.replaceSubrange(Int(write.offsetBytes)..<(Int(write.offsetBytes) + write.bytes.count), with: write.bytes)
      }
      result.append((bytes, sectorSize))
    }
    var chained = [UInt8](repeating: 0, count: 40960)
    chained.replaceSubrange(0..<512, with: MBRScanTests.sector([MBRScanTests.entry(0x83, 1, 4), MBRScanTests.entry(0x05, 10, 60)]))
    for lba in [10, 20, 30] {
      let next = lba == 30 ? [] : [MBRScanTests.entry(0x05, UInt32(lba), 10)]
      let record = MBRScanTests.sector([MBRScanTests.entry(0x83, 1, 5)] + next)
      chained.replaceSubrange((lba * 512)..<(lba * 512 + 512), with: record)
    }
    result.append((chained, .bytes512))
    var hybrid = result[0].bytes
    hybrid.replaceSubrange(0..<512, with: MBRScanTests.sector([MBRScanTests.entry(0xEE, 1, 33), MBRScanTests.entry(0x83, 34, 1)]))
    result.append((hybrid, .bytes512))
    return result
  }

  /// Scans an image and uses all that comes out; returns the kind, so that the tests can see that they reach every branch.
  static func exercise(_ bytes: [UInt8], _ sectorSize: SectorSize, round: Int) -> PartitionTableKind {
    var strayed = false
    let scan = PartitionTableScan.scan(diskByteCount: UInt64(bytes.count), sectorSize: sectorSize) { range in
      guard range.offsetBytes + UInt64(range.byteCount) <= UInt64(bytes.count) else {
        strayed = true
        return nil
      }
      return Array(bytes[Int(range.offsetBytes)..<(Int(range.offsetBytes) + range.byteCount)])
    }
    if strayed { Issue.record("a read beyond the disk") }
    // Using the outcome costs as much as the scan, and there is less in it to go wrong: every fifth round, for all images alike.
    guard round % 5 == 0 else { return scan.kind }
    if let table = scan.gpt {
      _ = try? table.freeRanges(alignmentByteCount: 4096)
      let isSound = table.problems().isEmpty
      if isSound != ((try? table.encode()) != nil) { Issue.record("problems() and encode() disagree: \(table)") }
      for partition in table.partitions { _ = (partition.byteRange(sectorSize: sectorSize), partition.name) }
    }
    for partition in scan.usablePartitions ?? [] where partition.endBytes > UInt64(bytes.count) || partition.byteCount == 0 {
      Issue.record("a usable partition beyond the disk")
    }
    for source in [GPTCopy?.none, .backup] {
      if let plan = try? scan.repair(from: source), !plan.steps.isEmpty { checkRepair(plan, bytes, sectorSize) }
    }
    return scan.kind
  }

  /// A repair that can be planned leaves a table that needs none.
  static func checkRepair(_ plan: PartitionTableRepair, _ bytes: [UInt8], _ sectorSize: SectorSize) {
    var repaired = bytes
    for write in plan.steps.joined() {
      let start = Int(write.offsetBytes)
      guard start + write.bytes.count <= repaired.count else {
        Issue.record("a repair beyond the disk")
        return
      }
      repaired.replaceSubrange(start..<(start + write.bytes.count), with: write.bytes)
    }
    let again = PartitionTableScan.scan(diskByteCount: UInt64(bytes.count), sectorSize: sectorSize) { range in
      Array(repaired[Int(range.offsetBytes)..<(Int(range.offsetBytes) + range.byteCount)])
    }
    if again.gpt != plan.table || (try? again.repair())?.steps.isEmpty != true {
      Issue.record("repaired by \(plan.actions), found \(again.findings)")
    }
  }

  /// Interesting numbers land where random bits never would.
  static let edges: [UInt64] = [0, 1, 2, 33, 34, 79, 80, 127, 128, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 55, .max >> 9, .max >> 1, .max - 1, .max]

  static func store(_ value: UInt32, _ bytes: inout [UInt8], at offset: Int) {
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self) }
  }

  static func mutate(_ bytes: inout [UInt8], _ sectorSize: SectorSize, _ generator: inout SeededGenerator) {
    let unit = sectorSize.byteCount
    let hotSpots = [0, unit, 2 * unit, bytes.count - unit, bytes.count - 2 * unit, 10 * 512, 20 * 512]
    for _ in 0..<Int(1 + generator.next() % 4) {
      let random = generator.next()
      let base = hotSpots[Int(random % UInt64(hotSpots.count))]
      let offset = base + Int((random >> 8) % 512)
      switch (random >> 32) % 4 {
      case 0: bytes[offset] ^= 1 << UInt8((random >> 40) % 8)
      case 1: bytes[offset] = UInt8(truncatingIfNeeded: random >> 40)
      case 2:
        let value = edges[Int((random >> 40) % UInt64(edges.count))]
        let start = base + Int((random >> 8) % 64) * 8
        store(UInt32(truncatingIfNeeded: value), &bytes, at: start)
        store(UInt32(truncatingIfNeeded: value >> 32), &bytes, at: start + 4)
      default:
        let value = edges[Int((random >> 40) % UInt64(edges.count))]
        let start = base + Int((random >> 8) % 128) * 4
        store(UInt32(truncatingIfNeeded: value), &bytes, at: start)
      }
    }
  }

  /// Makes the checksums right again, so that mutations get past them; that is what an attacker does.
  static func fixChecksums(_ bytes: inout [UInt8], _ sectorSize: SectorSize) {
    let unit = sectorSize.byteCount
    for (header, entries) in [(unit, 2 * unit), (bytes.count - unit, bytes.count - 2 * unit)] {
      store(CRC32.checksum(bytes[entries..<(entries + 512)]), &bytes, at: header + 88)
      store(0, &bytes, at: header + 16)
      store(CRC32.checksum(bytes[header..<(header + 92)]), &bytes, at: header + 16)
    }
  }

  @Test("200,000 mutations of valid images", arguments: 0..<4)
  func mutations(part: Int) throws {
    var generator = SeededGenerator(seed: UInt64(1000 + part))
    let images = try Self.images()
    var counts: [PartitionTableKind: Int] = [:]
    for round in 0..<50_000 {
      let image = images[Int(generator.next() % UInt64(images.count))]
      var bytes = image.bytes
      Self.mutate(&bytes, image.sectorSize, &generator)
      if generator.next() % 4 != 0 { Self.fixChecksums(&bytes, image.sectorSize) }
      counts[Self.exercise(bytes, image.sectorSize, round: round), default: 0] += 1
    }
    for kind in [PartitionTableKind.gpt, .damagedGPT, .mbr, .bootSector, .hybrid] {
      #expect(counts[kind, default: 0] > 20, "\(counts)")
    }
  }

  @Test("20,000 images of noise, with the signatures in place in half of them")
  func noise() {
    var generator = SeededGenerator(seed: 77)
    let noise = (0..<40960).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    for round in 0..<20_000 {
      let sectorSize = SectorSize.allCases[round % 2]
      let unit = sectorSize.byteCount
      // Another part of one long noise each time: making fresh noise would be all that the test does.
      let length = unit * Int(1 + generator.next() % UInt64(32768 / unit))
      let start = Int(generator.next() % UInt64(40960 - length))
      var bytes = Array(noise[start..<(start + length)])
      if round % 4 < 2 {
        bytes.replaceSubrange(510..<512, with: [0x55, 0xAA])
        for header in [unit, length - unit] where header > 0 && header < length {
          bytes.replaceSubrange(header..<(header + 16), with: Array("EFI PART".utf8) + [0, 0, 1, 0, 92, 0, 0, 0])
        }
      }
      _ = Self.exercise(bytes, sectorSize, round: round)
    }
  }
}
