import ArgumentParser
import Management

/// The file systems that volumes are made with, and the programs for each.
enum FileSystemKind: String, ExpressibleByArgument, CaseIterable {
  case ext4, xfs, btrfs

  /// As libblkid names what is on a volume; nil for what none of the programs is for.
  init?(contentType: String) {
    // ext4's programs are ext2's and ext3's as well.
    self.init(rawValue: ["ext2", "ext3"].contains(contentType) ? "ext4" : contentType)
  }

  /// What makes one.
  var creator: String { "mkfs.\(rawValue)" }

  /// Debian's package with its programs.
  var package: String {
    switch self {
    case .ext4: "e2fsprogs"
    case .xfs: "xfsprogs"
    case .btrfs: "btrfs-progs"
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

  /// The program that makes one, told of the stripes that lie under it.
  func creation(device: String, label: String?, uuid: String, on disk: VirtualDiskInfo) -> ToolProcess {
    let stripe = disk.interleaveBytes
    let columns = max(1, disk.columns)
    var words: [String]
    switch self {
    case .ext4:
      // In blocks of 4 KiB, which small ones would not have by themselves.
      let blocks = stripe / 4096
      words = ["-q", "-b", "4096", "-U", uuid]
      if blocks > 0 { words += ["-E", "stride=\(blocks),stripe_width=\(blocks * UInt64(columns))"] }
    case .xfs:
      words = ["-q", "-m", "uuid=\(uuid)"]
      // Over stripes it makes many allocation groups, each of which must hold a log: too many for a small one.
      let groups = disk.sizeBytes < 1 << 30 ? ",agcount=4" : ""
      if stripe >= 4096 { words += ["-d", "su=\(stripe),sw=\(columns)\(groups)"] }
    case .btrfs: words = ["-q", "-U", uuid]
    }
    if let label { words += ["-L", label] }
    return tool([creator] + words + [device])
  }

  /// The programs that make it as large as its device, where it is mounted or, for nil, not; nil where there are none.
  func growth(device: String, mountPoint: String?) -> [ToolProcess]? {
    switch (self, mountPoint) {
    case (.ext4, nil):
      // 1: what was wrong is mended.
      [tool(["e2fsck", "-f", "-p", device], accepting: 0...1), tool(["resize2fs", device])]
    case (.ext4, _): [tool(["resize2fs", device])]
    case (.xfs, let mountPoint?): [tool(["xfs_growfs", mountPoint])]
    case (.btrfs, let mountPoint?): [tool(["btrfs", "filesystem", "resize", "max", mountPoint])]
    case (_, nil): nil
    }
  }

  private func tool(_ words: [String], accepting statuses: ClosedRange<Int32> = 0...0) -> ToolProcess {
    ToolProcess(words: words, package: package, acceptedStatuses: statuses)
  }
}
