/// How full a file system says that it is, in bytes. By its own superblock: of ext2, ext3, ext4 and xfs as of when it was last unmounted, of btrfs as
/// of its last commit.
public struct FileSystemUsage: Equatable, Sendable {
  /// Its own structures count as used.
  public var usedBytes: UInt64
  public var freeBytes: UInt64

  /// nil where the superblock does not say or cannot be right, because it claims more than the sample has; nil for an ext file system that was not
  /// unmounted in order.
  /// - Parameter type: libblkid's name.
  static func read(_ type: String, from sample: ContentSample) -> FileSystemUsage? {
    let usage: FileSystemUsage? =
      switch type {
      case "ext2", "ext3", "ext4": ext(SuperblockBytes(sample.bytes(at: 1024, count: 1024)))
      case "xfs": xfs(SuperblockBytes(sample.bytes(at: 0, count: 512)))
      case "btrfs": btrfs(SuperblockBytes(sample.bytes(at: 64 << 10, count: 4096)))
      default: nil
      }
    guard let usage, usage.usedBytes + usage.freeBytes <= sample.byteCount else { return nil }
    return usage
  }

  private init?(totalBlocks: UInt64, freeBlocks: UInt64, blockByteCount: UInt64) {
    let (total, overflow) = totalBlocks.multipliedReportingOverflow(by: blockByteCount)
    guard !overflow, freeBlocks <= totalBlocks else { return nil }
    freeBytes = freeBlocks * blockByteCount
    usedBytes = total - freeBytes
  }

  /// Linux, Documentation/filesystems/ext4/super.rst.
  private static func ext(_ block: SuperblockBytes) -> FileSystemUsage? {
    let logBlock = block.little(0x18, 4)
    guard block.little(0x38, 2) == 0xEF53, logBlock <= 6 else { return nil }
    let incompatible = block.little(0x60, 4)
    let (wasUnmounted, needsRecovery, has64Bit) = (block.little(0x3A, 2) & 1 == 1, incompatible & 0x4 != 0, incompatible & 0x80 != 0)
    guard wasUnmounted, !needsRecovery else { return nil }
    return FileSystemUsage(
      totalBlocks: block.little(0x4, 4) | (has64Bit ? block.little(0x150, 4) << 32 : 0),
      freeBlocks: block.little(0xC, 4) | (has64Bit ? block.little(0x158, 4) << 32 : 0), blockByteCount: 1024 << logBlock)
  }

  /// xfsprogs, libxfs/xfs_format.h: struct xfs_dsb. Big-endian.
  private static func xfs(_ block: SuperblockBytes) -> FileSystemUsage? {
    let blockByteCount = block.big(4, 4)
    let isBeingMade = block.big(126, 1) != 0
    guard block.big(0, 4) == 0x5846_5342, !isBeingMade, (512...65536).contains(blockByteCount), blockByteCount.nonzeroBitCount == 1 else {
      return nil
    }
    return FileSystemUsage(totalBlocks: block.big(8, 8), freeBlocks: block.big(144, 8), blockByteCount: blockByteCount)
  }

  /// btrfs-progs, kernel-shared/uapi/btrfs_tree.h: struct btrfs_super_block.
  private static func btrfs(_ block: SuperblockBytes) -> FileSystemUsage? {
    let (total, used, devices) = (block.little(0x70, 8), block.little(0x78, 8), block.little(0x88, 8))
    // Of several devices this is one: how full it is nobody knows from here.
    guard block.little(0x40, 8) == 0x4D5F_5366_5248_425F, devices == 1, used <= total else { return nil }
    return FileSystemUsage(totalBlocks: total, freeBlocks: total - used, blockByteCount: 1)
  }
}
