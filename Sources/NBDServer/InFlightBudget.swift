import BlockDevice
import Reactor

/// What all connections of a server may have in flight together. A request is charged before it begins, and given back when its reply is sent;
/// where there is no room its connection reads no further until there is: nothing is refused.
///
/// Who waits is served fairly. A connection has one request waiting at most, because it reads them one after the other. The turn is that of the
/// virtual disk whose last request was let in longest ago, so that a thousand clients of one do not keep the only client of another waiting a
/// thousand turns, and a disk whose requests do not end keeps its turn; of its connections that of the one that has least in flight, and among equals
/// of the one that has waited longest. Whoever waits comes to have nothing in flight, so each gets its turn, however many requests others send. Large
/// requests wait in a queue of their own and leave a quarter of the memory to the others.
final class InFlightBudget: @unchecked Sendable {  // reactor-confined
  /// The connections of one virtual disk together.
  fileprivate final class DiskTurn: @unchecked Sendable {  // reactor-confined
    /// The number of its last request, of all that were let in.
    var last: UInt64
    var connectionCount = 0
    let longRanges = LongRanges()

    init(last: UInt64) { self.last = last }
  }

  /// What one connection has of it.
  final class Share: @unchecked Sendable {  // reactor-confined
    fileprivate let virtualDisk: VirtualDiskHandle
    fileprivate let ofDisk: DiskTurn
    var longRanges: LongRanges { ofDisk.longRanges }
    fileprivate(set) var byteCount = 0
    fileprivate(set) var requestCount = 0
    fileprivate var wanted = 0
    fileprivate var waitsSince = Instant.distantFuture
    fileprivate var continuation: UnsafeContinuation<Void, Never>?

    fileprivate init(_ virtualDisk: VirtualDiskHandle, _ ofDisk: DiskTurn) {
      self.virtualDisk = virtualDisk
      self.ofDisk = ofDisk
    }
  }

  private let reactor: any Reactor
  private let totalByteCount: Int
  private let largeByteCountLimit: Int
  private let requestCountLimit: Int

  private(set) var byteCount = 0
  private(set) var requestCount = 0
  /// The most since `takePeak`. Bytes.
  private var peakByteCount = 0
  private var largeByteCount = 0
  /// Requests that were let in, ever.
  private var turnCount: UInt64 = 0
  private var disks: [VirtualDiskHandle: DiskTurn] = [:]
  private var waiting: [Share] = []
  private var waitingForLarge: [Share] = []

  init(reactor: any Reactor, byteCount: Int, requestCount: Int) {
    self.reactor = reactor
    totalByteCount = byteCount
    largeByteCountLimit = byteCount - byteCount / 4
    requestCountLimit = requestCount
  }

  /// What a payload costs: the buffer that it lies in. `byteCount` is judged: at most 32 MiB.
  static func cost(of byteCount: Int) -> Int {
    if byteCount <= WireLimits.leastCharge { return byteCount == 0 ? 0 : WireLimits.leastCharge }
    return 1 << (Int.bitWidth - (byteCount - 1).leadingZeroBitCount)
  }

  private static func isLarge(_ cost: Int) -> Bool { cost > WireLimits.largeCharge }

  // MARK: Connections

  /// For a connection that begins to use `virtualDisk`.
  func join(_ virtualDisk: VirtualDiskHandle) -> Share {
    let disk = disks[virtualDisk] ?? DiskTurn(last: turnCount)
    disks[virtualDisk] = disk
    disk.connectionCount += 1
    return Share(virtualDisk, disk)
  }

  /// For one that has given everything back, and takes nothing more.
  func leave(_ share: Share) {
    assert(share.requestCount == 0 && share.continuation == nil, "left with requests in flight")
    share.ofDisk.connectionCount -= 1
    if share.ofDisk.connectionCount == 0 { disks[share.virtualDisk] = nil }
  }

  // MARK: Taking and giving back

