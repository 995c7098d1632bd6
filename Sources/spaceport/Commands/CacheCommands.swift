import ArgumentParser
import Management
import StorageBus

struct CacheCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache", abstract: "Look at the server's read cache, and try its policy on a block trace.",
    subcommands: [CacheShowCommand.self, CacheSimulateCommand.self])
}

struct CacheShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show what the read cache holds and did, and what more memory would give.",
    discussion: """
      Its first level is memory, sized with serve --cache-memory; its second are cache disks (pool add POOL DISK --usage cache). HIT, ADMITTED \
      and so on are bytes; HITS, MISSES, FILLS and EVICTED are pages. BYPASSED is what the memory has not admitted.
      """)

  @OptionGroup var client: ClientOptions

  @Argument(help: "Show the disks and virtual disks of this pool alone.")
  var pool: String?

  func run() async throws {
    let info = try await client.storage().cache(ofPool: pool)
    try client.show(info, as: CacheTables.cache(info))
  }
}

struct CacheSimulateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate", abstract: "Run a block trace through the read cache's policy, without a server.",
    discussion: """
      The trace is a CSV file whose header names the columns time (integer microseconds that never fall), op (r or w), offset_bytes and \
      byte_count. Hits are counted in pages of reads. Writes go through: pages in the cache take the new content, others don't come in.
      """)

  enum PolicyChoice: String, CaseIterable, ExpressibleByArgument {
    case adaptive, lru, arc, s3fifo, all

    /// Each with what it stands for.
    var policies: [CachePolicy] { self == .all ? CachePolicy.allCases : CachePolicy.allCases.filter { $0.rawValue == rawValue } }
  }

  enum AdmissionChoice: String, CaseIterable, ExpressibleByArgument {
    case windows, all

    var admission: CacheAdmission { self == .all ? .all : .windows }
  }

  @Option(help: "The trace, a CSV file.")
  var trace: String

  @Option(help: "The cache's size.", transform: Parse.size)
  var size: ByteSize?

  @Option(help: ArgumentHelp("Several sizes, with commas between them, for a curve.", valueName: "a,b,c"))
  var sizes: String?

  @Option(help: "The eviction policy; 'all' compares them, under both admissions.")
  var policy = PolicyChoice.adaptive

  @Option(help: "Which missed pages come in: as Windows does by default, or all.")
  var admission = AdmissionChoice.windows

  @Option(help: "The cache's pages: 4KiB, 8KiB, 16KiB, 32KiB or 64KiB; else 16KiB.", transform: Parse.size)
  var pageSize = ByteSize(byteCount: 16_384)

  @Flag(help: "Print JSON.")
  var json = false

  // Here, and not when it runs: what is wrong is then told with this command's usage.
  func validate() throws { _ = try configurations() }

  func run() async throws {
    let simulations = try configurations().map { try CacheSimulation($0) }
    try TraceFile.run(path: Paths.absolute(trace)) { request in
      for simulation in simulations { simulation.handle(request) }
    }
    let report = CacheSimulationReport(simulations)
    try Terminal.write(json ? JSON.text(report) : report.text)
  }

  private func configurations() throws -> [CacheConfiguration] {
    guard CacheConfiguration.pageSizes.contains(pageSize.byteCount) else {
      throw ValidationError("The cache has no pages of \(pageSize). Give --page-size 4KiB, 8KiB, 16KiB, 32KiB or 64KiB.")
    }
    var sizes = try (self.sizes?.split(separator: ",", omittingEmptySubsequences: false) ?? []).map { try Parse.size(String($0)) }
    if let size { sizes.append(size) }
    guard !sizes.isEmpty else { throw ValidationError("No size is given. Give --size SIZE, or --sizes A,B,C for a curve.") }
    let admissions: [CacheAdmission] = policy == .all ? [.all, .windows] : [admission.admission]
    let all = Set(sizes).sorted().flatMap { size in
      admissions.flatMap { admission in
        policy.policies.map { policy in
          CacheConfiguration(policy: policy, admission: admission, size: size.byteCount, pageSize: pageSize.byteCount)
        }
      }
    }
    for size in sizes where size < pageSize {
      throw ValidationError("A cache of \(size) holds no page of \(pageSize). Give a larger size.")
    }
    var pages: UInt64 = 0
    for configuration in all {
      pages = pages.addingReportingOverflow(configuration.pages).partialValue
      guard configuration.pages <= CacheConfiguration.mostPages, pages <= CacheConfiguration.mostPages else {
        throw ValidationError(
          "The caches hold more than \(CacheConfiguration.mostPages) pages together. Give smaller or fewer sizes, or a larger --page-size.")
      }
    }
    return all
  }
}
