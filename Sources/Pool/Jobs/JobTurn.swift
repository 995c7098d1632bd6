import BlockDevice
import Reactor

/// One turn of a job: some rows side by side, and where one is done the next follows, so that the disks are busy while others are flushed
/// and committed. It ends after about a second, or `JobLimits.rowsPerTurn` rows, or when more rows may be in work than at its beginning; what was
/// handed out by then is finished.
final class JobTurn<Item>: @unchecked Sendable {  // reactor-confined
  private let pacer: JobPacer
  private let reactor: any Reactor
  private let mayGoOn: () -> Bool
  /// The next few; empty when none was found for now, nil when there are none.
  private let more: () -> [Item]?
  private let body: (Item) async throws(BlockError) -> Void
  private let began: Instant
  private let depth: Int
  /// In reverse order.
  private var handedOut: [Item] = []
  private var count = 0
  private var isOver = false
  private var failure: BlockError?

  init(
    _ pacer: JobPacer, _ reactor: any Reactor, mayGoOn: @escaping () -> Bool, _ more: @escaping () -> [Item]?,
    _ body: @escaping (Item) async throws(BlockError) -> Void
  ) {
    self.pacer = pacer
    self.reactor = reactor
    self.mayGoOn = mayGoOn
    self.more = more
    self.body = body
    began = reactor.now
    depth = pacer.depth
  }

  /// False when there was nothing left to work on. Throws the first error of a row, when all that were handed out have been worked on.
  func run() async throws(BlockError) -> Bool {
    guard let first = more() else { return false }
    if first.isEmpty {
      await reactor.sleep(milliseconds: 0)
      return true
    }
    handedOut = first.reversed()
    count = first.count
    pacer.workerCount = min(depth, first.count)
    let tasks = (0..<pacer.workerCount).map { _ in reactor.spawn { [self] in await work() } }
    for task in tasks { await task.value }
    if let failure { throw failure }
    return true
  }

  private func work() async {
    while let item = next() {
      do throws(BlockError) { try await body(item) } catch { failure = failure ?? error }
    }
    pacer.workerCount -= 1
  }

  private func next() -> Item? {
    // Applications have come: so many rows are too many beside them. The others finish what was handed out.
    if pacer.workerCount > pacer.depth { return nil }
    if handedOut.isEmpty && !isOver { lookForMore() }
    return handedOut.popLast()
  }

  private func lookForMore() {
    let elapsed = reactor.now.nanoseconds - began.nanoseconds
    let isTimeLeft = count < JobLimits.rowsPerTurn && elapsed < JobLimits.turnMilliseconds * 1_000_000
    guard failure == nil, isTimeLeft, pacer.depth <= depth, mayGoOn(), let items = more(), !items.isEmpty else {
      isOver = true
      return
    }
    handedOut = items.reversed()
    count += items.count
  }
}
