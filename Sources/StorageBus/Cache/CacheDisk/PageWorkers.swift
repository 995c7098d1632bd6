import BlockDevice
import Reactor

/// A task that does one operation of a cache disk at a time, with a buffer of one page. The operation is its own, not its client's: a client
/// that waits no longer goes on elsewhere, and the buffer stays with the operation until it has ended.
class PageWorker: @unchecked Sendable {  // reactor-confined
  let store: CacheDisk
  var buffer: BufferSlice
  var key = PageKey(value: 0)
  var slot = 0
  /// Of whom the operation is: a cache disk that is busy is shared as every disk is. The cache disk's pages in memory would be a cache of a cache.
  private(set) var request = IORequest(cacheHint: .bypass)
  var began = Instant(nanoseconds: 0)
  private(set) var isRunning = false
  /// It has taken too long, and is counted in `overdueCount`.
  var isOverdue = false
  private var isOver = false
  private var go: UnsafeContinuation<Void, Never>?

  /// nil when the system has no memory.
  init?(_ store: CacheDisk) {
    guard let buffer = store.reactor.buffers.reserve(byteCount: store.pageByteCount) else { return nil }
    self.store = store
    self.buffer = buffer
    store.reactor.spawn { [self] in await live() }
  }

  /// A class of its own for each kind of operation.
  func perform() async throws(BlockError) { preconditionFailure("a page worker is a reader or a fill") }
  func ended(_ error: BlockError?) { preconditionFailure("a page worker is a reader or a fill") }

  final func start(_ key: PageKey, _ slot: Int, for virtualDisk: VirtualDiskHandle) {
    self.key = key
    self.slot = slot
    request.virtualDisk = virtualDisk
    began = store.reactor.now
    isRunning = true
    store.hasStarted()
    go.take()?.resume()
  }

  /// Idle workers end now; others when they have nothing to do any more.
  final func end() {
    isOver = true
    go.take()?.resume()
  }

  private func live() async {
    while true {
      if !isRunning && !isOver { await withUnsafeContinuation { go = $0 } }
      guard isRunning else { break }
      var failure: BlockError?
      do throws(BlockError) { try await perform() } catch { failure = error }
      isRunning = false
      store.hasEnded(self)
      ended(failure)
    }
    store.reactor.buffers.release(buffer.buffer)
  }

  /// For the next operation: a buffer that a hung request may still use is left to it. False when there is no memory for another.
  final func renewBuffer() -> Bool {
    guard let own = store.reactor.buffers.exclusive(buffer) else { return false }
    buffer = own
    return true
  }
}

/// Reads a page of the cache disk into its buffer, for a client.
final class PageReader: PageWorker, @unchecked Sendable {  // reactor-confined
  /// Waits for the end of the operation: true, or for as long as it has patience: false.
  var client: UnsafeContinuation<Bool, Never>?
  /// Nobody waits for it any more: it is idle again as soon as it has ended.
  var isLeft = false
  /// The reader of the page after this one, for the same client.
  var next: PageReader?
  /// What was read is what was written.
  private(set) var isGood = false

  override func perform() async throws(BlockError) {
    try await store.device.read(at: store.start + store.layout.offset(of: slot), into: buffer, request)
  }

  override func ended(_ error: BlockError?) {
    isGood = store.judge(self, error)
    if isLeft { return store.giveBack(self) }
    client.take()?.resume(returning: true)
  }
}

/// Writes a page from its buffer to the cache disk.
final class PageFill: PageWorker, @unchecked Sendable {  // reactor-confined
  override func perform() async throws(BlockError) {
    try await store.device.write(at: store.start + store.layout.offset(of: slot), from: buffer, request)
  }

  override func ended(_ error: BlockError?) { store.endFill(self, error) }
}
