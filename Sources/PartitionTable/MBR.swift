/// A partition named by a master boot record. Read only: this project writes no MBR but the protective one.
public struct MBRPartition: Hashable, Sendable {
  /// 1 to 4 for the entries of sector 0; from 5 on for logical partitions.
  public let number: Int
  /// Whether the entry is marked active.
  public let isBootable: Bool
  /// Type byte.
  public let type: UInt8
  /// First sector, from the start of the disk.
  public let firstLBA: LBA
  /// Length in sectors.
  public let sectorCount: UInt64

  /// Last sector, inclusive. Both numbers come from 32-bit fields (a logical partition's start is a sum of two), so nothing overflows.
  public var lastLBA: LBA { LBA(firstLBA.value + sectorCount - 1) }

  /// Whether it only holds logical partitions.
  public var isExtended: Bool { type == 0x05 || type == 0x0F || type == 0x85 }
}

/// The table of a master boot record, logical partitions included.
public struct MBR: Hashable, Sendable {
  /// The disk signature by which Windows knows the disk (sfdisk's label-id); 0 when there is none.
  public let diskSignature: UInt32
  /// The 446 bytes before the entries, disk signature included.
  public let bootCode: [UInt8]
  /// Partitions by rising number, extended ones included.
  public internal(set) var partitions: [MBRPartition]

  static let entriesOffset = 446
  static let signatureOffset = 510
  static let signature: UInt16 = 0xAA55
  static let protectiveType: UInt8 = 0xEE

  /// The entry that stands for a GPT (type 0xEE), if there is one.
  public var protectiveEntry: MBRPartition? { partitions.first { $0.type == Self.protectiveType } }

  /// Whether the only entry is one that stands for a GPT and starts at sector 1.
  public var isProtective: Bool { partitions.count == 1 && protectiveEntry?.firstLBA == 1 }

  /// What sector 0 turned out to be.
  enum Sector: Equatable {
    /// Not even the boot signature.
    case blank
    /// The boot signature, but no table: the boot sector of a file system, or damage.
    case bootSector
    case table(MBR)
  }

  /// Reads sector 0 (at least 512 bytes), without logical partitions.
  static func decode(sector: ArraySlice<UInt8>) -> Sector {
    guard sector.count >= 512, sector.uint16(at: signatureOffset) == signature else { return .blank }
    var partitions: [MBRPartition] = []
    for index in 0..<4 {
      let entry = sector.part(entriesOffset + 16 * index, 16)
      guard entry.byte(at: 0) == 0 || entry.byte(at: 0) == 0x80 else { return .bootSector }
      if let partition = MBRPartition(entry: entry, number: index + 1, base: 0) { partitions.append(partition) }
    }
    // Boot sectors of FAT and NTFS end in the same signature; where they do not have code, the entries may look empty.
    if partitions.isEmpty, looksLikeFileSystem(sector) { return .bootSector }
    let bootCode = Array(sector.part(0, entriesOffset))
    return .table(MBR(diskSignature: sector.uint32(at: 440), bootCode: bootCode, partitions: partitions))
  }

  /// A jump and a BIOS parameter block with a valid sector size, or the name of a file system that has no such block.
  private static func looksLikeFileSystem(_ sector: ArraySlice<UInt8>) -> Bool {
    let name = Array(sector.part(3, 8))
    if name == Array("NTFS    ".utf8) || name == Array("EXFAT   ".utf8) { return true }
    guard sector.byte(at: 0) == 0xEB || sector.byte(at: 0) == 0xE9 else { return false }
    let sectorByteCount = sector.uint16(at: 11)
    let sectorsPerCluster = sector.byte(at: 13)
    return (512...4096).contains(sectorByteCount) && sectorByteCount.nonzeroBitCount == 1 && sectorsPerCluster.nonzeroBitCount == 1
  }
}

extension MBRPartition {
  /// Reads an entry of 16 bytes whose start is relative to `base`; nil when it is unused. `base` is a sum of at most two 32-bit numbers.
  init?(entry: ArraySlice<UInt8>, number: Int, base: UInt64) {
    guard entry.byte(at: 4) != 0, entry.uint32(at: 12) != 0 else { return nil }
    self.number = number
    isBootable = entry.byte(at: 0) == 0x80
    type = entry.byte(at: 4)
    firstLBA = LBA(base + UInt64(entry.uint32(at: 8)))
    sectorCount = UInt64(entry.uint32(at: 12))
  }
}
