/// What is wrong with one copy of a GPT, so that it cannot be used.
public enum GPTHeaderFault: Hashable, Sendable, CustomStringConvertible {
  case unreadable(LBA)
  case signatureMissing(LBA)
  case revisionUnknown(UInt32)
  case headerSizeInvalid(UInt32)
  case headerChecksum(stored: UInt32, computed: UInt32)
  case atWrongLBA(stored: LBA, actual: LBA)
  case entrySizeInvalid(UInt32)
  case entryCountIsZero
  case entryArrayTooLarge(entryCount: UInt32, entryByteCount: UInt32)
  case usableRangeInvalid(first: LBA, last: LBA, diskSectorCount: UInt64)
  case entryArrayMisplaced(first: LBA)
  case entryArrayUnreadable(LBA)
  case entryArrayChecksum(stored: UInt32, computed: UInt32)

  public var description: String {
    switch self {
    case .unreadable(let lba): "its header at sector \(lba) cannot be read"
    case .signatureMissing(let lba): "there is no header at sector \(lba)"
    case .revisionUnknown(let revision): "its revision 0x\(hex(revision)) is not 1.0"
    case .headerSizeInvalid(let size): "its header claims \(size) bytes; 92 to one sector are allowed"
    case .headerChecksum(let stored, let computed):
      "its header's CRC32 is 0x\(hex(computed)), 0x\(hex(stored)) is stored"
    case .atWrongLBA(let stored, let actual): "its header at sector \(actual) says that it belongs at sector \(stored)"
    case .entrySizeInvalid(let size): "its entries claim \(size) bytes each; 128 times a power of two is allowed"
    case .entryCountIsZero: "it claims to have no entries"
    case .entryArrayTooLarge(let count, let size):
      "its \(count) entries of \(size) bytes exceed \(PartitionLimits.maximumEntryArrayByteCount) bytes, the most that is read"
    case .usableRangeInvalid(let first, let last, let count):
      "its usable sectors \(first) to \(last) do not lie on a disk of \(count) sectors"
    case .entryArrayMisplaced(let first): "its entries at sector \(first) lie off the disk or among usable sectors"
    case .entryArrayUnreadable(let lba): "its entries at sector \(lba) cannot be read"
    case .entryArrayChecksum(let stored, let computed):
      "its entries' CRC32 is 0x\(hex(computed)), 0x\(hex(stored)) is stored"
    }
  }
}

/// Eight hexadecimal digits.
func hex(_ value: UInt32) -> String {
  let digits = String(value, radix: 16, uppercase: true)
  return String(repeating: "0", count: 8 - digits.utf8.count) + digits
}

/// The header of one copy (UEFI 2.10, table 5.5).
struct GPTHeader: Equatable {
  /// "EFI PART", little-endian.
  static let signature: UInt64 = 0x5452_4150_2049_4645
  static let revision: UInt32 = 0x0001_0000

  var myLBA: LBA
  var alternateLBA: LBA
  var firstUsableLBA: LBA
  var lastUsableLBA: LBA
  var diskGUID: GUID
  var entriesLBA: LBA
  var entryCount: UInt32
  var entryByteCount: UInt32
  var entriesChecksum: UInt32

  /// Bytes of the entry array; the sum is within the limits once `fault` found nothing.
  var entryArrayByteCount: Int { Int(entryCount) * Int(entryByteCount) }

