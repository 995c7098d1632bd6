import BlockDevice
import Reactor
import StorageBus

/// A cache disk of the pool that is there. No slab ever lies on it, and it keeps no metadata but its superblocks: what its slabs would take
/// is the cache's (docs/on-disk-format.md, "A cache disk").
public final class PooledCacheDisk: @unchecked Sendable {  // reactor-confined
  public let number: DiskNumber
  public let id: DiskID
  /// The whole disk, from the storage bus.
  public let disk: BlockDevice
  /// Bytes of the disk that are the cache's: the data partition without its margins.
  let range: Range<UInt64>
  /// The cache on it; nil before it is in use, in a pool that is only read, and where it could not be taken into use.
  public internal(set) var store: CacheDisk?
  /// It is given up, or is being released: nobody is bound to it any more.
  var isLeaving = false
  /// Ends when it has left the pool.
  var leaving: Task<Void, Never>?
  /// Something of it is waited for that nothing else looks after.
  var isBusy = false
  /// A look at it is under way.
  var isBeingLookedAt = false

  init(of member: PoolDisk) {
    number = member.number
    id = member.id
    disk = member.device
    range = PooledCacheDisk.range(in: member.layout)
  }

  static func range(in layout: DiskLayout) -> Range<UInt64> {
    layout.slabsOffset..<max(layout.slabsOffset, layout.dataEnd - FormatLimits.dataMarginByteCount)
  }

  /// Capacity disks can be bound to it.
  public var isUsable: Bool { !isLeaving && store?.isUsable == true }

  /// Bytes of pages that it holds, and that it could hold more.
  public var usedByteCount: UInt64 { store.map { UInt64($0.usedPageCount) * UInt64($0.pageByteCount) } ?? 0 }
  public var freeByteCount: UInt64 { store.map { UInt64($0.freePageCount) * UInt64($0.pageByteCount) } ?? 0 }
}

extension StorageUUID {
  init(_ id: some RandomIdentifier) { self.init(high: id.bytes.high, low: id.bytes.low) }
}

extension DiskID {
  init(_ id: StorageUUID) { self.init(bytes: UUIDBytes(high: id.high, low: id.low)) }
}
