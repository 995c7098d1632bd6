import DequeModule
import Reactor

/// One part of a request that was split: what to ask of which device.
public struct IOPart: @unchecked Sendable {  // reactor-confined
  public enum Operation: Sendable { case read, write, flush, discard, writeZeroes }

  public var operation: Operation
  /// Unowned: a device outlives the requests in flight to it.
  public unowned(unsafe) var device: BlockDevice
  public var offset: UInt64
  public var byteCount: UInt64
  /// For reads and writes.
  public var slice: BufferSlice?
  /// Tells the splitting layer which part of its request this is.
  public var tag: Int

  public init(
    _ operation: Operation, _ device: BlockDevice, at offset: UInt64 = 0, byteCount: UInt64 = 0, slice: BufferSlice? = nil, tag: Int = 0
  ) {
    self.operation = operation
    self.device = device
    self.offset = offset
    self.byteCount = byteCount
    self.slice = slice
    self.tag = tag
  }

  public func perform(_ request: IORequest) async throws(BlockError) {
    switch operation {
    case .read: if let slice { try await device.read(at: offset, into: slice, request) }
    case .write: if let slice { try await device.write(at: offset, from: slice, request) }
    case .flush: try await device.flush(request)
    case .discard: try await device.discard(at: offset, byteCount: byteCount, request)
    case .writeZeroes: try await device.writeZeroes(at: offset, byteCount: byteCount, request)
    }
  }
}

/// A request that was split into parts: filled by a layer, performed by `ParallelIO`, then reused.
public final class SplitRequest: @unchecked Sendable {  // reactor-confined
  public private(set) var parts: [IOPart] = []
  var errors: [BlockError?] = []
  var request = IORequest()
  var remaining = 0
  var waiter: UnsafeContinuation<Void, Never>?

  public var count: Int { parts.count }

  public func add(_ part: IOPart) {
    parts.append(part)
    errors.append(nil)
  }

  func clear() {
    parts.removeAll(keepingCapacity: true)
    errors.removeAll(keepingCapacity: true)
  }

  public var hasError: Bool { errors.contains { $0 != nil } }

  /// What part number `index` (in the order of `add`) failed with; nil when it succeeded. Valid until the request is ended.
  public func error(ofPart index: Int) -> BlockError? { errors[index] }
}

/// What waits, by virtual disk: each has its turn, however much of another waits.
struct TurnQueue<Element> {
  private var queues: [VirtualDiskHandle: Deque<Element>] = [:]
  /// Those of which something waits; whose turn is next comes first.
  private var turns = Deque<VirtualDiskHandle>()

  mutating func append(_ element: Element, of virtualDisk: VirtualDiskHandle) {
    if queues[virtualDisk] == nil { turns.append(virtualDisk) }
    queues[virtualDisk, default: Deque()].append(element)
  }

  mutating func popFirst() -> Element? {
    guard let virtualDisk = turns.popFirst() else { return nil }
    let element = queues[virtualDisk]?.popFirst()
    if queues[virtualDisk]?.isEmpty ?? true { queues[virtualDisk] = nil } else { turns.append(virtualDisk) }
    return element
  }
}

/// Does the parts of split requests at the same time, without making a task for each: those of its tasks that are idle are given them. There are as
/// many tasks as parts were ever in flight together, so that no part waits here behind others whose disk is slow or busy: whose turn it is at a disk,
/// the disk's scheduler says. Only beyond a limit parts wait, and virtual disks then take turns.
public final class ParallelIO: @unchecked Sendable {  // reactor-confined
  private struct Work: Sendable {
    unowned(unsafe) var split: SplitRequest
    var index: Int
  }

  private let reactor: any Reactor
  private var waiting = TurnQueue<Work>()
  private var idleWorkers: [UnsafeContinuation<Work?, Never>] = []
  private var spare: [SplitRequest] = []
  private var workers: [Task<Void, Never>] = []
  private var isClosed = false

  public init(reactor: any Reactor) {
    self.reactor = reactor
    for _ in 0..<BlockDeviceLimits.firstSplitWorkers { addWorker(with: nil) }
  }

  private func addWorker(with work: Work?) {
    workers.append(reactor.spawn { [unowned self] in await run(from: work) })
  }

  /// An empty request to add parts to. It goes back by `end`.
  public func begin() -> SplitRequest { spare.popLast() ?? SplitRequest() }

  public func end(_ split: SplitRequest) {
    split.clear()
    spare.append(split)
  }

  /// Does all parts, in no order, and returns when the last is done; what failed is in `split.error(ofPart:)`. The last part is done by
  /// the calling task itself. Each layer that splits has a ParallelIO of its own: a worker that waited for another worker of the same
  /// set could wait for ever.
  public func perform(_ split: SplitRequest, _ request: IORequest) async {
    let last = split.parts.count - 1
    if last < 0 { return }
    split.request = request
    split.remaining = last
    for index in 0..<last {
      let work = Work(split: split, index: index)
      if let worker = idleWorkers.popLast() {
        worker.resume(returning: work)
      } else if workers.count < BlockDeviceLimits.splitWorkers {
        addWorker(with: work)
      } else {
        waiting.append(work, of: request.virtualDisk)
      }
    }
    do throws(BlockError) { try await split.parts[last].perform(request) } catch { split.errors[last] = error }
    if split.remaining > 0 { await withUnsafeContinuation { split.waiter = $0 } }
  }

  /// The same, ending the request; throws the error of the first part, in their order, that failed.
  public func performAll(_ split: SplitRequest, _ request: IORequest) async throws(BlockError) {
    await perform(split, request)
    let failure = split.errors.first { $0 != nil } ?? nil
    end(split)
    if let failure { throw failure }
  }

  private func run(from first: Work?) async {
    var next = first
    if next == nil { next = await nextWork() }
    while let work = next {
      let split = work.split
      do throws(BlockError) { try await split.parts[work.index].perform(split.request) } catch { split.errors[work.index] = error }
      split.remaining -= 1
      if split.remaining == 0 { split.waiter.take()?.resume() }
      next = await nextWork()
    }
  }

  private func nextWork() async -> Work? {
    if let work = waiting.popFirst() { return work }
    if isClosed { return nil }
    return await withUnsafeContinuation { idleWorkers.append($0) }
  }

  /// Ends the workers once their queue is empty. Nothing may be performed afterwards.
  public func close() async {
    isClosed = true
    for worker in idleWorkers { worker.resume(returning: nil) }
    idleWorkers.removeAll()
    for worker in workers { await worker.value }
    workers.removeAll()
  }
}
