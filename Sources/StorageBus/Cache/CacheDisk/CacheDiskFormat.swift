import BlockDevice
import CLinux

/// What lies on a cache disk, offsets from the start of its range (docs/on-disk-format.md, "A cache disk"):
///
///          0  header, even generation    16 KiB
///     64 KiB  header, odd generation     16 KiB
///    256 KiB  index blocks               4096 bytes for 252 slots each
///       then  page slots                 from a multiple of 1 MiB on
///
/// Header and index blocks begin with the same 64 bytes as every structure of a pool. The index is written only when the cache is closed:
/// while it is open memory alone knows what lies in which slot, so that no read, fill or write ever waits for it.
enum CacheDiskFormat {
  static let headerMagic: UInt64 = 0x5244_4843_5450_5053  // SPPTCHDR
  static let indexMagic: UInt64 = 0x5844_4943_5450_5053  // SPPTCIDX
  static let version: UInt16 = 1
  static let commonByteCount = 64

  static let headerByteCount = 16 << 10
  static let headerSpacing: UInt64 = 64 << 10
  static let diskEntriesOffset = 256
  static let diskEntryByteCount = 32
  /// Capacity disks of which a header can tell. Others that are bound are cold after each start.
  static let diskEntryCount = (headerByteCount - diskEntriesOffset) / diskEntryByteCount

  static let indexOffset: UInt64 = 256 << 10
  static let indexBlockByteCount = 4096
  static let indexEntryByteCount = 16
  static let slotsPerBlock = (indexBlockByteCount - commonByteCount) / indexEntryByteCount
  static let pagesAlignment: UInt64 = 1 << 20
  /// "Closed cleanly": more than a bit, though the checksum covers it.
  static let cleanMark: UInt64 = 0x4e41_454c_4354_5053  // SPTCLEAN
  /// Sequences stay below this, so that counting on never overflows.
  static let generationLimit: UInt64 = 1 << 62

  /// Writes the first 64 bytes, and the checksum of all.
  static func seal(
    _ bytes: UnsafeMutableRawBufferPointer, magic: UInt64, pool: StorageUUID, disk: StorageUUID, sequence: UInt64, index: UInt32
  ) {
    bytes.set(magic, at: 0)
    bytes.set(UInt32(0), at: 8)
    bytes.set(version, at: 12)
    bytes.set(UInt16(0), at: 14)
    bytes.set(pool, at: 16)
    bytes.set(disk, at: 32)
    bytes.set(sequence, at: 48)
    bytes.set(UInt32(bytes.count), at: 56)
    bytes.set(index, at: 60)
    bytes.set(checksum(bytes), at: 8)
  }

  /// Whether `bytes` is a whole structure of this kind, in its place, that this program understands.
  static func isWhole(_ bytes: UnsafeMutableRawBufferPointer, magic: UInt64, index: UInt32) -> Bool {
    let stored: UInt32 = bytes.get(at: 8)
    bytes.set(UInt32(0), at: 8)
    defer { bytes.set(stored, at: 8) }
    let (foundMagic, foundVersion): (UInt64, UInt16) = (bytes.get(at: 0), bytes.get(at: 12))
    let (byteCount, foundIndex): (UInt32, UInt32) = (bytes.get(at: 56), bytes.get(at: 60))
    return foundMagic == magic && foundVersion == version && byteCount == UInt32(bytes.count) && foundIndex == index
      && checksum(bytes) == stored
  }

  private static func checksum(_ bytes: UnsafeMutableRawBufferPointer) -> UInt32 {
    bytes.baseAddress.map { clinux_crc32c(0, $0, bytes.count) } ?? 0
  }

  /// Of a page: whose it is, and what it holds. Kept beside the page's entry and never in its slot, so that no slot, whatever it holds, can
  /// speak for itself: one that was never written, or long ago, or for another page, does not match.
  static func pageChecksum(_ disk: StorageUUID, _ page: UInt64, _ content: UnsafeRawPointer, byteCount: Int) -> UInt32 {
    let identity = (disk.high.littleEndian, disk.low.littleEndian, page.littleEndian)
    let seed = withUnsafeBytes(of: identity) { bytes in bytes.baseAddress.map { clinux_crc32c(0, $0, bytes.count) } ?? 0 }
    return clinux_crc32c(seed, content, byteCount)
  }
}

