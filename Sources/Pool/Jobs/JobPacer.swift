import BlockDevice
import Reactor

/// Lets jobs yield to applications: while there are requests of clients, a job works only its share of the time; else as fast as it can.
public final class JobPacer: @unchecked Sendable {  // reactor-confined
  private let reactor: any Reactor
  /// Per cent of the time that a job may work while applications are at work; 1 to 100.
  public var sharePercent = JobLimits.sharePercent
  /// Counts the requests of clients.
  var requestCount: () -> UInt64 = { 0 }
  /// Told of bytes as they are done.
  var onProgress: (UInt64) -> Void = { _ in }
  private var lastRequestCount: UInt64 = 0
  /// When requests of clients were last seen to have come.
  private var lastRequestSeen: Instant?
  /// Rows that are in work now: they share what a job may take.
  var workerCount = 1

  private let idleDepth: Int

  init(reactor: any Reactor, slabByteCount: UInt64) {
    self.reactor = reactor
    idleDepth = JobLimits.idleDepth(slabByteCount: slabByteCount)
  }

  /// How many rows should be in work: as many as keep the disks busy, or few where applications want them.
  var depth: Int { isBesideApplications ? JobLimits.depth : idleDepth }

  /// Bytes that should be worked on in one piece: the same way.
  public var pieceByteCount: UInt64 { isBesideApplications ? JobLimits.pieceByteCount : JobLimits.idlePieceByteCount }

  /// For some time after a request, too: one that comes now and then must not find the disks full of long pieces.
  private var isBesideApplications: Bool {
    if sharePercent >= 100 { return false }
    if requestCount() != lastRequestCount { return true }
    guard let lastRequestSeen else { return false }
    return reactor.now.nanoseconds - lastRequestSeen.nanoseconds < JobLimits.quietMilliseconds * 1_000_000
  }

  /// After a piece of work that began at `began`: waits as long as the share demands, where applications were at work meanwhile.
  public func worked(since began: Instant, byteCount: UInt64) async {
    onProgress(byteCount)
    guard noteRequests(), sharePercent < 100 else { return }
    let worked = reactor.now.nanoseconds - began.nanoseconds
    let crowd = UInt64(max(1, workerCount / JobLimits.depth))
    let pause = min(worked / UInt64(sharePercent) * UInt64(100 - sharePercent) * crowd / 1_000_000 + 1, JobLimits.longestPauseMilliseconds)
    await reactor.sleep(milliseconds: pause)
  }

  /// Looks whether applications are at work, also while no job is: one that begins long after their last request has the disks to itself.
  @discardableResult
  func noteRequests() -> Bool {
    let count = requestCount()
    if count == lastRequestCount { return false }
    lastRequestCount = count
    lastRequestSeen = reactor.now
    return true
  }
}
