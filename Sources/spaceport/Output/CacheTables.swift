import Management

/// How the read cache is shown to a person.
enum CacheTables {
  static func cache(_ info: CacheInfo) -> String {
    guard info.memoryBytes > 0 else {
      return "The server has no read cache. Start it with one: spaceport serve --cache-memory SIZE"
    }
    var fields = Fields()
    let lock = info.isLocked ? "locked" : "not locked"
    fields.add("Memory", "\(Figures.size(info.memoryBytes)) in pages of \(Figures.size(info.pageBytes)), \(lock)")
    fields.add("Pages", "\(info.pages), \(info.freePages) free")
    fields.add("Evictions", "\(info.evictions)")
    if let advice = info.advice {
      fields.add(
        "Hit ratio lately",
        "\(percent(advice.same)); with half the memory \(percent(advice.half)), twice \(percent(advice.twice)), "
          + "four times \(percent(advice.fourTimes))")
    }
    var table = Table(
      .left("OF"), .right("HITS"), .right("MISSES"), .right("RATIO"), .right("HIT"), .right("ADMITTED"), .right("SECOND MISS"),
      .right("SEQUENTIAL"), .right("LARGE"), .right("REFRESHED"), .right("DROPPED"), .right("ERRORS"))
    add("all", info.counters, to: &table)
    for disk in info.disks { add(disk.name, disk.counters, to: &table) }
    for disk in info.virtualDisks { add(disk.name, disk.counters, to: &table) }
    return "\(fields.text)\n\n\(table.text)"
  }

  private static func add(_ name: String, _ counters: CacheInfo.Counters, to table: inout Table) {
    table.add(
      name, "\(counters.hits)", "\(counters.misses)", percent(counters.hitRatio), Figures.size(counters.hitBytes),
      Figures.size(counters.admittedBytes), Figures.size(counters.secondMissBytes), Figures.size(counters.bypassedSequentialBytes),
      Figures.size(counters.bypassedLargeBytes), Figures.size(counters.refreshedBytes), "\(counters.dropped)", "\(counters.errors)")
  }

  private static func percent(_ ratio: Double) -> String { "\(Int((min(max(ratio, 0), 1) * 100).rounded())) %" }
}
