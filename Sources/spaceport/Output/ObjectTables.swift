import Management

/// How the objects of the management API are shown to a person.
enum ObjectTables {
  static func disks(_ disks: [DiskInfo]) -> String {
    guard !disks.isEmpty else { return "No disks: no pool is known. Create one with spaceport pool create NAME DISK..." }
    var table = Table(
      .left("PATH"), .left("POOL"), .right("DISK"), .left("KIND"), .left("I/O"), .right("SIZE"), .right("ALLOCATED"), .right("FREE"),
      .left("SECTOR"),
      .left("ROLE"), .left("USAGE"), .left("CACHE"), .left("HEALTH"), .left("STATE"), .left("UUID"))
    for disk in disks {
      table.add(
        disk.path, disk.pool ?? "-", disk.number == 0 ? "-" : "\(disk.number)", "\(disk.kind)", "\(disk.ioMode)",
        Figures.size(disk.sizeBytes), Figures.size(disk.allocatedBytes),
        Figures.size(disk.freeBytes), "\(disk.logicalSectorBytes)/\(disk.physicalSectorBytes)", "\(disk.role)", "\(disk.usage)",
        disk.cachedBy ?? "-", "\(disk.health)", disk.state.words, disk.uuid)
    }
    let remarks = disks.compactMap { explanation($0.path, $0.reason, $0.nextStep) }
    return ([table.text] + remarks).joined(separator: "\n")
  }

  static func candidates(_ disks: [DiskCandidateInfo]) -> String {
    guard !disks.isEmpty else { return "No disks: nothing there could be one. Files of a directory: spaceport disk scan DIRECTORY" }
    var table = Table(.left("PATH"), .left("KIND"), .right("SIZE"), .left("MODEL"), .left("CAN BE POOLED"))
    for disk in disks {
      table.add(
        disk.path, disk.isRotational ? "\(disk.kind), rotating" : "\(disk.kind)", Figures.size(disk.sizeBytes), disk.model ?? "-",
        disk.canBePooled ? "yes" : "no. " + disk.obstacles.joined(separator: ". "))
    }
    return table.text
  }

  static func pools(_ pools: [PoolInfo]) -> String {
    guard !pools.isEmpty else { return "No pools. Create one with spaceport pool create NAME DISK..." }
    var table = Table(
      .left("NAME"), .left("STATE"), .left("HEALTH"), .right("CAPACITY"), .right("ALLOCATED"), .right("FREE"), .right("SLAB"),
      .right("DISKS"),
      .right("VDISKS"))
    for pool in pools {
      table.add(
        pool.name, pool.state.words, "\(pool.health)", Figures.size(pool.capacityBytes), Figures.size(pool.allocatedBytes),
        Figures.size(pool.freeBytes),
        Figures.size(pool.slabBytes), "\(pool.disks.count)", "\(pool.virtualDisks.count)")
    }
    return ([table.text] + pools.compactMap(explanation)).joined(separator: "\n")
  }

  static func pool(_ pool: PoolInfo) -> String {
    var fields = Fields()
    fields.add("Name", pool.name)
    fields.add("UUID", pool.uuid)
    fields.add("State", pool.state.words)
    fields.add("Health", "\(pool.health)")
    fields.add("Reason", pool.reason)
    fields.add("Next step", pool.nextStep)
    fields.add("Capacity", Figures.size(pool.capacityBytes))
    fields.add("Allocated", Figures.size(pool.allocatedBytes))
    fields.add("Free", Figures.size(pool.freeBytes))
    for room in pool.remaining {
      // With few columns unequal disks are used up: said where it makes a difference.
      let most = room.bytes > room.bytesWithDefaultColumns ? ", \(Figures.size(room.bytes)) with --columns 1" : ""
      fields.add(
        room.copies == 1 ? "Room for simple" : "Room for \(room.copies) copies", Figures.size(room.bytesWithDefaultColumns) + most)
    }
    if !pool.remaining.isEmpty {
      fields.add(
        "Reserve",
        pool.reserveBytes == 0 && pool.isReserveMet
          ? "none needed" : "\(Figures.size(pool.reserveBytes)), \(pool.isReserveMet ? "met" : "not met")")
    }
    fields.add("Slab size", Figures.size(pool.slabBytes))
    fields.add("Features", pool.features.isEmpty ? "none" : pool.features.joined(separator: ", "))
    fields.add("Virtual disks", pool.virtualDisks.isEmpty ? "none" : pool.virtualDisks.joined(separator: ", "))
    for warning in pool.warnings { fields.add("Warning", warning) }
    return pool.disks.isEmpty ? fields.text : "\(fields.text)\n\n\(disks(pool.disks))"
  }

