import CLinux
import Reactor

/// BLKDISCARD of one block device, which has no operation of the ring on the oldest kernel this runs on. The device has a thread of its own
/// for it, made when it is first needed: a device that hangs in a discard holds up no other.
final class BlockingDiscards: @unchecked Sendable {  // reactor-confined
  private final class Call: @unchecked Sendable {  // reactor-confined
    var waiter: UnsafeContinuation<Int32, Never>?
    let began: Instant
    init(began: Instant) { self.began = began }
  }

  private let reactor: RingReactor
  private var thread: BlockingCalls?
  /// Those that somebody waits for.
  private var calls: [Call] = []
  private(set) var hungCount = 0
  private var isAbandoned = false
  private var waiting = WaitQueue(reservedCapacity: 0)

  init(reactor: RingReactor) { self.reactor = reactor }

  /// 0, or -errno.
  func perform(_ descriptor: Int32, at offset: UInt64, byteCount: UInt64) async -> Int32 {
    var done: UInt64 = 0
    while done < byteCount {
      if isAbandoned { return IOResult.abandoned }
      let start = offset + done
      let count = min(byteCount - done, DiskLimits.discardPieceByteCount)
      let result = await call { clinux_block_discard(descriptor, start, count) }
      if result != 0 { return result }
      done += count
    }
    return 0
  }

  /// Makes the call by a task of its own, which goes on waiting for it should the caller be sent away.
  func call(_ body: @escaping @Sendable () -> Int32) async -> Int32 {
    if thread == nil { thread = try? BlockingCalls.start(name: "discard") }
    guard let thread else { return -ENOMEM }
    let call = Call(began: reactor.now)
    calls.append(call)
    reactor.spawn { [self] in end(call, await thread.perform(body)) }
    return await withUnsafeContinuation { call.waiter = $0 }
  }

  private func end(_ call: Call, _ result: Int32) {
    calls.removeAll { $0 === call }
    if let waiter = call.waiter.take() { return waiter.resume(returning: result) }
    hungCount -= 1
    if hungCount == 0 { waiting.wakeAll() }
  }

  func oldestAge(now: Instant) -> UInt64 { calls.first.map { now.nanoseconds(since: $0.began) } ?? 0 }

  func abandon() {
    isAbandoned = true
    for call in calls {
      hungCount += 1
      call.waiter.take()?.resume(returning: IOResult.abandoned)
    }
    calls.removeAll()
  }

  func drained() async {
    while hungCount > 0 { await withUnsafeContinuation { waiting.append($0) } }
  }
}