/// The UUID of a pool or disk, as bytes in the order of its text.
public struct StorageUUID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public static func < (left: Self, right: Self) -> Bool { (left.high, left.low) < (right.high, right.low) }

  public var description: String {
    func hex(_ value: UInt64, _ digits: Int) -> String {
      let text = String(value & (digits == 16 ? .max : 1 << UInt64(digits * 4) - 1), radix: 16)
      return String(repeating: "0", count: digits - text.count) + text
    }
    return "\(hex(high >> 32, 8))-\(hex(high >> 16, 4))-\(hex(high, 4))-\(hex(low >> 48, 4))-\(hex(low, 12))"
  }
}

/// How the range of a cache disk is divided.
struct CacheDiskLayout: Equatable {
  var byteCount: UInt64
  var pageByteCount: Int
  var slotCount: Int
  var pagesOffset: UInt64

  var blockCount: Int { (slotCount + CacheDiskFormat.slotsPerBlock - 1) / CacheDiskFormat.slotsPerBlock }

  /// Of all slots.
  var usableByteCount: UInt64 { UInt64(slotCount) * UInt64(pageByteCount) }

  @inline(__always)
  func offset(of slot: Int) -> UInt64 { pagesOffset + UInt64(slot) * UInt64(pageByteCount) }

  /// nil where there is no room for a single page.
  init?(byteCount: UInt64, pageByteCount: Int, mostSlots: Int) {
    self.byteCount = byteCount
    self.pageByteCount = pageByteCount
    // The most slots that fit together with their index.
    var slots: UInt64 = 0
    var most = min(UInt64(max(0, mostSlots)), UInt64(CacheLimits.frames), byteCount / UInt64(pageByteCount))
    while slots < most {
      let middle = (slots + most + 1) / 2
      if CacheDiskLayout.pagesOffset(slots: middle) + middle * UInt64(pageByteCount) <= byteCount {
        slots = middle
      } else {
        most = middle - 1
      }
    }
    guard slots > 0 else { return nil }
    slotCount = Int(slots)
    pagesOffset = CacheDiskLayout.pagesOffset(slots: slots)
  }

  static func pagesOffset(slots: UInt64) -> UInt64 {
    let perBlock = UInt64(CacheDiskFormat.slotsPerBlock)
    let end = CacheDiskFormat.indexOffset + (slots + perBlock - 1) / perBlock * UInt64(CacheDiskFormat.indexBlockByteCount)
    return (end + CacheDiskFormat.pagesAlignment - 1) & ~(CacheDiskFormat.pagesAlignment - 1)
  }
}

/// The header of a cache disk: 16 KiB, of which the newer of two counts.
///
///     64  features: incompatible, read-only compatible, compatible   UInt64 each
///     88  bytes of the range          UInt64
///     96  page                        UInt32, bytes
///    100  capacity disks              UInt32
///    104  slots                       UInt64
///    112  offset of the page slots    UInt64
///    120  session                     UInt64, random, of the opening that wrote this
///    128  clean mark                  UInt64, "SPTCLEAN" or 0
///    136  pages that the index names  UInt64
///    256  capacity disks              32 bytes each: UUID, nonce UInt64, number in the index UInt16, reserved 6
struct CacheDiskHeader: Equatable {
  struct Disk: Equatable {
    var id: StorageUUID
    var nonce: UInt64
    var number: UInt16
  }

  var pool: StorageUUID
  var cacheDisk: StorageUUID
  var generation: UInt64
  var byteCount: UInt64
  var pageByteCount: Int
  var slotCount: UInt64
  var pagesOffset: UInt64
  var session: UInt64
  var isClean: Bool
  var pageCount: UInt64 = 0
  var disks: [Disk] = []

  static func offset(ofGeneration generation: UInt64) -> UInt64 { (generation & 1) * CacheDiskFormat.headerSpacing }

