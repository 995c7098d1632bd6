import BlockDevice
import StorageBus

extension MetadataInspection {
  /// What lies on a cache disk (docs/on-disk-format.md, "A cache disk").
  public struct CacheSummary: Sendable, Codable {
    public struct Binding: Sendable, Codable {
      public var disk: DiskID
      /// That the disk must still have for its pages to be believed.
      public var nonce: UInt64
    }

    /// Both headers, by their byte on the disk; the sequence is the generation.
    public var headers: [Place]
    /// Only then does the rest count.
    public var isClosedCleanly: Bool
    public var pageByteCount: Int
    public var slotCount: UInt64
    /// Pages that it holds.
    public var pageCount: UInt64
    /// The disks whose pages they are.
    public var bindings: [Binding]
  }

  /// Of a disk without metadata, which may be a cache disk. A header that names another disk is somebody's data.
  mutating func readCache(_ disk: PoolDisk) async {
    let range = PooledCacheDisk.range(in: disk.layout)
    let found: CacheDiskSummary?
    do throws(BlockError) { found = try await CacheDisk.inspect(disk.device, range: range) } catch {
      return add(.warning, "Whether it is a cache disk cannot be told: the start of its data cannot be read (\(error)).")
    }
    guard let found, found.pool == StorageUUID(disk.superblock.pool), found.id == StorageUUID(disk.id) else { return }
    cache = CacheSummary(
      headers: found.places.map { place in
        let state = place.generation == nil ? "no whole header" : place.isClean ? "closed in order" : "in use, or not closed"
        return Place(offset: range.lowerBound + place.offset, state: state, sequence: place.generation)
      }, isClosedCleanly: found.isClean, pageByteCount: found.pageByteCount, slotCount: found.slotCount, pageCount: found.pageCount,
      bindings: found.disks.map { CacheSummary.Binding(disk: DiskID($0.id), nonce: $0.nonce) })
    if !found.isClean { add(.note, "What the cache holds does not count: it is in use, or was not closed in order.") }
  }
}
