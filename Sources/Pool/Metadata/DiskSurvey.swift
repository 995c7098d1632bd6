import BlockDevice

/// A device that was given for a pool and is left alone, and why.
public struct SetAsideDisk: Sendable {
  public let device: BlockDevice
  public let reason: MetadataError
  /// Which disk of a pool it says it is; nil where it says nothing.
  var disk: DiskID?
}

/// Reads the superblocks of the given devices and puts aside what is recognisably none of the pool's disks as they are now, so that it
/// keeps no good disk from opening. Writes nothing.
struct DiskSurvey {
  private(set) var disks: [PoolDisk] = []
  private(set) var setAside: [SetAsideDisk] = []
  /// Of disks of which there are copies that nobody can tell apart, and that hold no metadata, the one that is among `disks`.
  private var twins: [(disk: PoolDisk, reason: MetadataError)] = []

  static func read(_ devices: [BlockDevice]) async throws(MetadataError) -> DiskSurvey {
    guard !devices.isEmpty, devices.count <= StoreLimits.diskCount else {
      throw MetadataError(.invalidArgument, "A pool is opened from 1 to \(StoreLimits.diskCount) disks.", remedy: "Name its disks.")
    }
    var survey = DiskSurvey()
    for device in devices {
      let report = await SuperblockIO.read(device)
      guard let superblock = report.newest else {
        survey.setAside.append(SetAsideDisk(device: device, reason: notPooled(device, report)))
        continue
      }
      let disk = PoolDisk(device: device, superblock: superblock, damagedSuperblockOffsets: report.damagedOffsets)
      if let reason = try unusable(disk) { survey.setAside(disk, reason) } else { survey.disks.append(disk) }
    }
    try survey.checkOnePool()
    try survey.sortOutClones()
    guard !survey.disks.isEmpty else { throw survey.setAside[0].reason }
    return survey
  }

  mutating func setAside(_ disk: PoolDisk, _ reason: MetadataError) {
    disks.removeAll { $0 === disk }
    setAside.append(SetAsideDisk(device: disk.device, reason: reason, disk: disk.id))
  }

  /// Of the copies of a cache disk that nobody can tell apart none is used, and nothing is missed: what it holds is elsewhere as well. Of any other
  /// disk that stands in the way of the pool.
  mutating func settleTwins(_ records: [DiskRecord]) throws(MetadataError) {
    for (disk, reason) in twins {
      guard records.contains(where: { $0.id == disk.id && $0.usage == .cache }) else { throw reason }
      if disks.contains(where: { $0 === disk }) { setAside(disk, reason) }
    }
    twins = []
  }

  /// For messages: what was put aside, with the reasons.
  var setAsideText: String { setAside.map { " Set aside: \($0.reason.message)" }.joined() }

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

  /// Why a disk cannot be used; throws where the pool as a whole cannot.
  private static func unusable(_ disk: PoolDisk) throws(MetadataError) -> MetadataError? {
    let superblock = disk.superblock
    guard superblock.features.isReadable else {
      throw MetadataError(
        .unsupportedFeature,
        "\(disk.label) belongs to a pool with features this program does not know (\(hex(superblock.features.unknownIncompatible))).",
        remedy: "Use a newer program.")
    }
    let size = disk.device.geometry.byteCount
    guard superblock.layout.dataEnd <= size else {
      return MetadataError(
        .damaged, "\(disk.label) has \(size) bytes, but its slabs reach to \(superblock.layout.dataEnd): it was cut short.",
        remedy: "Restore the disk's size. What lay behind the cut is lost.")
    }
    guard disk.device.geometry.logicalSector <= FormatLimits.blockByteCount else {
      return MetadataError(
        .invalidArgument, "\(disk.label) has sectors of \(disk.device.geometry.logicalSector) bytes; 4096 are the most.",
        remedy: "Use another disk.")
    }
    return nil
  }

  private func checkOnePool() throws(MetadataError) {
    guard let first = disks.first else { return }
    for disk in disks where disk.superblock.pool != first.superblock.pool {
      throw MetadataError(
        .mixedPools,
        "\(first.label) belongs to pool \(first.superblock.poolName) (\(first.superblock.pool)), \(disk.label) to "
          + "\(disk.superblock.poolName) (\(disk.superblock.pool)).", remedy: "Open each pool with its own disks.")
    }
  }

  /// Of disks with one UUID the one that was written last may be the right one; its nonce will tell. Where none was, nobody can tell: see
  /// `settleTwins` for those that hold no metadata.
  private mutating func sortOutClones() throws(MetadataError) {
    func age(_ disk: PoolDisk) -> (UInt64, UInt64) { (disk.superblock.epoch.number, disk.superblock.sequence) }
    let groups = Dictionary(grouping: disks, by: \.id).values.filter { $0.count > 1 }
    for group in groups.sorted(by: { $0[0].id < $1[0].id }) {
      guard let newest = group.max(by: { age($0) < age($1) }) else { continue }
      for disk in group where disk !== newest {
        let reason = MetadataError(
          .cloned, "\(newest.label) and \(disk.label) say they are the same disk (\(disk.id)): one is a copy of the other.",
          remedy: "Take the copy away, or wipe it.")
        if age(disk) == age(newest) {
          if disk.isVoter || newest.isVoter { throw reason }
          twins.append((newest, reason))
        }
        setAside(disk, reason)
      }
    }
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
