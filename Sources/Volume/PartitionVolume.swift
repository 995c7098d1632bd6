import BlockDevice
import PartitionTable
import Reactor

/// A partition as it was when it was opened: it begins there for as long as it is open, and does not end before, whatever becomes of the table,
/// so that nobody reaches what lies beside it. One that the table has made longer is longer. A partition that the table does not have any more, or
/// has elsewhere or shorter, is withdrawn: none of its requests is done from then on.
public final class PartitionVolume: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let below: BlockDevice
  private let watch: PartitionWatch
  /// The partition as it was opened, or has grown since.
  public private(set) var partition: UsablePartition
  /// Connections that have this volume open.
  public private(set) var clientCount = 0
  public private(set) var isWithdrawn = false
  private var inFlight = 0
  private var drainWaiters = WaitQueue()

  /// Over the whole disk, which the partition lies on.
  init(_ below: BlockDevice, _ partition: UsablePartition, of watch: PartitionWatch, label: String) {
    self.below = below
    self.watch = watch
    self.partition = partition
    super.init(reactor: below.reactor, layerName: "Partition", label: label)
  }

  func addClient() { clientCount += 1 }

  func removeClient() {
    assert(clientCount > 0, "more clients left than came")
    clientCount -= 1
  }

  public override var geometry: BlockGeometry {
    var geometry = below.geometry
    geometry.byteCount = partition.byteCount
    return geometry
  }

  public override var lowerDevices: [BlockDevice] { [below] }

  public override var remarks: [String] {
    [
      partition.label.isEmpty ? nil : partition.label, "\(clientCount) client\(clientCount == 1 ? "" : "s")",
      isWithdrawn ? "withdrawn" : nil,
    ]
    .compactMap { $0 }
  }

  /// The table has the partition at the same place, with an end that is not before this one's, and nobody else reaches what lies between.
  func grow(to grown: UsablePartition) {
    assert(grown.identity == partition.identity && grown.offsetBytes == partition.offsetBytes && grown.byteCount >= partition.byteCount)
    partition.byteCount = grown.byteCount
  }

  // MARK: The end

  /// From now on no request is done.
  func withdraw() { isWithdrawn = true }

  /// Returns when what was begun before `withdraw` is over.
  func drained() async {
    while inFlight > 0 { await withUnsafeContinuation { drainWaiters.append($0) } }
  }

  /// Where on the disk a request goes; throws when it is not to be done.
  @inline(__always)
  private func begin(_ offset: UInt64) throws(BlockError) -> UInt64 {
    if isWithdrawn { throw BlockError(.shuttingDown) }
    // The caller has checked the request against the partition, and whoever opened it the partition against the disk.
    let (place, overflow) = partition.offsetBytes.addingReportingOverflow(offset)
    if overflow { throw BlockError(.outOfRange) }
    inFlight += 1
    return place
  }

  @inline(__always)
  private func end() {
    inFlight -= 1
    if isWithdrawn && inFlight == 0 { drainWaiters.wakeAll() }
  }

  /// No partition that can be opened lies where the table does. But one that is open stays when another tool moves the table there.
  @inline(__always)
  private func ended(at place: UInt64, _ byteCount: UInt64, _ failure: BlockError?) async throws(BlockError) {
    end()  // first: if this one is withdrawn, its requests are waited for
    if watch.isTable(place, byteCount) { await watch.tableChanged() }
    if let failure { throw failure }
  }

  // MARK: Requests

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let place = try begin(offset)
    defer { end() }
    try await below.read(at: place, into: slice, request)
  }

  public override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    let (place, overflow) = partition.offsetBytes.addingReportingOverflow(offset)
    if isWithdrawn || overflow { return nil }
    return below.readInPlace(at: place, byteCount: byteCount, request)
  }

  public override func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun {
    let (place, overflow) = partition.offsetBytes.addingReportingOverflow(offset)
    if isWithdrawn || overflow { return ZeroRun(byteCount: byteCount, isZero: false) }
    return below.zeroRun(at: place, byteCount: byteCount)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let place = try begin(offset)
    var failure: BlockError?
    do throws(BlockError) { try await below.write(at: place, from: slice, request) } catch { failure = error }
    try await ended(at: place, UInt64(slice.byteCount), failure)
  }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    _ = try begin(0)
    defer { end() }
    return try await below.flush(request)
  }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let place = try begin(offset)
    var failure: BlockError?
    do throws(BlockError) { try await below.discard(at: place, byteCount: byteCount, request) } catch { failure = error }
    try await ended(at: place, byteCount, failure)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let place = try begin(offset)
    var failure: BlockError?
    do throws(BlockError) { try await below.writeZeroes(at: place, byteCount: byteCount, request) } catch { failure = error }
    try await ended(at: place, byteCount, failure)
  }

  public override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    let place = try begin(offset)
    defer { end() }
    try await below.blockStatus(at: place, byteCount: byteCount, limit: limit, byRow: byRow, into: &extents, request)
  }
}