  /// Reads a header from a whole sector, checking everything that the sector alone can tell.
  static func decode(sector: ArraySlice<UInt8>, at lba: LBA) -> Result<GPTHeader, Fault> {
    guard sector.count >= PartitionLimits.headerByteCount, sector.uint64(at: 0) == signature else {
      return .failure(Fault(.signatureMissing(lba)))
    }
    guard sector.uint32(at: 8) == revision else { return .failure(Fault(.revisionUnknown(sector.uint32(at: 8)))) }
    let byteCount = sector.uint32(at: 12)
    guard byteCount >= PartitionLimits.headerByteCount, byteCount <= sector.count else {
      return .failure(Fault(.headerSizeInvalid(byteCount)))
    }
    let computed = checksum(of: sector.part(0, Int(byteCount)))
    guard sector.uint32(at: 16) == computed else {
      return .failure(Fault(.headerChecksum(stored: sector.uint32(at: 16), computed: computed)))
    }
    let header = GPTHeader(
      myLBA: LBA(sector.uint64(at: 24)), alternateLBA: LBA(sector.uint64(at: 32)), firstUsableLBA: LBA(sector.uint64(at: 40)),
      lastUsableLBA: LBA(sector.uint64(at: 48)), diskGUID: GUID(diskBytes: sector.part(56, 16)),
      entriesLBA: LBA(sector.uint64(at: 72)), entryCount: sector.uint32(at: 80), entryByteCount: sector.uint32(at: 84),
      entriesChecksum: sector.uint32(at: 88))
    guard header.myLBA == lba else { return .failure(Fault(.atWrongLBA(stored: header.myLBA, actual: lba))) }
    return .success(header)
  }

  /// Checks the ranges against the disk, so that all arithmetic on them is safe from here on; nil when nothing is wrong.
  func fault(copy: GPTCopy, sectorSize: SectorSize, sectorCount: UInt64) -> GPTHeaderFault? {
    guard entryByteCount >= 128, entryByteCount.nonzeroBitCount == 1 else { return .entrySizeInvalid(entryByteCount) }
    guard entryCount > 0 else { return .entryCountIsZero }
    // Two 32-bit factors cannot overflow 64 bits.
    guard UInt64(entryCount) * UInt64(entryByteCount) <= UInt64(PartitionLimits.maximumEntryArrayByteCount) else {
      return .entryArrayTooLarge(entryCount: entryCount, entryByteCount: entryByteCount)
    }
    let arraySectors = GPT.arraySectorCount(Int(entryCount), Int(entryByteCount), sectorSize)
    // A usable range needs MBR, header and array before it, and array and header behind it.
    guard sectorCount > 2 * arraySectors + 3, firstUsableLBA.value >= 2 + arraySectors, lastUsableLBA >= firstUsableLBA,
      lastUsableLBA.value < sectorCount - 1
    else {
      return .usableRangeInvalid(first: firstUsableLBA, last: lastUsableLBA, diskSectorCount: sectorCount)
    }
    let (lowest, limit): (UInt64, UInt64) =
      copy == .primary ? (2, firstUsableLBA.value) : (lastUsableLBA.value + 1, myLBA.value)
    guard entriesLBA.value >= lowest, entriesLBA.value <= limit, limit - entriesLBA.value >= arraySectors else {
      return .entryArrayMisplaced(first: entriesLBA)
    }
    return nil
  }

  /// The header as one sector, checksum included.
  func encode(sectorSize: SectorSize) -> [UInt8] {
    var sector = [UInt8](repeating: 0, count: sectorSize.byteCount)
    sector.store(Self.signature, at: 0)
    sector.store(Self.revision, at: 8)
    sector.store(UInt32(PartitionLimits.headerByteCount), at: 12)
    sector.store(myLBA.value, at: 24)
    sector.store(alternateLBA.value, at: 32)
    sector.store(firstUsableLBA.value, at: 40)
    sector.store(lastUsableLBA.value, at: 48)
    sector.store(diskGUID.diskBytes, at: 56)
    sector.store(entriesLBA.value, at: 72)
    sector.store(entryCount, at: 80)
    sector.store(entryByteCount, at: 84)
    sector.store(entriesChecksum, at: 88)
    sector.store(Self.checksum(of: sector[..<PartitionLimits.headerByteCount]), at: 16)
    return sector
  }

  /// The header's checksum is taken with its own field zeroed.
  static func checksum(of header: ArraySlice<UInt8>) -> UInt32 {
    var copy = Array(header)
    copy.store(UInt32(0), at: 16)
    return CRC32.checksum(copy)
  }

  /// `GPTHeaderFault` is a finding and not thrown; `Result` asks for an error all the same.
  struct Fault: Error {
    var value: GPTHeaderFault
    init(_ value: GPTHeaderFault) { self.value = value }
  }
}