  /// - Parameter waiting: pools that are not open, whose virtual disks are unknown.
  static func virtualDisks(_ disks: [VirtualDiskInfo], waiting: [PoolInfo] = []) -> String {
    guard !disks.isEmpty else {
      if waiting.isEmpty { return "No virtual disks. Create one with spaceport vdisk create POOL/NAME --size SIZE" }
      return (["No virtual disks are served."] + waiting.compactMap(explanation)).joined(separator: "\n")
    }
    var table = Table(
      .left("NAME"), .left("STATE"), .left("HEALTH"), .right("SIZE"), .right("ALLOCATED"), .left("PROVISIONING"), .left("RESILIENCY"),
      .right("COPIES"), .right("COLUMNS"), .right("INTERLEAVE"), .right("SECTOR"), .right("CLIENTS"))
    for disk in disks {
      table.add(
        "\(disk.path)", disk.state.words, "\(disk.health)", Figures.size(disk.sizeBytes), Figures.size(disk.allocatedBytes),
        "\(disk.provisioning)",
        "\(disk.resiliency)", "\(disk.copies)", "\(disk.columns)", Figures.size(disk.interleaveBytes), "\(disk.logicalSectorBytes)",
        "\(disk.clientCount)")
    }
    let remarks = disks.compactMap { explanation("\($0.path)", $0.reason, $0.nextStep) }
    return ([table.text] + remarks + waiting.compactMap(explanation)).joined(separator: "\n")
  }

  static func virtualDisk(_ disk: VirtualDiskInfo) -> String {
    var fields = Fields()
    fields.add("Name", "\(disk.path)")
    fields.add("UUID", disk.uuid)
    fields.add("State", disk.state.words)
    fields.add("Health", "\(disk.health)")
    fields.add("Reason", disk.reason)
    fields.add("Next step", disk.nextStep)
    fields.add("Size", "\(Figures.size(disk.sizeBytes)) (\(disk.sizeBytes) bytes)")
    fields.add("Allocated", Figures.size(disk.allocatedBytes))
    fields.add("Provisioning", "\(disk.provisioning)")
    fields.add("Resiliency", "\(disk.resiliency)")
    fields.add("Copies", "\(disk.copies)")
    fields.add("Columns", "\(disk.columns)")
    fields.add("Interleave", Figures.size(disk.interleaveBytes))
    fields.add("Sector size", "\(disk.logicalSectorBytes)")
    fields.add("Share", "\(disk.share)")
    fields.add("Clients", "\(disk.clientCount)")
    if let data = disk.data {
      fields.add("Whole", Figures.size(data.wholeBytes))
      fields.add("Degraded", Figures.size(data.degradedBytes))
      fields.add("Not proven", Figures.size(data.unprovenBytes))
      fields.add("Lost", Figures.size(data.lostBytes))
    }
    return fields.text
  }

  static func status(_ status: ServerStatus) -> String {
    var fields = Fields()
    fields.add("Version", status.version)
    fields.add("Process", "\(status.processID)")
    fields.add("Running for", Figures.duration(seconds: status.uptimeSeconds))
    fields.add("State directory", status.stateDirectory)
    for listener in status.listeners { fields.add("Serving NBD at", listener) }
    fields.add("TLS", status.tls?.words)
    fields.add("Pools ready", status.poolsReady.isEmpty ? "none" : status.poolsReady.joined(separator: ", "))
    fields.add("Pools starting", status.poolsStarting.isEmpty ? nil : status.poolsStarting.joined(separator: ", "))
    for warning in status.warnings { fields.add("Warning", warning) }
    return fields.text
  }

  /// Why a pool doesn't serve as it should, and what to do; nil when it does.
  private static func explanation(_ pool: PoolInfo) -> String? {
    explanation(pool.name, pool.reason, pool.nextStep)
  }

  private static func explanation(_ name: String, _ reason: String?, _ nextStep: String?) -> String? {
    let sentences = [reason, nextStep].compactMap { $0 }
    return sentences.isEmpty ? nil : Printable.text("\(name): \(sentences.joined(separator: ". "))")
  }
}
