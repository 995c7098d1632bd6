import StorageBus

/// What simulated caches did, as a table or JSON.
struct CacheSimulationReport: Encodable {
  struct Row: Encodable {
    var policy: String
    var admission: String
    var sizeBytes: UInt64
    var pageBytes: UInt64
    var pages: UInt64
    /// In pages.
    var reads: UInt64
    var hits: UInt64
    var hitRatio: Double
    var readBytes: UInt64
    var hitBytes: UInt64
    var writes: UInt64
    var writeHits: UInt64
    var admitted: UInt64
    var secondMiss: UInt64
    var bypassedSequential: UInt64
    var bypassedLarge: UInt64
    var evictions: UInt64
    /// Whether no other policy had more hits with this size and admission; absent when none was compared.
    var isBest: Bool?
  }

  private(set) var results: [Row]

  init(_ simulations: [CacheSimulation]) {
    results = simulations.map { simulation in
      let (configuration, counts) = (simulation.configuration, simulation.counts)
      return Row(
        policy: configuration.policy.rawValue, admission: configuration.admission.rawValue, sizeBytes: configuration.size,
        pageBytes: configuration.pageSize, pages: configuration.pages, reads: counts.reads, hits: counts.hits, hitRatio: counts.hitRatio,
        readBytes: counts.readBytes, hitBytes: counts.hitBytes, writes: counts.writes, writeHits: counts.writeHits,
        admitted: counts.admitted, secondMiss: counts.secondMiss, bypassedSequential: counts.bypassedSequential,
        bypassedLarge: counts.bypassedLarge, evictions: counts.evictions)
    }
    for row in results.indices { results[row].isBest = isBest(results[row]) }
  }

  private func isBest(_ row: Row) -> Bool? {
    let rivals = results.filter { $0.sizeBytes == row.sizeBytes && $0.admission == row.admission }
    return rivals.count > 1 ? rivals.allSatisfy { $0.hits <= row.hits } : nil
  }

  var text: String {
    var table = Table(
      .right("SIZE"), .left("ADMISSION"), .left("POLICY"), .right("READS"), .right("HITS"), .right("HIT RATIO"), .right("HIT BYTES"),
      .right("SEQUENTIAL"), .right("LARGE"), .right("EVICTIONS"), .left(""))
    for row in results {
      table.add(
        Figures.size(row.sizeBytes), row.admission, row.policy, "\(row.reads)", "\(row.hits)", CacheSimulationReport.ratio(row.hitRatio),
        "\(Figures.size(row.hitBytes)) of \(Figures.size(row.readBytes))", "\(row.bypassedSequential)", "\(row.bypassedLarge)",
        "\(row.evictions)", row.isBest == true ? "best" : "")
    }
    return table.text + "\nReads, hits and what passed the cache by are counted in pages of \(Figures.size(results.first?.pageBytes ?? 0))."
  }

  /// With four decimals.
  private static func ratio(_ ratio: Double) -> String {
    let digits = "\(Int((ratio * 10_000).rounded()))"
    let padded = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    return "\(padded.dropLast(4)).\(padded.suffix(4))"
  }
}
