import Management

/// How partition tables are shown to a person.
enum PartitionOutput {
  static func table(_ info: PartitionTableInfo, remarks: [String] = []) -> String {
    var lines = [fields(info).text]
    if !info.partitions.isEmpty { lines += ["", partitions(info)] }
    lines += info.findings.map { Printable.text("Wrong: \($0)") }
    var remarks = remarks
    if !info.findings.isEmpty && !info.partitions.isEmpty && info.partitions.allSatisfy(\.exports.isEmpty) {
      remarks.append("None of the partitions is served while the table is as it is.")
    }
    remarks += labelsWithoutExport(info)
    if info.wholeDiskClientCount > 0 {
      remarks.append(
        "A client that has the whole disk attached sees a changed table when it reads it again (blockdev --rereadpt, partprobe).")
    }
    return (lines + remarks.map(Printable.text)).joined(separator: "\n")
  }

  /// Labels that name no export though the partition has one.
  private static func labelsWithoutExport(_ info: PartitionTableInfo) -> [String] {
    let counts = Dictionary(info.partitions.map { ($0.label, 1) }, uniquingKeysWith: +)
    return info.partitions.filter { !$0.label.isEmpty && !$0.exports.isEmpty && !$0.exports.contains("\(info.path)/\($0.label)") }.map {
      let why: String
      if counts[$0.label, default: 0] > 1 {
        why = "another partition has it too"
      } else if $0.label.contains("/") {
        why = "it has a slash in it"
      } else if $0.label.allSatisfy(\.isNumber) {
        why = "it is a number"
      } else {
        why = "it is a GUID or has characters that do not print"
      }
      return "The label \"\($0.label)\" of partition \($0.number) names no export, because \(why): use \(info.path)/\($0.number)."
    }
  }

  /// What is to be done after a partition was resized, for those whose clients have something to do; nil for nobody.
  static func remark(onResizing before: PartitionTableInfo, to after: PartitionTableInfo) -> String? {
    let oldSizes = Dictionary(before.partitions.map { ($0.number, $0.sizeBytes) }, uniquingKeysWith: max)
    let grown = after.partitions.first { $0.clientCount > 0 && $0.sizeBytes > oldSizes[$0.number] ?? .max }
    guard let grown else { return nil }
    return "Clients of partition \(grown.number) reach its new end. A block device of this machine learns of it, and its file system "
      + "grows, by: spaceport volume resize \(after.path)/\(grown.number) --size \(after.sizeBytes)"
  }

  private static func fields(_ info: PartitionTableInfo) -> Fields {
    var fields = Fields()
    fields.add("Virtual disk", "\(info.path)")
    fields.add("Table", kind(info.kind))
    fields.add("Disk ID", info.diskID)
    fields.add("Sector size", "\(info.sectorBytes)")
    fields.add("Alignment", Figures.size(info.alignmentBytes))
    if info.kind == .gpt || info.kind == .hybrid {
      fields.add("Free", "\(Figures.size(info.freeBytes)), the largest range \(Figures.size(info.largestFreeBytes))")
    }
    if info.isBeingWritten { fields.add("Warning", "a client writes the table now: look again") }
    return fields
  }

  private static func kind(_ kind: PartitionTableInfo.Kind) -> String {
    switch kind {
    case .none: "none: make one with spaceport partition init"
    case .bootSector: "none: sector 0 is a boot sector"
    case .mbr: "MBR, which is shown and not changed"
    case .gpt: "GPT"
    case .hybrid: "GPT with a hybrid MBR, which is shown and not changed"
    case .mbrOverGPT: "GPT under an MBR with partitions of its own"
    case .damagedGPT: "damaged GPT"
    default: kind.words
    }
  }

  private static func partitions(_ info: PartitionTableInfo) -> String {
    var table = Table(
      .right("PART"), .right("FIRST SECTOR"), .right("LAST SECTOR"), .right("SIZE"), .left("TYPE"), .left("LABEL"), .left("ATTRIBUTES"),
      .right("CLIENTS"), .left("UUID"))
    for partition in info.partitions {
      table.add(
        "\(partition.number)", "\(partition.firstSector)", "\(partition.lastSector)", Figures.size(partition.sizeBytes), partition.type,
        partition.label.isEmpty ? "-" : partition.label, partition.attributes.isEmpty ? "-" : partition.attributes.joined(separator: ","),
        "\(partition.clientCount)", partition.uuid?.lowercased() ?? "-")
    }
    return table.text
  }

  static func verification(_ info: PartitionTableInfo) -> String {
    guard info.findings.isEmpty else {
      return info.findings.map { Printable.text("Wrong: \($0)") }.joined(separator: "\n")
    }
    if info.kind == .none || info.kind == .bootSector { return Printable.text("\(info.path) has no partition table.") }
    let count = info.partitions.count
    return Printable.text("\(info.path): \(kind(info.kind)); \(count) partition\(count == 1 ? "" : "s"); nothing is wrong with the table.")
  }

  static func repair(_ repair: PartitionRepairInfo, of path: VirtualDiskPath) -> String {
    if repair.actions.isEmpty { return Printable.text("There is nothing to repair in the partition table of \(path).") }
    let heading = repair.isDone ? "The partition table of \(path) is repaired:" : "A repair of the partition table of \(path) would:"
    return ([heading] + repair.actions.map { "  \($0)" }).map(Printable.text).joined(separator: "\n")
  }
}
