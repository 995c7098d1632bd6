import Management

/// What `spaceport pool check` found, for a person.
enum PoolCheckReport {
  static func text(_ check: PoolCheckInfo) -> String {
    var fields = Fields()
    fields.add("Pool", check.pool)
    fields.add("Epoch", "\(check.epoch)")
    let counts = check.recordCounts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
    fields.add("Records", counts.isEmpty ? nil : counts.joined(separator: ", "))
    return [fields.text, disks(check.disks), virtualDisks(check.virtualDisks), findings(check.findings)].filter { !$0.isEmpty }
      .joined(separator: "\n\n")
  }

  private static func disks(_ disks: [PoolCheckInfo.Disk]) -> String {
    if disks.isEmpty { return "" }
    var table = Table(.left("DISK"), .right("NUMBER"), .left("ROLE"), .right("LAST CHANGE"))
    for disk in disks { table.add(disk.path, "\(disk.number)", "\(disk.role)", disk.lastChange.map { "\($0)" } ?? "-") }
    return table.text
  }

  private static func virtualDisks(_ disks: [PoolCheckInfo.VirtualDiskData]) -> String {
    if disks.isEmpty { return "" }
    var table = Table(
      .left("VIRTUAL DISK"), .right("SIZE"), .right("WHOLE"), .right("DEGRADED"), .right("NOT PROVEN"), .right("LOST"))
    for disk in disks {
      table.add(
        disk.name, Figures.size(disk.sizeBytes), Figures.size(disk.data.wholeBytes), Figures.size(disk.data.degradedBytes),
        Figures.size(disk.data.unprovenBytes), Figures.size(disk.data.lostBytes))
    }
    return table.text
  }

  private static func findings(_ findings: [PoolCheckInfo.Finding]) -> String {
    if findings.isEmpty { return "No faults found." }
    let lines = findings.map { "  \($0.severity): \($0.subject.map { "\($0): " } ?? "")\($0.text)" }
    return "Findings:\n" + lines.map(Printable.text).joined(separator: "\n")
  }
}
