/// The first 64 bytes of every structure on a disk of a pool, the same for all:
///
///      0  magic            8 ASCII characters, one word for each kind of structure
///      8  CRC32C           UInt32, of `byteCount` bytes from the magic on, with these four taken as zero
///     12  format version   UInt16
///     14  reserved         UInt16
///     16  pool             UUID
///     32  disk             UUID
///     48  sequence         UInt64
///     56  byte count       UInt32, what the checksum covers
///     60  index            UInt32, which of its kind: a page number; catches writes that went elsewhere
public struct StructureHeader: Equatable, Sendable {
  public enum Magic: UInt64, Sendable, CaseIterable {
    // The ASCII text, first character in the lowest byte.
    case superblock = 0x4b4c_4253_5450_5053  // SPPTSBLK
    case dataSignature = 0x4154_4144_5450_5053  // SPPTDATA
    case root = 0x544f_4f52_5450_5053  // SPPTROOT
    case pageTable = 0x4c42_4154_5450_5053  // SPPTTABL
    case recordPage = 0x4547_4150_5450_5053  // SPPTPAGE
    case journalEntry = 0x4c4e_524a_5450_5053  // SPPTJRNL
    case witness = 0x534e_5457_5450_5053  // SPPTWTNS
  }

  enum Offset {
    static let magic = 0
    static let checksum = 8
    static let version = 12
    static let pool = 16
    static let disk = 32
    static let sequence = 48
    static let byteCount = 56
    static let index = 60
  }

  public static let byteCount = 64

  public var magic: Magic
  public var pool: PoolID
  public var disk: DiskID
  public var sequence: UInt64
  public var coveredByteCount: Int
  public var index: UInt32

  public init(magic: Magic, pool: PoolID, disk: DiskID, sequence: UInt64, coveredByteCount: Int, index: UInt32 = 0) {
    self.magic = magic
    self.pool = pool
    self.disk = disk
    self.sequence = sequence
    self.coveredByteCount = coveredByteCount
    self.index = index
  }

  /// Writes the header over the first 64 bytes and then the checksum, over what must be the finished rest. Returns the checksum.
  @discardableResult
  func seal(_ bytes: UnsafeMutableRawBufferPointer) -> UInt32 {
    bytes.setLittle(magic.rawValue, at: Offset.magic)
    bytes.setLittle(UInt32(0), at: Offset.checksum)
    bytes.setLittle(FormatLimits.version, at: Offset.version)
    bytes.setLittle(UInt16(0), at: Offset.version + 2)
    bytes.setUUID(pool.bytes, at: Offset.pool)
    bytes.setUUID(disk.bytes, at: Offset.disk)
    bytes.setLittle(sequence, at: Offset.sequence)
    bytes.setLittle(UInt32(coveredByteCount), at: Offset.byteCount)
    bytes.setLittle(index, at: Offset.index)
    let checksum = crc32c(bytes.readOnly.part(from: 0, byteCount: coveredByteCount))
    bytes.setLittle(checksum, at: Offset.checksum)
    return checksum
  }

  /// Reads and checks a header and the checksum behind it. `byteCounts` is what the checksum of such a structure may cover.
  init(_ bytes: UnsafeRawBufferPointer, expecting magic: Magic, byteCounts: ClosedRange<Int>) throws(FormatError) {
    guard bytes.count >= StructureHeader.byteCount else { throw .truncated }
    guard bytes.little(UInt64.self, at: Offset.magic) == magic.rawValue else {
      throw bytes.part(from: 0, byteCount: StructureHeader.byteCount).isAllZero ? .empty : .wrongMagic
    }
    let covered = Int(bytes.little(UInt32.self, at: Offset.byteCount))
    guard byteCounts.contains(covered) else { throw .invalid("length") }
    guard covered <= bytes.count else { throw .truncated }
    guard StructureHeader.checksum(of: bytes, byteCount: covered) == StructureHeader.storedChecksum(bytes) else { throw .wrongChecksum }
    // Only now: a damaged version field is damage, not a newer program.
    let version = bytes.little(UInt16.self, at: Offset.version)
    guard version == FormatLimits.version else { throw .unsupportedVersion(version) }
    self.magic = magic
    pool = PoolID(bytes: bytes.uuid(at: Offset.pool))
    disk = DiskID(bytes: bytes.uuid(at: Offset.disk))
    sequence = bytes.little(UInt64.self, at: Offset.sequence)
    coveredByteCount = covered
    index = bytes.little(UInt32.self, at: Offset.index)
  }

  /// The same, and it must belong to this pool and disk and be the `index`th of its kind.
  init(_ bytes: UnsafeRawBufferPointer, expecting magic: Magic, byteCounts: ClosedRange<Int>, of owner: StructureOwner, index: UInt32)
    throws(FormatError)
  {
    try self.init(bytes, expecting: magic, byteCounts: byteCounts)
    guard pool == owner.pool else { throw .wrongPool }
    guard disk == owner.disk else { throw .wrongDisk }
    guard self.index == index else { throw .misplaced }
  }

  static func storedChecksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 { bytes.little(UInt32.self, at: Offset.checksum) }

  /// With the checksum's own four bytes taken as zero.
  private static func checksum(of bytes: UnsafeRawBufferPointer, byteCount: Int) -> UInt32 {
    var checksum = crc32c(bytes.part(from: 0, byteCount: Offset.checksum))
    let zero: UInt32 = 0
    checksum = withUnsafeBytes(of: zero) { crc32c($0, seed: checksum) }
    return crc32c(bytes.part(from: Offset.version, byteCount: byteCount - Offset.version), seed: checksum)
  }
}

/// Whose structures they are.
public struct StructureOwner: Hashable, Sendable {
  public var pool: PoolID
  public var disk: DiskID
  public init(pool: PoolID, disk: DiskID) {
    self.pool = pool
    self.disk = disk
  }
}
