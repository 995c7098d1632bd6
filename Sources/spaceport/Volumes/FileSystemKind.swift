import ArgumentParser
import Management

/// The file systems that volumes are made with.
enum FileSystemKind: String, ExpressibleByArgument, CaseIterable {
  case ext4, xfs, btrfs

  /// The program that makes one, told of the stripes that lie under it.
  func creation(device: String, label: String?, uuid: String, on disk: VirtualDiskInfo) -> ToolProcess {
    let stripe = disk.interleaveBytes
    let columns = max(1, disk.columns)
    var words: [String]
    switch self {
    case .ext4:
      // In blocks of 4 KiB, which small ones would not have by themselves.
      let blocks = stripe / 4096
      words = ["mkfs.ext4", "-q", "-b", "4096", "-U", uuid]
      if blocks > 0 { words += ["-E", "stride=\(blocks),stripe_width=\(blocks * UInt64(columns))"] }
    case .xfs:
      words = ["mkfs.xfs", "-q", "-m", "uuid=\(uuid)"]
      // Over stripes it makes many allocation groups, each of which must hold a log: too many for a small one.
      let groups = disk.sizeBytes < 1 << 30 ? ",agcount=4" : ""
      if stripe >= 4096 { words += ["-d", "su=\(stripe),sw=\(columns)\(groups)"] }
    case .btrfs: words = ["mkfs.btrfs", "-q", "-U", uuid]
    }
    if let label { words += ["-L", label] }
    return ToolProcess(words: words + [device])
  }

  /// The programs that make it as large as its device, where it is mounted or, for nil, not.
  func growth(device: String, mountPoint: String?) -> [ToolProcess]? {
    switch (self, mountPoint) {
    case (.ext4, nil): [ToolProcess(words: ["e2fsck", "-f", "-p", device]), ToolProcess(words: ["resize2fs", device])]
    case (.ext4, _): [ToolProcess(words: ["resize2fs", device])]
    case (.xfs, let mountPoint?): [ToolProcess(words: ["xfs_growfs", mountPoint])]
    case (.btrfs, let mountPoint?): [ToolProcess(words: ["btrfs", "filesystem", "resize", "max", mountPoint])]
    case (_, nil): nil
    }
  }

  /// The longest label, in bytes.
  var labelByteCount: Int {
    switch self {
    case .ext4: 16
    case .xfs: 12
    case .btrfs: 255
    }
  }
}
