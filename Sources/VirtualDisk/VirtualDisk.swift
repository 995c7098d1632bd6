import BlockDevice
import Pool
import Reactor
import Resiliency

/// A virtual disk: a flat range of bytes of which each slab row is mapped to slabs of the pool when it is first written.
///
/// Requests are split at rows. Within a row a range lock keeps overlapping requests apart until all of the I/O below is done. A row's
/// presence bits say which chunks hold data; everything else reads as zeros. What changes in the map is kept in memory until a FLUSH
/// commits it, always after the data it speaks of has been flushed: see VirtualDisk+Flush.swift.
public final class VirtualDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  let pool: StoragePool
  /// The stored description; changed only by resizing.
  public internal(set) var record: VirtualDiskRecord
  public let handle: VirtualDiskHandle
  /// Which slabs each row has, for the resiliency below.
  let slabTable: RowTable
  /// The resiliency: the virtual disk's own address space, for mapped rows only.
  let space: MirrorSpace
  /// Rows that somebody has asked for since the virtual disk was opened, or of which there is more to know than that they are mapped and
  /// full; all others sleep, and are not here. See VirtualDisk+Rows.swift. Unchecked, as in RingReactor.
  @exclusivity(unchecked) var rows: AwakeRows
  let rowByteCount: UInt64
  let chunkByteCount: UInt64
  /// Smallest write that the disks below take; a power of two.
  let blockByteCount: UInt64
  let parallel: ParallelIO
  let bounce: BounceBuffers

  // What the metadata does not know yet.
  var pendingRows: [MappedRow] = []
  var pendingFrees: [FreedRow] = []
  var flushState = FlushState()
  /// Rows with dirty regions; see VirtualDisk+DirtyRegions.swift.
  var dirtyRows: [MappedRow] = []
  var dirtyRegionCount = 0
  var isClearing = false
  var clearingWaiters = WaitQueue()
  /// How well the rows were protected when that was last asked for; see VirtualDisk+Copies.swift.
  var knownProtection: (version: ProtectionVersion, protection: RowProtection)?
  /// Reads that failed on one copy: what wants to be written again from another.
  var wantedRepairs: [RepairRange] = []
  var isRepairing = false
  /// Set while the disk is being deleted or closed: no request is taken any more.
  var isClosing = false

  public var name: String { record.name }
  public var ownerTerm: OwnerTerm { pool.ownerTerm }

  init(pool: StoragePool, record: VirtualDiskRecord, handle: VirtualDiskHandle) {
    self.pool = pool
    self.record = record
    self.handle = handle
    let layout = StripeLayout(
      columns: Int(record.columns), interleave: UInt64(record.interleave), slabByteCount: pool.slabByteCount)
    rowByteCount = layout.rowByteCount
    chunkByteCount = UInt64(record.presenceChunkByteCount)
    // Whatever the disks that are there now can do: one with blocks of this size may return, be added, or take another's place at any time.
    blockByteCount = UInt64(FormatLimits.blockByteCount)
    let rowCount = VirtualDisk.rowCount(byteCount: record.byteCount, rowByteCount: layout.rowByteCount)
    rows = AwakeRows(count: rowCount)
    let regions = RegionLayout(rowByteCount: layout.rowByteCount, chunkByteCount: chunkByteCount)
    slabTable = RowTable(columns: layout.columns, copies: max(1, Int(record.copies)), regions: regions, rowCount: rowCount)
    let label = "\(pool.name)/\(record.name)"
    space = MirrorSpace(pool: pool, rows: slabTable, layout: layout, label: label)
    parallel = pool.chunkIO
    bounce = pool.bounceBuffers
    super.init(reactor: pool.reactor, layerName: "VirtualDisk", label: label)
    space.keeper = self
  }

  /// Copies of everything.
  var copies: Int { slabTable.copies }
  var regions: RegionLayout { slabTable.regions }

  public override var geometry: BlockGeometry { cachedGeometry }

  private lazy var cachedGeometry: BlockGeometry = makeGeometry()

  private func makeGeometry() -> BlockGeometry {
    let below = pool.commonGeometry
    return BlockGeometry(
      byteCount: record.byteCount, logicalSector: Int(record.logicalSector),
      physicalSector: max(Int(record.logicalSector), below.physicalSector, 4096),
      optimalByteCount: Int(record.interleave), discardGranularity: Int(chunkByteCount),
      zeroesCheaply: below.zeroesCheaply, isReadOnly: pool.isReadOnly, isRotational: below.isRotational)
  }

  /// After `record` changed.
  func refreshGeometry() { cachedGeometry = makeGeometry() }

  public override var lowerDevices: [BlockDevice] { [space] }
  public override var remarks: [String] { [isThin ? "thin" : "fixed", "\(mappedRowCount) of \(rows.count) rows mapped"] }

  static func rowCount(byteCount: UInt64, rowByteCount: UInt64) -> Int { Int((byteCount + rowByteCount - 1) / rowByteCount) }

  /// Space that the mapped rows take on the disks, in bytes.
  public var allocatedByteCount: UInt64 { UInt64(mappedRowCount) * rowByteCount * UInt64(copies) }

  var chunksPerRow: Int { Int(rowByteCount / chunkByteCount) }

  // MARK: Splitting at rows

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    var done = 0
    while done < slice.byteCount {
      let (index, start) = (offset + UInt64(done)).quotientAndRemainder(dividingBy: rowByteCount)
      let count = min(Int(rowByteCount - start), slice.byteCount - done)
      let part = count == slice.byteCount ? slice : slice.part(from: done, byteCount: count)
      try await read(row: Int(index), from: start, into: part, request)
      done += count
    }
  }

  public override func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    let (index, start) = offset.quotientAndRemainder(dividingBy: rowByteCount)
    let end = start + UInt64(byteCount)
    guard end <= rowByteCount, let row = rows[Int(index)], row.state == .mapped, row.lock.isFree(start, end, .shared),
      row.presence.allPresent(in: chunks(start, end)), !slabTable.isUnsettled(Int(index), start, end)
    else { return nil }
    return space.readInPlace(at: address(row, start), byteCount: byteCount, request)
  }

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try checkWritable()
    var done = 0
    var mustCommit = false
    while done < slice.byteCount {
      let (index, start) = (offset + UInt64(done)).quotientAndRemainder(dividingBy: rowByteCount)
      let count = min(Int(rowByteCount - start), slice.byteCount - done)
      let part = count == slice.byteCount ? slice : slice.part(from: done, byteCount: count)
      let row = try await writeAgainIfStalled(row: Int(index), from: start, part, request)
      // A commit under way may fail before the other rows are written.
      mustCommit = mustCommit || row.isPending || !row.isSettled || flushState.isRunning
      done += count
    }
    // The data is durable already; what leads to it is not.
    if request.isForceUnitAccess && mustCommit { try await flush(request) }
  }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await clear(at: offset, byteCount: byteCount, keepAllocated: !isThin, request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let keepAllocated = !isThin || request.flags.contains(.keepAllocated)
    if request.flags.contains(.onlyFast) {
      try checkWritable()
      guard zeroesFast(at: offset, byteCount: byteCount) else { throw BlockError(.unsupported) }
    }
    try await clear(at: offset, byteCount: byteCount, keepAllocated: keepAllocated, request)
  }

  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    if pool.isReadOnly { return FlushToken(number: 0) }
    let token = try await flushJoining(request)
    // Only for clients: what makes copies count flushes itself.
    if request.ioClass == .application { try await checkCopiesCount() }
    return token
  }

  private func clear(at offset: UInt64, byteCount: UInt64, keepAllocated: Bool, _ request: IORequest) async throws(BlockError) {
    try checkWritable()
    try await clearRows(at: offset, byteCount: byteCount, keepAllocated: keepAllocated, request)
    if request.isForceUnitAccess { try await flush(request) }
  }

  /// Row by row; passes over what is not mapped. Ends early, with an error, when nobody waits for it any more.
  private func clearRows(at offset: UInt64, byteCount: UInt64, keepAllocated: Bool, _ request: IORequest) async throws(BlockError) {
    let end = offset + byteCount
    var position = offset
    var othersAt = VirtualDiskLimits.statusRowCount  // rows from `offset` on
    while position < end {
      let (index, start) = position.quotientAndRemainder(dividingBy: rowByteCount)
      let rowCount = index - offset / rowByteCount
      if rowCount >= othersAt {
        othersAt = rowCount + VirtualDiskLimits.statusRowCount
        await reactor.sleep(milliseconds: 0)
      }
      try checkWritable()
      if let requester = request.requester, requester.isGone { throw BlockError(.shuttingDown) }
      if !keepAllocated && isUnmapped(Int(index)) {
        let most = min(othersAt - rowCount, (end - position + start + rowByteCount - 1) / rowByteCount)
        position = (index + unmappedRowCount(from: Int(index), atMost: most)) * rowByteCount
        continue
      }
      let stop = min(rowByteCount, start + (end - position))
      position += stop - start
      try await clearAgainIfStalled(row: Int(index), from: start, to: stop, keepAllocated: keepAllocated, request)
    }
  }

  var isThin: Bool { record.provisioning == .thin }

  func checkWritable() throws(BlockError) {
    if isClosing { throw BlockError(.shuttingDown) }
    if pool.isReadOnly { throw BlockError(.readOnly) }
  }

  // MARK: Block status

  /// From the map and its presence bits alone.
  public override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    let (reach, overflow) = (offset - offset % rowByteCount).addingReportingOverflow(rowByteCount * VirtualDiskLimits.statusRowCount)
    let end = overflow ? offset + byteCount : min(offset + byteCount, reach)
    var position = offset
    while position < end {
      let (index, start) = position.quotientAndRemainder(dividingBy: rowByteCount)
      let rowEnd = min(rowByteCount, start + (end - position))
      let extent = status(row: Int(index), from: start, to: rowEnd, byRow: byRow)
      position += extent.byteCount
      if let last = extents.last, last.isAllocated == extent.isAllocated, last.isZero == extent.isZero, last.row == extent.row {
        extents[extents.count - 1].byteCount += extent.byteCount
      } else {
        if extents.count == limit { return }
        extents.append(extent)
      }
    }
  }

  private func status(row index: Int, from start: UInt64, to end: UInt64, byRow: Bool) -> BlockExtent {
    // Whoever asks for the status of a whole disk wakes no row.
    if isAsleep(index) {
      return BlockExtent(byteCount: end - start, isAllocated: true, isZero: false, row: byRow ? sleepingRowID(at: index)?.value : nil)
    }
    guard let row = rows[index], row.state == .mapped else { return BlockExtent(byteCount: end - start, isAllocated: false, isZero: true) }
    let chunk = Int(start / chunkByteCount)
    let run = row.presence.endOfRun(from: chunk, limit: chunksPerRow)
    let stop = min(end, UInt64(run) * chunkByteCount)
    return BlockExtent(byteCount: stop - start, isAllocated: true, isZero: !row.presence[chunk], row: byRow ? row.id.value : nil)
  }

  /// What a read would find, were it to come now: it need not wait for a write under way, which is not answered yet.
  public override func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun {
    let (index, start) = offset.quotientAndRemainder(dividingBy: rowByteCount)
    let extent = status(row: Int(index), from: start, to: min(rowByteCount, start + min(byteCount, rowByteCount)), byRow: false)
    return ZeroRun(byteCount: extent.byteCount, isZero: extent.isZero)
  }
}
