import BlockDevice
import Reactor

/// What is exported: for now a whole virtual disk; partitions, snapshots and other filters come in between later. It keeps requests
/// within what was opened and says how many clients have it open.
public final class Volume: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let below: BlockDevice
  /// Connections that have this volume open.
  public private(set) var clientCount = 0

  public init(_ below: BlockDevice, label: String) {
    self.below = below
    super.init(reactor: below.reactor, layerName: "Volume", label: label)
  }

  public func addClient() { clientCount += 1 }

  public func removeClient() {
    assert(clientCount > 0, "more clients left than came")
    clientCount -= 1
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

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await below.write(at: offset, from: slice, request)
  }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await below.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await below.discard(at: offset, byteCount: byteCount, request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await below.writeZeroes(at: offset, byteCount: byteCount, request)
  }

  public override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    try await below.blockStatus(at: offset, byteCount: byteCount, limit: limit, into: &extents, request)
  }
}
