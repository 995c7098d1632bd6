import BlockDevice

extension MetadataStore {
  public func evict(_ disks: [DiskNumber], changes: [MetadataChange]) async throws(MetadataError) {
    var all = changes
    for disk in disks {
      all.append(.patch(DiskRecord.key(disk), byteOffset: DiskRecord.Offset.state, bytes: [DiskRecord.State.evicted.rawValue]))
    }
    try await commit(all, priority: .essential)
  }

  public func readmit(_ device: BlockDevice, state: DiskRecord.State) async throws(MetadataError) -> PoolDisk {
    throw MetadataError(.closed, "not yet", remedy: "")
  }
}
