import Management

/// How the read cache is shown to a person.
enum CacheTables {
  static func cache(_ info: CacheInfo) -> String {
    let memory =
      info.memoryBytes > 0
      ? memory(info) : "The server has no read cache in memory. Start it with one: spaceport serve --cache-memory SIZE"
    return ([memory] + info.cacheDisks.map(cacheDisk)).joined(separator: "\n\n")
  }

  private static func memory(_ info: CacheInfo) -> String {
    var fields = Fields()
    let lock = info.isLocked ? "locked" : "not locked"
    fields.add("Memory", "\(Figures.size(info.memoryBytes)) in pages of \(Figures.size(info.pageBytes)), \(lock)")
    fields.add("Pages", "\(info.pages), \(info.freePages) free")
    if let advice = info.advice {
      fields.add(
        "Hit ratio lately, of reads that may come in",
        "\(percent(advice.same)); with half the memory \(percent(advice.half)), twice \(percent(advice.twice)), "
          + "four times \(percent(advice.fourTimes))")
    }
    var table = Table(
      .left("OF"), .right("HITS"), .right("MISSES"), .right("RATIO"), .right("HIT"), .right("ADMITTED"), .right("SECOND MISS"),
      .right("SEQUENTIAL"), .right("LARGE"), .right("REFRESHED"), .right("DROPPED"), .right("EVICTED"),
      .right("ERRORS"))
    add("all", info.counters, to: &table)
    for disk in info.disks { add(disk.name, disk.counters, to: &table) }
    for disk in info.virtualDisks { add(disk.name, disk.counters, isVirtualDisk: true, to: &table) }
    return "\(fields.text)\n\n\(table.text)"
  }

  /// What writes drop is known by disk: several virtual disks may have a part of a page.
  private static func add(_ name: String, _ counters: CacheInfo.Counters, isVirtualDisk: Bool = false, to table: inout Table) {
    table.add(
      name, "\(counters.hits)", "\(counters.misses)", percent(counters.hitRatio), Figures.size(counters.hitBytes),
      Figures.size(counters.admittedBytes), Figures.size(counters.secondMissBytes), Figures.size(counters.bypassedSequentialBytes),
      Figures.size(counters.bypassedLargeBytes), Figures.size(counters.refreshedBytes), isVirtualDisk ? "–" : "\(counters.dropped)",
      "\(counters.evictions)", "\(counters.errors)")
  }

  // MARK: The second level

  private static func cacheDisk(_ disk: CacheDiskReport) -> String {
    var fields = Fields()
    fields.add("Cache disk", "\(disk.path), disk \(disk.number) of the pool \(disk.pool)")
    guard disk.isUsed else {
      fields.add("State", "not used: reads go to the disks it is for. `spaceport disk list` says why")
      return fields.text
    }
    if disk.isOverdue { fields.add("State", "it does not answer in time, and is not asked before it does") }
    fields.add("Pages", "\(disk.pages) of \(Figures.size(disk.pageBytes)), \(disk.freePages) free")
    fields.add("Memory", "\(Figures.size(disk.memoryBytes)) to know what they hold")
    if disk.idleBytes > 0 {
      fields.add("Idle", "\(Figures.size(disk.idleBytes)) of the disk: to know more pages would take more memory than it may have")
    }
    fields.add("Warm", "\(disk.counters.warm) pages were there when the pool was opened")
    var table = Table(
      .left("OF"), .right("HITS"), .right("MISSES"), .right("RATIO"), .right("HIT"), .right("ADMITTED"), .right("SECOND MISS"),
      .right("SEQUENTIAL"), .right("LARGE"), .right("BYPASSED"), .right("FILLS"), .right("DROPPED"), .right("EVICTED"), .right("ERRORS"),
      .right("TIMEOUTS"))
    add("all", disk.counters, to: &table)
    for part in disk.disks { add(part.name, part.counters, to: &table) }
    for part in disk.virtualDisks { add(part.name, part.counters, isVirtualDisk: true, to: &table) }
    return "\(fields.text)\n\n\(table.text)"
  }

  private static func add(_ name: String, _ counters: CacheDiskReport.Counters, isVirtualDisk: Bool = false, to table: inout Table) {
    table.add(
      name, "\(counters.hits)", "\(counters.misses)", percent(counters.hitRatio), Figures.size(counters.hitBytes),
      Figures.size(counters.admittedBytes), Figures.size(counters.secondMissBytes), Figures.size(counters.bypassedSequentialBytes),
      Figures.size(counters.bypassedLargeBytes), Figures.size(counters.bypassedBytes), "\(counters.fills)",
      isVirtualDisk ? "–" : "\(counters.dropped)", "\(counters.evictions)", "\(counters.errors + counters.checksumErrors)",
      "\(counters.timeouts)")
  }

  private static func percent(_ ratio: Double) -> String { "\(Int((min(max(ratio, 0), 1) * 100).rounded())) %" }
}
