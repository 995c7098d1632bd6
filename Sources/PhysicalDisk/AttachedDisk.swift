import Glibc

/// A block device of the machine as the kernel lists it. Nothing is opened to know it.
public struct AttachedDisk: Hashable, Sendable {
  public let path: String
  /// The kernel's number of the disk that is behind the name: another whenever one is connected or its medium is changed.
  public let sequence: Int

  /// Disks and partitions that have a size and of which no other device is made (RAID, LVM, multipath), in the order of their names. Not those whose
  /// names say where they come from (dm), that are never pooled (RAM, media), or that a server like this one may be behind (nbd). Blocking.
  public static func all() -> [AttachedDisk] {
    var found: [AttachedDisk] = []
    for disk in SystemText.names(in: "/sys/block") ?? [] where !leftOut.contains(where: { disk.hasPrefix($0) }) {
      let directory = "/sys/block/\(disk)"
      let sequence = SystemText.number("\(directory)/diskseq") ?? 0
      let partitions = (SystemText.names(in: directory) ?? []).filter { access("\(directory)/\($0)/partition", F_OK) == 0 }
      for (name, place) in [(disk, directory)] + partitions.map({ ($0, "\(directory)/\($0)") })
      where SystemText.number("\(place)/size") ?? 0 > 0 && (SystemText.names(in: "\(place)/holders") ?? []).isEmpty {
        found.append(AttachedDisk(path: SystemText.devicePath(of: name), sequence: sequence))
      }
    }
    return found
  }

  private static let leftOut = ["dm-", "fd", "nbd", "ram", "sr", "zram"]
}
