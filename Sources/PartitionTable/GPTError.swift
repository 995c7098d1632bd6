/// Why a table cannot be made, changed or written. The same values name what is wrong in a table found on a disk.
public enum GPTError: Error, Hashable, Sendable, CustomStringConvertible {
  case diskTooSmall(diskByteCount: UInt64, neededByteCount: UInt64)
  case entryCountInvalid(Int, maximum: Int)
  case usableRangeInvalid(first: LBA, last: LBA, allowedFirst: LBA, allowedLast: LBA)
  case numberInvalid(Int, entryCount: Int)
  case numberInUse(Int)
  case noSuchPartition(Int)
  case tableFull(entryCount: Int)
  case typeIsZero(number: Int)
  case uniqueGUIDIsZero(number: Int)
  case uniqueGUIDTwice(GUID, first: Int, second: Int)
  case partitionReversed(number: Int, first: LBA, last: LBA)
  case partitionOutOfBounds(number: Int, first: LBA, last: LBA, usableFirst: LBA, usableLast: LBA)
  case partitionsOverlap(first: Int, second: Int)
  case nameTooLong(number: Int, unitCount: Int)
  case nameHoldsNUL(number: Int)
  case sizeIsZero
  case alignmentInvalid(byteCount: UInt64, sectorSize: SectorSize)
  case noSpace(neededSectors: UInt64, largestFreeSectors: UInt64, SectorSize)
  case noRoomBehind(number: Int, neededSectors: UInt64, availableSectors: UInt64, SectorSize)
  case percentInvalid(Int)
  case metadataSizeInvalid(byteCount: UInt64)
  case bootCodeInvalid(byteCount: Int)

  public var description: String {
    switch self {
    case .diskTooSmall(let disk, let needed):
      "the disk has \(disk) bytes and needs at least \(needed): use a larger disk"
    case .entryCountInvalid(let count, let maximum):
      "a table cannot have \(count) entries: give 1 to \(maximum)"
    case .usableRangeInvalid(let first, let last, let allowedFirst, let allowedLast):
      "the usable sectors \(first) to \(last) reach beyond \(allowedFirst) to \(allowedLast), what the table itself leaves free: "
        + "move the table to the disk's present size"
    case .sizeIsZero:
      "a partition needs at least one sector: give a larger size"
    case .alignmentInvalid(let byteCount, let sectorSize):
      "\(byteCount) bytes is no alignment on a disk of \(sectorSize)-byte sectors: give a multiple of the sector size above 0"
    case .noSpace(let needed, let largest, let size):
      "no free range of \(Self.size(needed, size)): the largest has \(Self.size(largest, size)); give a smaller size or delete a partition"
    case .noRoomBehind(let number, let needed, let available, let size):
      "partition \(number) cannot have \(Self.size(needed, size)): with the free room behind it, it can have \(Self.size(available, size)); "
        + "give a smaller size, or delete the partition behind it"
    case .percentInvalid(let percent):
      "\(percent) per cent is no size: give 1 to 100"
    case .metadataSizeInvalid(let byteCount):
      "a metadata partition cannot have \(byteCount) bytes: give a multiple of 1 MiB above 0"
    case .bootCodeInvalid(let byteCount):
      "boot code of \(byteCount) bytes does not fit: give at most 446, what precedes the MBR's partition entries"
    default:
      partitionDescription
    }
  }

  private static func size(_ sectors: UInt64, _ sectorSize: SectorSize) -> String {
    let mebibyte = (1 << 20) / sectorSize.wide
    return sectors >= mebibyte && sectors % mebibyte == 0 ? "\(sectors / mebibyte) MiB" : "\(sectors) sectors of \(sectorSize) bytes"
  }

  /// The messages that are about one or two partitions.
  private var partitionDescription: String {
    switch self {
    case .numberInvalid(let number, let count):
      "there is no partition number \(number) in a table of \(count) entries: give 1 to \(count)"
    case .numberInUse(let number):
      "partition \(number) exists already: give another number or delete it first"
    case .noSuchPartition(let number):
      "partition \(number) does not exist: list the partitions for those that do"
    case .tableFull(let count):
      "all \(count) entries of the table are used: delete a partition first"
    case .typeIsZero(let number):
      "partition \(number) has type zero, which marks an unused entry: give it a type"
    case .uniqueGUIDIsZero(let number):
      "partition \(number) has no unique GUID: give it one"
    case .uniqueGUIDTwice(let guid, let first, let second):
      "partitions \(first) and \(second) have the same unique GUID \(guid): give one of them another"
    case .partitionReversed(let number, let first, let last):
      "partition \(number) ends at sector \(last), before its start at \(first): delete it or correct its bounds"
    case .partitionOutOfBounds(let number, let first, let last, let usableFirst, let usableLast):
      "partition \(number), sectors \(first) to \(last), leaves the usable range \(usableFirst) to \(usableLast): "
        + "shrink, move or delete it"
    case .partitionsOverlap(let first, let second):
      "partitions \(first) and \(second) overlap: shrink, move or delete one of them"
    case .nameTooLong(let number, let count):
      "the name of partition \(number) has \(count) UTF-16 units: shorten it to \(PartitionLimits.nameUnitCount)"
    case .nameHoldsNUL(let number):
      "the name of partition \(number) holds a NUL, which would end it early: remove the NUL"
    default:
      "the partition table is not usable"
    }
  }
}
