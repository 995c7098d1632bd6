import BlockDevice

/// Finds out which pool the given devices make up, and whether they are all of it.
struct PoolMembers {
  private(set) var disks: [PoolDisk] = []
  /// The epoch that the disks agree on.
  let epoch: MembershipEpoch
  let pool: PoolID
  let poolName: String
  /// Members of the epoch that were not given: their ids.
  let missingVoters: [DiskID]
  let missingCount: Int

  static func read(_ devices: [BlockDevice]) async throws(MetadataError) -> PoolMembers {
    guard !devices.isEmpty, devices.count <= StoreLimits.diskCount else {
      throw MetadataError(.invalidArgument, "A pool is opened from 1 to \(StoreLimits.diskCount) disks.", remedy: "Name its disks.")
    }
    var disks: [PoolDisk] = []
    for device in devices {
      let report = await SuperblockIO.read(device)
      guard let superblock = report.newest else { throw notPooled(device, report) }
      disks.append(PoolDisk(device: device, superblock: superblock, damagedSuperblockOffsets: report.damagedOffsets))
    }
    return try PoolMembers(disks)
  }

  private static func notPooled(_ device: BlockDevice, _ report: SuperblockReport) -> MetadataError {
    for place in report.places {
      if case .bad(.unsupportedVersion(let version)) = place.outcome {
        return MetadataError(
          .unsupportedFeature, "\(device.label) has format version \(version), which this program does not know.",
          remedy: "Use the program that made the pool, or a newer one.")
      }
      if case .unreadable(let error) = place.outcome {
        return MetadataError(
          .diskFailed, "\(device.label) cannot be read: \(error).", remedy: "Check the disk; `spaceport inspect` shows what is left of it.")
      }
    }
    return MetadataError(
      .notPooled, "\(device.label) is no disk of a pool: it has no whole superblock.",
      remedy: "Check the path; `spaceport inspect` shows what is there.")
  }

  private init(_ disks: [PoolDisk]) throws(MetadataError) {
    self.disks = disks
    let first = disks[0]
    pool = first.superblock.pool
    var labels: [DiskID: String] = [:]
    for disk in disks {
      guard disk.superblock.pool == pool else {
        throw MetadataError(
          .mixedPools,
          "\(first.label) belongs to pool \(first.superblock.poolName) (\(pool)), \(disk.label) to \(disk.superblock.poolName) "
            + "(\(disk.superblock.pool)).", remedy: "Open each pool with its own disks.")
      }
      if let other = labels.updateValue(disk.label, forKey: disk.id) {
        throw MetadataError(
          .cloned, "\(other) and \(disk.label) say they are the same disk (\(disk.id)): one is a copy of the other.",
          remedy: "Take the copy away, or wipe it. The pool cannot tell which is which.")
      }
      try PoolMembers.check(disk)
    }
    guard let newest = disks.max(by: { $0.superblock.epoch.number < $1.superblock.epoch.number }) else { preconditionFailure("not empty") }
    epoch = newest.superblock.epoch
    poolName = newest.superblock.poolName
    for disk in disks where disk.superblock.epoch.id != epoch.id {
      let other = disk.superblock.epoch
      if other.number == epoch.number {
        throw MetadataError(
          .split,
          "\(newest.label) and \(disk.label) went on without each other: epoch \(epoch.number) is \(epoch.id) on one, "
            + "\(other.id) on the other.", remedy: "Keep one side: open the pool without the other side's disks.")
      }
      throw MetadataError(
        .stale, "\(disk.label) was left behind: it knows the pool's epoch \(other.number), \(newest.label) is at \(epoch.number).",
        remedy: "Open the pool without it.")
    }
    let present = Set(disks.map(\.id))
    missingVoters = epoch.voters.filter { !present.contains($0) }
    missingCount = max(0, Int(epoch.diskCount) - disks.count)
  }

  private static func check(_ disk: PoolDisk) throws(MetadataError) {
    let superblock = disk.superblock
    guard superblock.features.isReadable else {
      throw MetadataError(
        .unsupportedFeature,
        "\(disk.label) belongs to a pool with features this program does not know (\(hex(superblock.features.unknownIncompatible))).",
        remedy: "Use a newer program.")
    }
    let size = disk.device.geometry.byteCount
    guard superblock.layout.dataEnd <= size else {
      throw MetadataError(
        .damaged, "\(disk.label) has \(size) bytes, but its slabs reach to \(superblock.layout.dataEnd): it was cut short.",
        remedy: "Restore the disk's size. What lay behind the cut is lost.")
    }
    guard disk.device.geometry.logicalSector <= FormatLimits.blockByteCount else {
      throw MetadataError(
        .invalidArgument, "\(disk.label) has sectors of \(disk.device.geometry.logicalSector) bytes; 4096 are the most.",
        remedy: "Use another disk.")
    }
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