  func encode(_ bytes: UnsafeMutableRawBufferPointer) {
    bytes.fillWithZeros()
    bytes.set(byteCount, at: 88)
    bytes.set(UInt32(pageByteCount), at: 96)
    bytes.set(UInt32(disks.count), at: 100)
    bytes.set(slotCount, at: 104)
    bytes.set(pagesOffset, at: 112)
    bytes.set(session, at: 120)
    bytes.set(isClean ? CacheDiskFormat.cleanMark : 0, at: 128)
    bytes.set(pageCount, at: 136)
    for (index, disk) in disks.enumerated() {
      let offset = CacheDiskFormat.diskEntriesOffset + index * CacheDiskFormat.diskEntryByteCount
      bytes.set(disk.id, at: offset)
      bytes.set(disk.nonce, at: offset + 16)
      bytes.set(disk.number, at: offset + 24)
    }
    CacheDiskFormat.seal(
      bytes, magic: CacheDiskFormat.headerMagic, pool: pool, disk: cacheDisk, sequence: generation, index: UInt32(generation & 1))
  }

  /// From 16 KiB that may be anything; nil unless it is a header of this place that this program understands whole.
  init?(_ bytes: UnsafeMutableRawBufferPointer, place: UInt32) {
    guard CacheDiskFormat.isWhole(bytes, magic: CacheDiskFormat.headerMagic, index: place) else { return nil }
    let (features, diskCount): (UInt64, UInt32) = (bytes.get(at: 64), bytes.get(at: 100))
    generation = bytes.get(at: 48)
    guard features == 0, diskCount <= CacheDiskFormat.diskEntryCount, generation & 1 == UInt64(place),
      generation < CacheDiskFormat.generationLimit
    else { return nil }
    pool = bytes.uuid(at: 16)
    cacheDisk = bytes.uuid(at: 32)
    byteCount = bytes.get(at: 88)
    pageByteCount = Int(bytes.get(at: 96) as UInt32)
    slotCount = bytes.get(at: 104)
    pagesOffset = bytes.get(at: 112)
    session = bytes.get(at: 120)
    isClean = (bytes.get(at: 128) as UInt64) == CacheDiskFormat.cleanMark
    pageCount = bytes.get(at: 136)
    for index in 0..<Int(diskCount) {
      let offset = CacheDiskFormat.diskEntriesOffset + index * CacheDiskFormat.diskEntryByteCount
      disks.append(Disk(id: bytes.uuid(at: offset), nonce: bytes.get(at: offset + 16), number: bytes.get(at: offset + 24)))
    }
  }

  init(pool: StorageUUID, cacheDisk: StorageUUID, generation: UInt64, layout: CacheDiskLayout, session: UInt64, isClean: Bool) {
    self.pool = pool
    self.cacheDisk = cacheDisk
    self.generation = generation
    byteCount = layout.byteCount
    pageByteCount = layout.pageByteCount
    slotCount = UInt64(layout.slotCount)
    pagesOffset = layout.pagesOffset
    self.session = session
    self.isClean = isClean
  }

  func hasLayout(_ layout: CacheDiskLayout) -> Bool {
    byteCount == layout.byteCount && pageByteCount == layout.pageByteCount && slotCount == UInt64(layout.slotCount)
      && pagesOffset == layout.pagesOffset
  }
}

/// An entry of an index block, 16 bytes: what lies in a slot.
///
///     0  page number with the disk's number above it   UInt64: 48 bits and 16; 0 where nothing is
///     8  CRC32C of the page, with whose it is          UInt32
///    12  reserved                                      UInt32
struct CacheIndexEntry: Equatable {
  var key: UInt64
  var checksum: UInt32

  static func offset(_ index: Int) -> Int { CacheDiskFormat.commonByteCount + index * CacheDiskFormat.indexEntryByteCount }
}

extension UnsafeMutableRawBufferPointer {
  /// The little-endian integer at `offset`, within a structure of our own size.
  @inline(__always)
  func get<Value: FixedWidthInteger>(at offset: Int) -> Value {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
    return Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
  }

  @inline(__always)
  func set<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
  }

  func uuid(at offset: Int) -> StorageUUID {
    StorageUUID(high: (get(at: offset) as UInt64).byteSwapped, low: (get(at: offset + 8) as UInt64).byteSwapped)
  }

  func set(_ uuid: StorageUUID, at offset: Int) {
    set(uuid.high.byteSwapped, at: offset)
    set(uuid.low.byteSwapped, at: offset + 8)
  }

  func fillWithZeros() { if let baseAddress { memset(baseAddress, 0, count) } }

  func part(from: Int, byteCount: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: self[from..<from + byteCount])
  }
}
