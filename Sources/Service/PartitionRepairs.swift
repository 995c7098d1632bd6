import Management
import PartitionTable
import Volume

// Partition tables that are mended: damaged ones, and those of disks that have grown. On the reactor, under the operation lock.

extension StorageService {
  func repairPartitionTable(_ path: VirtualDiskPath, _ request: RepairPartitionTable) async throws(APIError) -> PartitionRepairInfo {
    let source: GPTCopy? =
      switch request.source {
      case nil: nil
      case "primary": .primary
      case "backup": .backup
      case let other?: throw APIError(.badRequest, "There is no copy \"\(other)\" of a GPT", remedy: "Give primary or backup")
      }
    // Whoever names the copy knows that the other cannot be read, and that writing may be what mends it.
    let (_, disk, reading) = try await readTable(path, acceptUnreadable: source != nil)
    let plan = try explainedRefusal(path) { () throws(PartitionTableRefusal) in try reading.scan.repair(from: source) }
    let writesHead = plan.steps.joined().contains { $0.copy == .primary }
    if writesHead && !request.force { try await checkHoldsNoFileSystem(disk, path) }
    let info = PartitionRepairInfo(
      findings: reading.scan.findings.map(\.description), actions: plan.actions, isDone: request.apply && !plan.steps.isEmpty)
    if info.isDone { try await write(TableChange(plan), to: disk, path, readAs: reading, force: request.force) }
    return info
  }

  /// A file system on the whole disk may have its superblock where the table is written.
  private func checkHoldsNoFileSystem(_ disk: ServedVirtualDisk, _ path: VirtualDiskPath) async throws(APIError) {
    let found: String
    do {
      guard let (content, _) = try await recognised(0..<disk.disk.geometry.byteCount, of: disk) else { return }
      found = "holds \(content.type)\(content.label.map { " \"\($0)\"" } ?? "") as a whole, which a repair may destroy"
    } catch { found = "may hold a file system as a whole: what is on it is not known, \(error)" }
    throw APIError(
      .wrongState, "\(path) \(found)",
      remedy: "See `spaceport volume list`. If the partitions are what is wanted, repeat the command with --force")
  }

  /// After the disk has grown: the backup goes to the new end. Says what was done and what is left to do.
  func fitPartitionTable(of disk: ServedVirtualDisk, as before: PartitionWatch.Reading) async -> String? {
    await disk.volume.partitions.tableChanged()
    let path = disk.disk.label
    if before.scan.kind == .none || before.scan.kind == .bootSector {
      return "A client sees the new size when it attaches again; then grow its file system"
    }
    do throws(PartitionTableRefusal) {
      try await moveBackup(of: disk, as: before)
      return "The backup of the partition table was moved to the new end. Next: `spaceport partition resize \(path) NUMBER` grows a "
        + "partition; `spaceport volume resize \(path)/NUMBER --size SIZE` does that with its block device and its file system"
    } catch {
      return "The partition table was left as it is: \(error.message). See `spaceport partition verify \(path)`"
    }
  }

  private func moveBackup(of disk: ServedVirtualDisk, as before: PartitionWatch.Reading) async throws(PartitionTableRefusal) {
    let wasWritten = PartitionTableRefusal("a client was writing it", remedy: "")
    guard before.isStable else { throw wasWritten }
    let table = try before.scan.editableTable()
    let now = await disk.volume.partitions.read()
    guard now.isStable, now.scan.gpt?.partitions == table.partitions else { throw wasWritten }
    let change = TableChange(try now.scan.repair())
    do throws(APIError) {
      try await write(change, to: disk, VirtualDiskPath(parsing: disk.disk.label), readAs: now, force: false)
    } catch { throw PartitionTableRefusal(error.message, remedy: error.remedy) }
  }
}
