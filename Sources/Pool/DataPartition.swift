import BlockDevice
import Reactor

/// The data partition of one of the pool's disks. Its address 0 is the start of that partition, so that nothing above can reach the
/// metadata, and its end is the partition's.
public final class DataPartition: BlockDevice, @unchecked Sendable {  // reactor-confined
  public let number: DiskNumber
  public let id: DiskID
  public let isVoter: Bool
  public let slabCount: Int
  /// What may be asked of it; changed by the pool alone.
  public internal(set) var state: DiskRecord.State
  /// It failed and stays, because it holds a last copy.
  public internal(set) var isKept = false
  public internal(set) var usage = DiskRecord.Usage.auto
  /// A look at it is under way: that of a disk which hangs takes until it is given up.
  var isBeingLookedAt = false
  /// The whole disk, from the storage bus.
  public let disk: BlockDevice
  private let layout: DiskLayout
  private let partitionOffset: UInt64

  init(of member: PoolDisk, state: DiskRecord.State, poolName: String) {
    number = member.number
    id = member.id
    isVoter = member.isVoter
    disk = member.device
    layout = member.layout
    partitionOffset = layout.dataOffset
    slabCount = layout.slabCount
    self.state = state
    super.init(reactor: disk.reactor, layerName: "Pool", label: "\(poolName) disk \(number)")
  }

  public override var geometry: BlockGeometry {
    var geometry = disk.geometry
    geometry.byteCount = layout.dataByteCount
    return geometry
  }

  public override var lowerDevices: [BlockDevice] { [disk] }
  public override var hasFailedFlush: Bool { disk.hasFailedFlush }
  public override var remarks: [String] { state == .active ? [] : [state.description] }

  /// New rows are dealt from it. A hot spare is kept for repair.
  var takesNewSlabs: Bool { (state == .active || state == .returning) && usage == .auto }

  /// Reads and writes go to it. Of a returning disk the regions that it lacks are not read; that is the resiliency's to see to.
  @inline(__always)
  public var isUsable: Bool { state != .evicted && state != .removed }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await disk.read(at: partitionOffset + offset, into: slice, request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await disk.write(at: partitionOffset + offset, from: slice, request)
  }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { try await disk.flush(request) }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await disk.discard(at: partitionOffset + offset, byteCount: byteCount, request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await disk.writeZeroes(at: partitionOffset + offset, byteCount: byteCount, request)
  }
}
