/// What kind of table a disk carries.
public enum PartitionTableKind: String, Sendable, Hashable, CaseIterable {
  /// None: sector 0 has no boot signature, and there is no GPT.
  case none
  /// None, but sector 0 has the boot signature: the boot sector of a file system, or a damaged MBR.
  case bootSector
  /// A master boot record, perhaps without partitions.
  case mbr
  /// A GPT of which at least one copy is good, with a protective MBR or none.
  case gpt
  /// A good GPT whose MBR names partitions beside the protective entry.
  case hybrid
  /// A good GPT under an MBR that names partitions and has no protective entry. Most systems follow the MBR.
  case mbrOverGPT
  /// Traces of a GPT (a header or a protective MBR), of which no copy is good.
  case damagedGPT
}

/// Something about a partition table that its owner should know.
public enum PartitionTableFinding: Hashable, Sendable, CustomStringConvertible {
  case mbrUnreadable
  case gptCopyBad(GPTCopy, GPTHeaderFault)
  case gptBackupNotAtEnd(found: LBA, expected: LBA)
  case gptCopiesDiffer
  case gptProblem(GPTError)
  case gptOfOtherSectorSize(SectorSize)
  case protectiveMBRMissing
  case protectiveMBRSize(foundSectors: UInt64, expectedSectors: UInt64)
  case mbrWithoutProtectiveEntry
  case bootSectorOverGPT
  case fileSystemOverGPT
  case mbrPartitionOutOfBounds(number: Int)
  case mbrPartitionsOverlap(first: Int, second: Int)
  case logicalPartitionOutsideExtended(number: Int)
  case ebrUnreadable(LBA)
  case ebrSignatureMissing(LBA)
  case ebrOutOfBounds(LBA)
  case ebrLoop(LBA)
  case ebrChainTooLong(maximum: Int)

  public var description: String {
    switch self {
    case .mbrUnreadable: "sector 0 cannot be read"
    case .gptCopyBad(let copy, let fault): "the \(copy) GPT is not usable: \(fault)"
    case .gptBackupNotAtEnd(let found, let expected):
      "the backup GPT is at sector \(found), not at the disk's end, sector \(expected): the disk has grown since; move the backup"
    case .gptCopiesDiffer: "the primary and the backup GPT are both whole but do not agree: the primary counts"
    case .gptProblem(let problem): "\(problem)"
    case .gptOfOtherSectorSize(let size):
      "a GPT for \(size)-byte sectors was found: the disk was partitioned under that sector size; attach it so"
    case .protectiveMBRMissing: "the protective MBR is missing: systems that look for it first will not see the GPT"
    case .protectiveMBRSize(let found, let expected): "the protective MBR covers \(found) sectors, not \(expected)"
    case .mbrWithoutProtectiveEntry: "the MBR has no protective entry: systems follow the MBR; the GPT is a left-over or was overwritten"
    case .bootSectorOverGPT:
      "sector 0 is the boot sector of a file system: the disk was formatted as a whole after it was partitioned, or the MBR was damaged"
    case .fileSystemOverGPT:
      "the superblock of a file system lies where the primary GPT was: the disk was formatted as a whole after it was partitioned"
    default: mbrDescription
    }
  }

  private var mbrDescription: String {
    switch self {
    case .mbrPartitionOutOfBounds(let number): "MBR partition \(number) leaves the disk"
    case .mbrPartitionsOverlap(let first, let second): "MBR partitions \(first) and \(second) overlap"
    case .logicalPartitionOutsideExtended(let number): "MBR partition \(number) leaves the extended partition that names it"
    case .ebrUnreadable(let lba): "the extended boot record at sector \(lba) cannot be read: later logical partitions are not known"
    case .ebrSignatureMissing(let lba): "there is no extended boot record at sector \(lba): later logical partitions are not known"
    case .ebrOutOfBounds(let lba): "an extended boot record at sector \(lba) would lie outside its extended partition"
    case .ebrLoop(let lba): "the chain of extended boot records returns to sector \(lba)"
    case .ebrChainTooLong(let maximum): "there are more than \(maximum) extended boot records: the rest was not read"
    default: "unknown"
    }
  }
}

/// What was found where a partition table would be.
public struct PartitionTableScan: Hashable, Sendable {
  /// Sector size that was scanned under.
  public internal(set) var sectorSize: SectorSize
  /// Size of the disk in bytes.
  public internal(set) var diskByteCount: UInt64
  /// The kind of table.
  public internal(set) var kind: PartitionTableKind = .none
  /// The MBR, whenever sector 0 holds one: protective and hybrid ones too.
  public internal(set) var mbr: MBR?
  /// The copy that counts: the primary if it is good, else the backup; nil when neither is.
  public internal(set) var gptSource: GPTCopy?
  /// The copies that are good.
  var primary: FoundCopy?
  var backup: FoundCopy?
  /// Everything worth telling; empty for a sound table.
  public internal(set) var findings: [PartitionTableFinding] = []
  /// The places of both headers and sector 0 could be read, and there is neither a GPT nor an MBR partition.
  public internal(set) var isWiped = false
  /// The first thing that was looked for and could not be read; nil where all could. Another scan may find something else.
  public internal(set) var unreadableRange: DiskByteRange?
  /// What was looked at. As long as nothing is written here, a new scan finds the same.
  public internal(set) var consultedRanges: [DiskByteRange] = []

  /// A good copy of a GPT, with what its header says of the two copies' places.
  struct FoundCopy: Hashable {
    var gpt: GPT
    var headerLBA: LBA
    var alternateLBA: LBA
  }

  /// The GPT, when a copy of it is good.
  public var gpt: GPT? { gptSource == .backup ? backup?.gpt : primary?.gpt }

  /// A copy of the GPT, when that one is good.
  public func gpt(_ copy: GPTCopy) -> GPT? { copy == .primary ? primary?.gpt : backup?.gpt }

  /// The backup is all that is left, and something else lies where the table began: most likely a file system, or its image, that was put on
  /// the whole disk.
  public var isBackupLeftOver: Bool {
    gptSource == .backup && (findings.contains(.protectiveMBRMissing) || findings.contains(.fileSystemOverGPT))
  }

  /// How to treat sector 0 when the GPT found here is written again, changed or repaired: tables of other tools stay untouched, and so
  /// does boot code.
  public var protectiveMBR: ProtectiveMBR {
    if findings.contains(.bootSectorOverGPT) { return .untouched }
    return switch kind {
    case .hybrid, .mbrOverGPT, .mbr, .bootSector: .untouched
    case .gpt, .damagedGPT, .none: mbr.map { .keepingBootCode($0.bootCode) } ?? .fresh
    }
  }
}
