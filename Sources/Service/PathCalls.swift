import Reactor

/// Calls about paths, each on a thread of its own and with a time limit: a path may lead to a disk, or to the server of a file system, that
/// does not answer, and then stat(2) or open(2) do not return either. A path at which a call hangs is not asked again until it returned.
final class PathCalls: @unchecked Sendable {  // reactor-confined
  private let reactor: RingReactor
  /// What they all share where no thread is to be had.
  private let fallback: BlockingCalls
  private var hanging: [String: Int] = [:]

  init(reactor: RingReactor, fallback: BlockingCalls) {
    self.reactor = reactor
    self.fallback = fallback
  }

  func hangs(_ path: String) -> Bool { hanging[path, default: 0] > 0 }

  /// What `body` gives, which is handed a thread that may block; nil when it takes longer than `limitMilliseconds`, or when an earlier call
  /// at that path has not returned. What comes too late is given to `late`.
  func perform<Value: Sendable>(
    at path: String, limitMilliseconds: UInt64 = ServiceLimits.pathAnswerMilliseconds,
    late: @escaping @Sendable (Value) async -> Void = { _ in }, _ body: @escaping @Sendable (BlockingCalls) async -> Value
  ) async -> Value? {
    if hangs(path) { return nil }
    let race = Race<Value>()
    reactor.spawn { [self] in
      let thread = (try? BlockingCalls.start(name: "path")) ?? fallback
      let value = await body(thread)
      if race.finish(value) { return }
      hanging[path, default: 1] -= 1
      await late(value)
    }
    reactor.spawn { [self] in
      await reactor.sleep(milliseconds: limitMilliseconds)
      if race.finish(nil) { hanging[path, default: 0] += 1 }
    }
    return await race.result()
  }
}

/// What is waited for, by one, until the first of several decides.
final class Race<Value: Sendable>: @unchecked Sendable {  // reactor-confined
  private var isOver = false
  private var value: Value?
  private var waiter = WaitQueue(reservedCapacity: 1)

  /// - Returns: whether this was the first.
  func finish(_ value: Value?) -> Bool {
    if isOver { return false }
    isOver = true
    self.value = value
    waiter.wakeAll()
    return true
  }

  func result() async -> Value? {
    while !isOver { await withUnsafeContinuation { waiter.append($0) } }
    return value
  }
}
