import BlockDevice
import Reactor

/// A whole virtual disk as it is exported. It says how many clients have it open, and notices when they write its partition table.
public final class Volume: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let below: BlockDevice
  /// Connections that have this volume open.
  public private(set) var clientCount = 0
  /// The disk's partition table, and the partitions that are open.
  public let partitions: PartitionWatch
  private var samplesUnderWay = 0
  private var sampleWaiters = WaitQueue()

  /// - Parameter request: what reading the partition table carries down the stack.
  public init(_ below: BlockDevice, label: String, request: IORequest = IORequest()) {
    self.below = below
    partitions = PartitionWatch(below, request)
    super.init(reactor: below.reactor, layerName: "Volume", label: label)
  }

  public func addClient() { clientCount += 1 }

  public func removeClient() {
    assert(clientCount > 0, "more clients left than came")
    clientCount -= 1
  }

  /// Reads what the content of a range of the disk is recognised by.
  public func sampleContent(_ range: Range<UInt64>, _ request: IORequest) async throws(BlockError) -> ContentSample {
    samplesUnderWay += 1
    defer {
      samplesUnderWay -= 1
      if samplesUnderWay == 0 { sampleWaiters.wakeAll() }
    }
    return try await ContentSample.read(range, of: below, request)
  }

  /// Returns when nothing is read here for the server itself: before the disk is closed. Nobody may begin to any more.
  public func settle() async {
    await partitions.settle()
    while samplesUnderWay > 0 { await withUnsafeContinuation { sampleWaiters.append($0) } }
  }

  public override var geometry: BlockGeometry { below.geometry }
  public override var lowerDevices: [BlockDevice] { [below] }
  public override var remarks: [String] { ["\(clientCount) client\(clientCount == 1 ? "" : "s")"] }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await below.read(at: offset, into: slice, request)
  }

  public override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    below.readInPlace(at: offset, byteCount: byteCount, request)
  }

  public override func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun { below.zeroRun(at: offset, byteCount: byteCount) }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    var failure: BlockError?
    do throws(BlockError) { try await below.write(at: offset, from: slice, request) } catch { failure = error }
    try await ended(at: offset, UInt64(slice.byteCount), failure)
  }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await below.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    var failure: BlockError?
    do throws(BlockError) { try await below.discard(at: offset, byteCount: byteCount, request) } catch { failure = error }
    try await ended(at: offset, byteCount, failure)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    var failure: BlockError?
    do throws(BlockError) { try await below.writeZeroes(at: offset, byteCount: byteCount, request) } catch { failure = error }
    try await ended(at: offset, byteCount, failure)
  }

  /// A change that failed may have been made all the same.
  @inline(__always)
  private func ended(at offset: UInt64, _ byteCount: UInt64, _ failure: BlockError?) async throws(BlockError) {
    if partitions.isTable(offset, byteCount) { await partitions.tableChanged() }
    if let failure { throw failure }
  }

  public override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    try await below.blockStatus(at: offset, byteCount: byteCount, limit: limit, byRow: byRow, into: &extents, request)
  }
}
