import BlockDevice
import Pool
import Reactor

/// The simple resiliency: a virtual disk's rows striped over columns, one copy of everything. Its address space is the virtual disk's
/// own; every request lies within one row that is mapped, which the VirtualDisk above sees to (it splits at rows and allocates).
public final class SimpleSpace: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let pool: StoragePool
  private let rows: RowTable
  private let layout: StripeLayout
  private let parallel: ParallelIO
  private var flushCount: UInt64 = 0

  /// `rows` says which slabs each row has: the VirtualDisk fills it, this layer reads it.
  public init(pool: StoragePool, rows: RowTable, layout: StripeLayout, label: String) {
    self.pool = pool
    self.rows = rows
    self.layout = layout
    parallel = pool.stripeIO
    super.init(reactor: pool.reactor, layerName: "Resiliency", label: label)
  }

  public override var geometry: BlockGeometry {
    var geometry = pool.commonGeometry
    geometry.byteCount = UInt64(rows.rowCount) * layout.rowByteCount
    geometry.optimalByteCount = Int(layout.interleave)
    return geometry
  }

  public override var lowerDevices: [BlockDevice] { pool.dataDevices }
  public override var remarks: [String] { ["simple, \(layout.columns) column\(layout.columns == 1 ? "" : "s")"] }

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let place = layout.locate(start)
    if place.contiguousByteCount >= UInt64(slice.byteCount) {
      let (device, address) = pool.locate(rows[Int(row), place.column], place.offsetInSlab)
      return try await device.read(at: address, into: slice, request)
    }
    try await parallel.performAll(split(.read, row: Int(row), start, slice), request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let place = layout.locate(start)
    if place.contiguousByteCount >= UInt64(slice.byteCount) {
      let (device, address) = pool.locate(rows[Int(row), place.column], place.offsetInSlab)
      return try await device.write(at: address, from: slice, request)
    }
    try await parallel.performAll(split(.write, row: Int(row), start, slice), request)
  }

  private func split(_ operation: IOPart.Operation, row: Int, _ start: UInt64, _ slice: BufferSlice) -> SplitRequest {
    let split = parallel.begin()
    var done = 0
    while done < slice.byteCount {
      let place = layout.locate(start + UInt64(done))
      let count = min(Int(place.contiguousByteCount), slice.byteCount - done)
      let (device, address) = pool.locate(rows[row, place.column], place.offsetInSlab)
      split.add(IOPart(operation, device, at: address, slice: slice.part(from: done, byteCount: count)))
      done += count
    }
    return split
  }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await parallel.performAll(splitByColumn(.discard, at: offset, byteCount: byteCount), request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await parallel.performAll(splitByColumn(.writeZeroes, at: offset, byteCount: byteCount), request)
  }

  private func splitByColumn(_ operation: IOPart.Operation, at offset: UInt64, byteCount: UInt64) -> SplitRequest {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let split = parallel.begin()
    for column in 0..<layout.columns {
      let from = layout.byteCount(of: column, before: start)
      let to = layout.byteCount(of: column, before: start + byteCount)
      if to > from {
        let (device, address) = pool.locate(rows[Int(row), column], from)
        split.add(IOPart(operation, device, at: address, byteCount: to - from))
      }
    }
    return split
  }

  /// Flushes every disk of the pool; a disk that was not written since its last good flush answers at once.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    flushCount += 1
    let token = FlushToken(number: flushCount)
    let split = parallel.begin()
    for device in pool.dataDevices { split.add(IOPart(.flush, device)) }
    try await parallel.performAll(split, request)
    return token
  }
}