  /// Charges a request, unless it has to wait.
  @inline(__always)
  func tryTake(_ byteCount: Int, for share: Share) -> Bool {
    let cost = InFlightBudget.cost(of: byteCount)
    guard InFlightBudget.isLarge(cost) ? waitingForLarge.isEmpty : waiting.isEmpty, hasRoom(for: cost) else { return false }
    charge(cost, to: share)
    return true
  }

  /// The same; waits for its turn.
  func take(_ byteCount: Int, for share: Share) async {
    if tryTake(byteCount, for: share) { return }
    share.wanted = InFlightBudget.cost(of: byteCount)
    share.waitsSince = reactor.now
    await withUnsafeContinuation {
      share.continuation = $0
      if InFlightBudget.isLarge(share.wanted) { waitingForLarge.append(share) } else { waiting.append(share) }
    }
  }

  func giveBack(_ byteCount: Int, of share: Share) {
    let cost = InFlightBudget.cost(of: byteCount)
    share.byteCount -= cost
    share.requestCount -= 1
    self.byteCount -= cost
    requestCount -= 1
    if InFlightBudget.isLarge(cost) { largeByteCount -= cost }
    assert(self.byteCount >= 0 && requestCount >= 0 && largeByteCount >= 0, "given back more than was taken")
    if !waitingForLarge.isEmpty { admit(areLarge: true) }
    if !waiting.isEmpty { admit(areLarge: false) }
  }

  private func hasRoom(for cost: Int) -> Bool {
    if requestCount == requestCountLimit || byteCount + cost > totalByteCount { return false }
    if InFlightBudget.isLarge(cost) { return largeByteCount + cost <= largeByteCountLimit }
    // A large request that waits is not kept waiting for ever by small ones: these leave it three quarters.
    return waitingForLarge.isEmpty || byteCount - largeByteCount + cost <= totalByteCount - largeByteCountLimit
  }

  private func charge(_ cost: Int, to share: Share) {
    share.byteCount += cost
    share.requestCount += 1
    turnCount &+= 1
    share.ofDisk.last = turnCount
    byteCount += cost
    requestCount += 1
    if InFlightBudget.isLarge(cost) { largeByteCount += cost }
    peakByteCount = max(peakByteCount, byteCount)
  }

  /// Those whose turn it is, while there is room; nobody overtakes one for whom there is none.
  ///
  /// The queues are not passed on as `inout`: whether there is room is asked of both, and an optimised build then finds two at one of them.
  private func admit(areLarge: Bool) {
    while let index = InFlightBudget.next(of: areLarge ? waitingForLarge : waiting) {
      let share = areLarge ? waitingForLarge[index] : waiting[index]
      guard hasRoom(for: share.wanted) else { return }
      if areLarge { waitingForLarge.remove(at: index) } else { waiting.remove(at: index) }
      charge(share.wanted, to: share)
      share.waitsSince = .distantFuture
      share.continuation.take()?.resume()
    }
  }

  private static func next(of queue: [Share]) -> Int? { queue.indices.min { isBefore(queue[$0], queue[$1]) } }

  private static func isBefore(_ one: Share, _ other: Share) -> Bool {
    (one.ofDisk.last, one.byteCount, one.requestCount, one.waitsSince)
      < (other.ofDisk.last, other.byteCount, other.requestCount, other.waitsSince)
  }

  // MARK: What the server looks at

  /// Whether somebody has waited for so long.
  func hasWaiter(for milliseconds: UInt64) -> Bool {
    let now = reactor.now
    return waiting.contains { $0.waitsSince.advanced(milliseconds: milliseconds) < now }
      || waitingForLarge.contains { $0.waitsSince.advanced(milliseconds: milliseconds) < now }
  }

  /// The most that was in flight since the last call. Bytes.
  func takePeak() -> Int {
    defer { peakByteCount = byteCount }
    return peakByteCount
  }
}
