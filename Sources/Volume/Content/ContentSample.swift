import BlockDevice
import PartitionTable
import Reactor

/// The bytes of a partition, or of a whole disk, by which its content is recognised. All else counts as zeros.
///
/// Signatures lie at fixed places near one of the two ends: of those libblkid knows the farthest from the start is VMFS's at 2 MiB and a second
/// LUKS2 header at 4 MiB, the farthest from the end that of a Promise RAID, 1.5 MiB before it. NTFS, FAT32 and exFAT keep the label, and NTFS
/// something without which it is not recognised, in a table that their boot sector points at: so that is read too.
public struct ContentSample: Sendable {
  struct Piece: Sendable {
    var offset: UInt64
    var bytes: [UInt8]
  }

  /// Bytes of the partition or disk.
  public let byteCount: UInt64
  let logicalSector: Int
  /// What is not zeros, without overlaps.
  private(set) var pieces: [Piece] = []

  /// Of content that is in memory, for who has it there.
  init(byteCount: UInt64, logicalSector: Int = 512) {
    self.byteCount = byteCount
    self.logicalSector = logicalSector
  }

  /// - Parameter range: on the disk, a multiple of its sectors.
  static func read(_ range: Range<UInt64>, of device: BlockDevice, _ request: IORequest) async throws(BlockError) -> ContentSample {
    let byteCount = range.upperBound - range.lowerBound
    var sample = ContentSample(byteCount: byteCount, logicalSector: device.geometry.logicalSector)
    var done: [Range<UInt64>] = []
    for wanted in endRanges(of: byteCount) {
      try await sample.add(wanted, at: range.lowerBound, of: device, request)
      done.append(wanted)
    }
    let alignment = UInt64(VolumeLimits.contentPieceByteCount)
    for wanted in BootSectorPointers.ranges(sample.bytes(at: 0, count: 512), byteCount: byteCount) {
      // Whole pieces, and none twice.
      let start = wanted.lowerBound / alignment * alignment
      for offset in stride(from: start, to: wanted.upperBound, by: Int(alignment)) {
        let piece = offset..<min(offset + alignment, byteCount)
        if done.contains(where: { $0.overlaps(piece) }) { continue }
        try await sample.add(piece, at: range.lowerBound, of: device, request)
        done.append(piece)
      }
    }
    return sample
  }

  /// The head and the tail.
  static func endRanges(of byteCount: UInt64) -> [Range<UInt64>] {
    let headEnd = min(byteCount, VolumeLimits.contentHeadByteCount)
    let alignment = UInt64(VolumeLimits.contentPieceByteCount)
    let tail = byteCount - min(byteCount, VolumeLimits.contentTailByteCount)
    let tailStart = max(headEnd, tail / alignment * alignment)
    return tailStart < byteCount ? [0..<headEnd, tailStart..<byteCount] : [0..<headEnd]
  }

  private mutating func add(
    _ range: Range<UInt64>, at base: UInt64, of device: BlockDevice, _ request: IORequest
  ) async throws(BlockError) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(range.upperBound - offset, UInt64(VolumeLimits.contentPieceByteCount)))
      var bytes: [UInt8] = []
      try await PartitionTableIO.readPiece(at: base + offset, byteCount: count, of: device, request, into: &bytes)
      add(bytes, at: offset)
      offset += UInt64(count)
    }
  }

  mutating func add(_ bytes: [UInt8], at offset: UInt64) {
    if bytes.contains(where: { $0 != 0 }) { pieces.append(Piece(offset: offset, bytes: bytes)) }
  }

  /// Zeros where nothing is known, also behind the end.
  func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
    if overflow { return result }
    for piece in pieces {
      let start = max(offset, piece.offset)
      let stop = min(end, piece.offset + UInt64(piece.bytes.count))
      guard start < stop else { continue }
      let from = Int(start - piece.offset)
      result.replaceSubrange(Int(start - offset)..<Int(stop - offset), with: piece.bytes[from..<(from + Int(stop - start))])
    }
    return result
  }
}

/// Where the boot sectors of file systems say that their labels lie.
enum BootSectorPointers {
  /// Ranges within `byteCount`, each at most the limit's length. A boot sector may say anything: what makes no sense gives none.
  static func ranges(_ sector: [UInt8], byteCount: UInt64) -> [Range<UInt64>] {
    guard sector.count >= 512, sector[510] == 0x55, sector[511] == 0xAA else { return [] }
    let name = Array(sector[3..<11])
    let place =
      if name == Array("NTFS    ".utf8) {
        ntfsTable(sector)
      } else if name == Array("EXFAT   ".utf8) {
        exFATRoot(sector)
      } else if Array(sector[82..<87]) == Array("FAT32".utf8) {
        fat32Root(sector)
      } else {
        UInt64?.none
      }
    guard let place, place < byteCount else { return [] }
    return [place..<min(byteCount, place + VolumeLimits.contentTableByteCount)]
  }

  /// The master file table.
  private static func ntfsTable(_ sector: [UInt8]) -> UInt64? {
    // Sectors a cluster; from 0x80 on it is a negative power of two.
    let code = sector[13]
    let sectors: UInt64 = code < 0x80 ? UInt64(code) : 1 << UInt64(256 - Int(code) & 31)
    return product(little(sector, 48, 8), sectors, little(sector, 11, 2))
  }

  private static func exFATRoot(_ sector: [UInt8]) -> UInt64? {
    let (sectorShift, clusterShift) = (sector[108], sector[109])
    guard sectorShift <= 12, clusterShift <= 25 else { return nil }
    return clusterPlace(
      little(sector, 96, 4), heap: little(sector, 88, 4), sectorByteCount: 1 << UInt64(sectorShift), sectors: 1 << UInt64(clusterShift))
  }

  private static func fat32Root(_ sector: [UInt8]) -> UInt64? {
    let (tables, overflow) = little(sector, 36, 4).multipliedReportingOverflow(by: UInt64(sector[16]))
    if overflow { return nil }
    return clusterPlace(
      little(sector, 44, 4), heap: little(sector, 14, 2) + tables, sectorByteCount: little(sector, 11, 2), sectors: UInt64(sector[13]))
  }

  /// Clusters are counted from 2, where the heap begins.
  private static func clusterPlace(_ cluster: UInt64, heap: UInt64, sectorByteCount: UInt64, sectors: UInt64) -> UInt64? {
    guard cluster >= 2, let place = product(cluster - 2, sectors, sectorByteCount), let start = product(heap, sectorByteCount, 1) else {
      return nil
    }
    let (sum, overflow) = place.addingReportingOverflow(start)
    return overflow ? nil : sum
  }

  private static func product(_ first: UInt64, _ second: UInt64, _ third: UInt64) -> UInt64? {
    let (part, overflow) = first.multipliedReportingOverflow(by: second)
    let (whole, overflowToo) = part.multipliedReportingOverflow(by: third)
    return overflow || overflowToo ? nil : whole
  }

  private static func little(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
