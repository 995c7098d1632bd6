import Pool
import Resiliency

// What is believed of a virtual disk that lies on the disks: any program may have written it.

extension VirtualDiskRecord {
  /// Throws unless this program knows everything that keeps the virtual disk's data safe, and its sizes fit the pool.
  func checkCanBeOpened(in pool: StoragePool) throws(PoolError) {
    guard isUnderstood(readOnly: pool.isReadOnly) else {
      throw PoolError(
        .wrongState, "The virtual disk \(pool.name)/\(name) has properties that this program does not know",
        remedy: "Open the pool with the program that made it, or a newer one")
    }
    guard fits(pool) else {
      throw PoolError(
        .damaged, "The record of the virtual disk \(pool.name)/\(name) holds sizes that cannot be",
        remedy: "Keep the pool's disks as they are, run spaceport inspect on each, and report it")
    }
  }

  private func isUnderstood(readOnly: Bool) -> Bool {
    let hasKnownFeatures = readOnly ? features.isReadable : features.isWritable
    return hasKnownFeatures && [.active, .deleting, .creating].contains(state) && [.thin, .fixed].contains(provisioning)
      && hasKnownResiliency && parityCount == 0 && keyID == 0 && transformID == 0 && parent.value == 0
  }

  private var hasKnownResiliency: Bool {
    switch resiliency {
    case .simple: copies == 1
    case .mirror: (2...MirrorLimits.largestCopyCount).contains(Int(copies))
    default: false
    }
  }

  private func fits(_ pool: StoragePool) -> Bool {
    guard (VirtualDiskLimits.smallestByteCount...VirtualDiskLimits.largestByteCount).contains(byteCount),
      (1...VirtualDiskLimits.largestColumnCount).contains(Int(columns)), UInt64(interleave) <= pool.slabByteCount,
      UInt64(presenceChunkByteCount) <= pool.slabByteCount
    else { return false }
    let rowByteCount = pool.slabByteCount * UInt64(columns)
    let slabsPerRow = Int(columns) * Int(copies)
    return VirtualDisk.rowCount(byteCount: byteCount, rowByteCount: rowByteCount) <= VirtualDiskLimits.largestSlabCount / slabsPerRow
      && rowByteCount / UInt64(presenceChunkByteCount) <= UInt64(FormatLimits.presenceByteCount * 8)
  }
}
