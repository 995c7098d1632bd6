import Management

/// The refusals of commands that destroy data and weren't told --yes: they say what would be lost.
enum Loss {
  static func ofPool(_ pool: PoolInfo, _ virtualDisks: [VirtualDiskInfo]) -> APIError {
    let allocated = virtualDisks.reduce(UInt64(0)) { sum, disk in
      let (total, overflow) = sum.addingReportingOverflow(disk.allocatedBytes)
      return overflow ? .max : total
    }
    let what: String
    if virtualDisks.isEmpty {
      what = "no virtual disks"
    } else {
      let names = virtualDisks.map { "\($0.name) (\(Figures.size($0.sizeBytes)))" }.joined(separator: ", ")
      what = "\(virtualDisks.count) virtual disk\(virtualDisks.count == 1 ? "" : "s"), \(names), with \(Figures.size(allocated)) allocated"
    }
    let disks = pool.disks.map(\.path).joined(separator: ", ")
    return APIError(
      .badRequest,
      "Nothing was done: pool \(pool.name) on \(disks.isEmpty ? "no known disks" : disks) holds \(what), and all of it would be lost",
      remedy: "Repeat the command with --yes to destroy it")
  }

  static func ofVirtualDisk(_ disk: VirtualDiskInfo) -> APIError {
    let clients = disk.clientCount == 0 ? "" : "; \(disk.clientCount) client\(disk.clientCount == 1 ? " is" : "s are") connected to it"
    return APIError(
      .badRequest,
      "Nothing was done: virtual disk \(disk.path) of \(Figures.size(disk.sizeBytes)), with \(Figures.size(disk.allocatedBytes)) allocated,"
        + " would be lost\(clients)",
      remedy: "Repeat the command with --yes to delete it")
  }

  static func ofRepair(_ repair: PartitionRepairInfo, of path: VirtualDiskPath) -> APIError {
    APIError(
      .badRequest, "Nothing was done: a repair of the partition table of \(path) would \(repair.actions.joined(separator: "; "))",
      remedy: "Repeat the command with --yes to write this")
  }
}
