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

  public init(_ operation: Operation, _ device: BlockDevice, at offset: UInt64 = 0, byteCount: UInt64 = 0, slice: BufferSlice? = nil) {
    self.operation = operation
    self.device = device
    self.offset = offset
    self.byteCount = byteCount
    self.slice = slice
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

/// Does the parts of a split request at the same time, without making a task for each: a fixed set of tasks takes parts from a queue.
public final class ParallelIO: @unchecked Sendable {  // reactor-confined
  /// A request that was split and waits for its parts. Reused.
  private final class Gathering: @unchecked Sendable {  // reactor-confined
    var parts: [IOPart] = []
    var errors: [BlockError?] = []
    var request = IORequest()
    var remaining = 0
    var waiter: UnsafeContinuation<Void, Never>?
  }

  private struct Work: Sendable {
    unowned(unsafe) var gathering: Gathering
    var index: Int
  }

  private let reactor: any Reactor
  private var queue = Deque<Work>()
  private var idleWorkers: [UnsafeContinuation<Work?, Never>] = []
  private var spare: [Gathering] = []
  private var workers: [Task<Void, Never>] = []
  private var isClosed = false

  /// Parts in flight at the same time over all requests of one pool. More would only queue in the disks.
  public static let workerCount = 128

  public init(reactor: any Reactor) {
    self.reactor = reactor
    queue.reserveCapacity(1024)
    for _ in 0..<ParallelIO.workerCount { workers.append(reactor.spawn { [unowned self] in await work() }) }
  }

  /// Does all `parts`, in no order, and returns when the last is done. Throws the error of the first part (in the order of `parts`)
  /// that failed; the others were done all the same. One part is done by the calling task itself.
  public func perform(_ parts: [IOPart], _ request: IORequest) async throws(BlockError) {
    if parts.count == 1 { return try await parts[0].perform(request) }
    if parts.isEmpty { return }
    let gathering = spare.popLast() ?? Gathering()
    gathering.parts.append(contentsOf: parts)
    for _ in parts { gathering.errors.append(nil) }
    gathering.request = request
    gathering.remaining = parts.count
    for index in parts.indices { hand(Work(gathering: gathering, index: index)) }
    await withUnsafeContinuation { gathering.waiter = $0 }
    let failure = gathering.errors.lazy.compactMap { $0 }.first
    gathering.parts.removeAll(keepingCapacity: true)
    gathering.errors.removeAll(keepingCapacity: true)
    spare.append(gathering)
    if let failure { throw failure }
  }

  private func hand(_ work: Work) {
    if let worker = idleWorkers.popLast() { worker.resume(returning: work) } else { queue.append(work) }
  }

  private func work() async {
    while let work = await nextWork() {
      let gathering = work.gathering
      do throws(BlockError) { try await gathering.parts[work.index].perform(gathering.request) } catch {
        gathering.errors[work.index] = error
      }
      gathering.remaining -= 1
      if gathering.remaining == 0 { gathering.waiter.take()?.resume() }
    }
  }

  private func nextWork() async -> Work? {
    if let work = queue.popFirst() { return work }
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
