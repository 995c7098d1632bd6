import BlockDevice

/// The eviction policies that are built in.
public enum CachePolicy: String, CaseIterable, Sendable {
  /// Spaceport's own: see docs/cache-policy.md.
  case adaptive
  case lru
  case arc
  case s3fifo
}

/// A cache to be simulated.
public struct CacheConfiguration: Equatable, Sendable {
  public var policy: CachePolicy
  public var admission: CacheAdmission
  /// Bytes.
  public var size: UInt64
  /// Bytes: 4, 8, 16, 32 or 64 KiB.
  public var pageSize: UInt64

  /// Whole pages that the size holds.
  public var pages: UInt64 { size / pageSize }

  public static let pageSizes: [UInt64] = [4096, 8192, 16_384, 32_768, 65_536]
  /// Pages that may be simulated at once: these take about 2.5 GB.
  public static let mostPages: UInt64 = 1 << 24

  public init(policy: CachePolicy, admission: CacheAdmission, size: UInt64, pageSize: UInt64) {
    self.policy = policy
    self.admission = admission
    self.size = size
    self.pageSize = pageSize
  }
}

/// What a simulated cache did.
public struct CacheCounts: Equatable, Sendable {
  /// Pages that reads touched, and those of them that were in the cache.
  public var reads: UInt64 = 0
  public var hits: UInt64 = 0
  /// Bytes that reads asked for, and those of them that were in the cache.
  public var readBytes: UInt64 = 0
  public var hitBytes: UInt64 = 0
  /// Pages that writes touched, and those of them that were in the cache.
  public var writes: UInt64 = 0
  public var writeHits: UInt64 = 0
  /// Missed pages by what became of them.
  public var admitted: UInt64 = 0
  public var secondMiss: UInt64 = 0
  public var bypassedSequential: UInt64 = 0
  public var bypassedLarge: UInt64 = 0
  public var evictions: UInt64 = 0

  /// Hits for each read page; 0 without reads.
  public var hitRatio: Double { reads == 0 ? 0 : Double(hits) / Double(reads) }
}

/// Runs block requests through the cache's directory and admission, without data.
///
/// A read looks up each page it touches, and what misses comes in if it is admitted. A write goes through: the pages of it that are in the
/// cache take the new content, which counts as a use of them as a read does; others don't come in.
public final class CacheSimulation {
  public let configuration: CacheConfiguration
  private let runner: any Runner

  /// - Parameter configuration: a valid page size, and 1 ... `CacheConfiguration.mostPages` pages.
  /// - Throws: `.noMemory`.
  public init(_ configuration: CacheConfiguration) throws(BlockError) {
    self.configuration = configuration
    switch configuration.policy {
    case .adaptive: runner = try Run<AdaptiveOrder>(configuration)
    case .lru: runner = try Run<LRUOrder>(configuration)
    case .arc: runner = try Run<ARCOrder>(configuration)
    case .s3fifo: runner = try Run<S3FIFOOrder>(configuration)
    }
  }

  public var counts: CacheCounts { runner.counts }

  public func handle(_ request: BlockTraceRequest) { runner.handle(request) }
}

private protocol Runner: AnyObject {
  var counts: CacheCounts { get }
  func handle(_ request: BlockTraceRequest)
}

private final class Run<Order: EvictionOrder & ~Copyable>: Runner {
  private var directory: PageDirectory<Order>
  private var admission: AdmissionFilter
  private let pageShift: UInt64
  private(set) var counts = CacheCounts()

  init(_ configuration: CacheConfiguration) throws(BlockError) {
    let hash = PageHash(seed: 0)
    directory = try PageDirectory(capacity: Int(configuration.pages), hash: hash)
    admission = try AdmissionFilter(rule: configuration.admission, hash: hash)
    pageShift = UInt64(configuration.pageSize.trailingZeroBitCount)
  }

  func handle(_ request: BlockTraceRequest) {
    if request.isWrite { write(request) } else { read(request) }
  }

  private func read(_ request: BlockTraceRequest) {
    let isSequential = admission.noteRead(stream: 0, offset: request.offset, byteCount: request.byteCount)
    for page in pages(of: request) {
      let byteCount = overlap(of: page, request)
      counts.reads += 1
      counts.readBytes += byteCount
      if directory.read(page) != nil {
        counts.hits += 1
        counts.hitBytes += byteCount
        continue
      }
      let decision = admission.decide(
        page: page, byteCount: request.byteCount, isSequential: isSequential, at: request.microseconds)
      note(decision)
      guard decision.isAdmitted, let insertion = directory.insert(page) else { continue }
      directory.unpin(insertion.frame)
      if insertion.evicted != nil { counts.evictions += 1 }
    }
  }

  private func write(_ request: BlockTraceRequest) {
    for page in pages(of: request) {
      counts.writes += 1
      if directory.write(page) != nil { counts.writeHits += 1 }
    }
  }

  private func note(_ decision: AdmissionDecision) {
    switch decision {
    case .admitted: counts.admitted += 1
    case .secondMiss: counts.secondMiss += 1
    case .bypassedSequential: counts.bypassedSequential += 1
    case .bypassedLarge: counts.bypassedLarge += 1
    }
  }

  private func pages(of request: BlockTraceRequest) -> ClosedRange<UInt64> {
    request.offset >> pageShift...(request.offset + request.byteCount - 1) >> pageShift
  }

  private func overlap(of page: UInt64, _ request: BlockTraceRequest) -> UInt64 {
    min(request.offset + request.byteCount, (page + 1) << pageShift) - max(request.offset, page << pageShift)
  }
}
