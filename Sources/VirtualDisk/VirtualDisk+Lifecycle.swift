import BlockDevice
import Pool
import Reactor
import Resiliency

/// What a new virtual disk is to be. Sizes in bytes; what is nil is chosen.
public struct VirtualDiskPlan: Sendable {
  public var name: String
  public var byteCount: UInt64
  public var provisioning: VirtualDiskRecord.Provisioning
  /// 1: simple; 2 or 3: mirror.
  public var copies: Int
  public var columns: Int?
  public var interleave: UInt64?
  public var logicalSector: Int
  /// Seconds since 1970, UTC.
  public var createdSeconds: UInt64

  public init(
    name: String, byteCount: UInt64, provisioning: VirtualDiskRecord.Provisioning = .thin, copies: Int = 1, columns: Int? = nil,
    interleave: UInt64? = nil, logicalSector: Int = 512, createdSeconds: UInt64 = 0
  ) {
    self.name = name
    self.byteCount = byteCount
    self.provisioning = provisioning
    self.copies = copies
    self.columns = columns
    self.interleave = interleave
    self.logicalSector = logicalSector
    self.createdSeconds = createdSeconds
  }
}

// Creating, opening, growing and deleting. The callers see to it that only one of these runs at a time for a pool.

extension VirtualDisk {
  /// Makes a virtual disk in `pool` and opens it. A fixed one has all its rows when this returns.
  public static func create(
    _ plan: VirtualDiskPlan, in pool: StoragePool, handle: VirtualDiskHandle
  ) async throws(PoolError) -> VirtualDisk {
    if plan.provisioning == .fixed { await pool.reclaimSpace() }  // what was trimmed a moment ago counts as room
    var record = try plan.record(for: pool)
    if plan.provisioning == .fixed { record.state = .creating }
    try await pool.commitOrExplain([.put(record)], doing: "creating \(pool.name)/\(plan.name)")
    let disk = VirtualDisk(pool: pool, record: record, handle: handle)
    pool.attach(disk)
    if record.state == .creating {
      do throws(PoolError) { try await disk.finishCreation() } catch {
        try await disk.delete()
        throw error
      }
    }
    return disk
  }

  private func finishCreation() async throws(PoolError) {
    try await allocateRows(0..<rows.count)
    var finished = record
    finished.state = .active
    try await pool.commitOrExplain([.put(finished)], doing: "creating \(label)")
    record = finished
  }

  /// Opens a virtual disk that the pool's metadata describes.
  public static func open(
    _ record: VirtualDiskRecord, in pool: StoragePool, handle: VirtualDiskHandle
  ) throws(PoolError) -> VirtualDisk {
    try record.checkCanBeOpened(in: pool)
    let disk = VirtualDisk(pool: pool, record: record, handle: handle)
    let returning = Dictionary(
      uniqueKeysWithValues: pool.usableDisks.filter { $0.state == .returning }.map {
        ($0.number, pool.disksThatLeft(noLaterThan: $0.number))
      })
    try pool.forEachStoredRow(of: record.number) { (row: StoredRow) throws(PoolError) in try disk.takeOver(row, returning: returning) }
    pool.attach(disk)
    return disk
  }

  /// Allocates what is not mapped yet and commits it; on failure what was allocated stays and can be deleted.
  private func allocateRows(_ range: Range<Int>) async throws(PoolError) {
    do throws(BlockError) {
      for index in range where !slabTable.isMapped(index) { _ = try await mappedRow(at: index) }
      try await flush(IORequest(virtualDisk: handle, ioClass: .metadata))
    } catch {
      throw PoolError(
        error.cause == .noSpace ? .noSpace : .ioFailed, "\(label): allocating its space failed: \(error)",
        remedy: error.cause == .noSpace ? "Give the pool more room, choose a smaller size, or create it thin" : "Look at the server's log")
    }
  }

  /// Makes the virtual disk `byteCount` long; it can only grow.
  public func grow(to byteCount: UInt64) async throws(PoolError) {
    if byteCount == record.byteCount { return }
    guard byteCount > record.byteCount else {
      throw PoolError(
        .invalid, "\(label) cannot shrink from \(record.byteCount) to \(byteCount) bytes",
        remedy: "Create a smaller virtual disk and copy the data")
    }
    try VirtualDiskPlan.check(
      byteCount: byteCount, sector: Int(record.logicalSector), slabsPerRow: slabTable.placeCount, rowByteCount: rowByteCount, of: label)
    var grown = record
    grown.byteCount = byteCount
    let oldRowCount = rows.count
    let newRowCount = VirtualDisk.rowCount(byteCount: byteCount, rowByteCount: rowByteCount)
    if !isThin { try await checkRoom(forRows: newRowCount - mappedRowCount) }
    rows.resize(to: newRowCount)
    slabTable.grow(toRowCount: newRowCount)
    do throws(PoolError) {
      // A fixed disk has its space before anyone sees the size.
      if !isThin { try await allocateRows(0..<newRowCount) }
      try await pool.commitOrExplain([.put(grown)], doing: "growing \(label)")
    } catch {
      await shrinkBack(toRowCount: oldRowCount)
      throw error
    }
    record = grown
    refreshGeometry()
  }

  /// Before anything is allocated that would only be given back.
  private func checkRoom(forRows count: Int) async throws(PoolError) {
    await pool.reclaimSpace()
    let available = pool.rowsAvailable(slabsPerRow: slabTable.placeCount)
    guard count <= available else {
      throw PoolError(
        .noSpace, "\(label): growing it takes \(count) more slab rows and the pool \(pool.name) has room for \(available)",
        remedy: "Choose a smaller size, or give the pool more room")
    }
  }

  /// After growing failed: the new rows, which no request could reach yet, are given back.
  private func shrinkBack(toRowCount count: Int) async {
    for index in count..<rows.count {
      guard let row = findRow(at: index) else { continue }
      row.state = .freed
      pendingFrees.append(FreedRow(row: row, slabs: slabTable.takeRow(index)))
    }
    rows.resize(to: count)
    await reclaimSpace()
  }

  /// Takes the virtual disk and all its data away. First it is marked, so that a deletion that is interrupted goes on at the next start;
  /// where it throws before that, the virtual disk is what it was (`record.state`).
  public func delete() async throws(PoolError) {
    isClosing = true
    var marked = record
    marked.state = .deleting
    do throws(PoolError) { try await pool.commitOrExplain([.put(marked)], doing: "deleting \(label)") } catch {
      isClosing = false  // nothing was changed: it goes on
      throw error
    }
    record = marked
    for index in rows.indices {
      guard let row = findRow(at: index), row.state == .mapped else { continue }
      let ticket = await row.acquire(0..<rowByteCount, .exclusive)  // drains it
      if row.state == .mapped {  // a trim that was under way may have freed it
        row.state = .freed
        rows[index] = nil
        pendingFrees.append(FreedRow(row: row, slabs: slabTable.takeRow(index)))
      }
      row.lock.release(ticket)
    }
    do throws(BlockError) { try await flush(IORequest(virtualDisk: handle, ioClass: .metadata)) } catch {
      throw PoolError(.ioFailed, "\(label): freeing its space failed: \(error)", remedy: "It goes on when the pool is opened again")
    }
    try await pool.commitOrExplain([.delete(record.key)], doing: "deleting \(label)")
    pool.detach(self)
  }

  /// Flushes and commits everything; no request may be in flight, none is taken any more.
  public func close() async throws(BlockError) {
    isClosing = true
    if !pool.isReadOnly {
      try await flush(IORequest(virtualDisk: handle, ioClass: .metadata))
      try await clearDirtyRegions(evenTouched: true)
    }
    pool.detach(self)
  }
}

extension VirtualDisk: SpaceReclaimer {
  /// Freed slabs can be used again once their freeing is durable, by a flush that may be under way.
  public func reclaimSpace() async {
    if !pendingFrees.isEmpty || flushState.isRunning { _ = try? await flush(IORequest(virtualDisk: handle, ioClass: .metadata)) }
  }

  /// For the pool's housekeeping: commits what no client's flush has committed for a while, by a flush that may be under way.
  public func commitPending() async {
    if isClosing { return }
    if hasPendingMetadata || flushState.isRunning { _ = try? await flush(IORequest(virtualDisk: handle, ioClass: .metadata)) }
    if !dirtyRows.isEmpty && !isClosing { _ = try? await clearDirtyRegions(evenTouched: false) }
  }
}

extension VirtualDiskPlan {
  /// The stored form, with everything chosen and checked.
  func record(for pool: StoragePool) throws(PoolError) -> VirtualDiskRecord {
    let label = "\(pool.name)/\(name)"
    let columns = try checkedColumns(in: pool, label)
    let interleave = self.interleave ?? VirtualDiskLimits.defaultInterleave
    guard interleave.nonzeroBitCount == 1, interleave >= VirtualDiskLimits.smallestInterleave,
      interleave <= min(VirtualDiskLimits.largestInterleave, pool.slabByteCount)
    else {
      throw PoolError(
        .invalid, "\(label): an interleave of \(interleave) bytes cannot be",
        remedy: "Give a power of two from 4KiB up to the pool's slab size")
    }
    guard logicalSector == 512 || logicalSector == 4096 else {
      throw PoolError(.invalid, "\(label): sectors of \(logicalSector) bytes cannot be", remedy: "Give 512 or 4096")
    }
    let rowByteCount = pool.slabByteCount * UInt64(columns)
    try VirtualDiskPlan.check(
      byteCount: byteCount, sector: logicalSector, slabsPerRow: columns * copies, rowByteCount: rowByteCount, of: label)
    if provisioning == .fixed { try checkRoom(in: pool, slabsPerRow: columns * copies, rowByteCount: rowByteCount, label) }
    return VirtualDiskRecord(
      number: pool.nextVirtualDiskNumber(), id: .random(pool.reactor), name: name, byteCount: byteCount,
      logicalSector: UInt32(logicalSector), provisioning: provisioning, resiliency: copies == 1 ? .simple : .mirror,
      columns: UInt16(columns), copies: UInt8(copies), interleave: UInt32(interleave),
      presenceChunkByteCount: UInt32(VirtualDiskPlan.chunkByteCount(rowByteCount: rowByteCount)), createdSeconds: createdSeconds)
  }

  /// How many columns it gets; throws where the pool has too few disks for them, or for its copies.
  private func checkedColumns(in pool: StoragePool, _ label: String) throws(PoolError) -> Int {
    guard (1...MirrorLimits.largestCopyCount).contains(copies) else {
      throw PoolError(.invalid, "\(label): \(copies) copies cannot be", remedy: "Give 2 or 3 copies for a mirror")
    }
    let diskCount = pool.dealingDiskCount
    let has = "the pool \(pool.name) has \(diskCount)" + (diskCount < pool.diskCount ? " beside hot spares and retiring ones" : "")
    guard copies <= diskCount else {
      throw PoolError(
        .invalid, "\(label): \(copies) copies on different disks need \(copies) disks and \(has)",
        remedy: "Add disks to the pool, or choose fewer copies")
    }
    let columns = self.columns ?? VirtualDiskPlan.defaultColumns(copies: copies, in: pool)
    guard (1...VirtualDiskLimits.largestColumnCount).contains(columns) else {
      throw PoolError(
        .invalid, "\(label): \(columns) columns cannot be", remedy: "Give 1 to \(VirtualDiskLimits.largestColumnCount) columns")
    }
    guard columns * copies <= diskCount else {
      let each = copies == 1 ? "" : " of \(copies) copies each"
      throw PoolError(
        .invalid,
        "\(label): \(columns) columns\(each) need \(columns * copies) disks and \(has)",
        remedy: "Give at most \(diskCount / copies) columns, or add disks to the pool")
    }
    return columns
  }

  /// For a fixed one, before anything is allocated that would only be given back.
  private func checkRoom(in pool: StoragePool, slabsPerRow: Int, rowByteCount: UInt64, _ label: String) throws(PoolError) {
    let rows = VirtualDisk.rowCount(byteCount: byteCount, rowByteCount: rowByteCount)
    let available = pool.rowsAvailable(slabsPerRow: slabsPerRow)
    guard rows <= available else {
      throw PoolError(
        .noSpace,
        "\(label): a fixed disk of \(byteCount) bytes takes \(rows) slab rows and the pool \(pool.name) has room for \(available)",
        remedy: "Choose a smaller size, give the pool more room, or create it thin")
    }
  }

  /// What a new virtual disk gets where nothing is said; at least 1.
  public static func defaultColumns(copies: Int, in pool: StoragePool) -> Int {
    max(1, min(pool.dealingDiskCount / max(copies, 1), VirtualDiskLimits.defaultColumnLimit))
  }

  /// Never more than a slab.
  static func chunkByteCount(rowByteCount: UInt64) -> UInt64 {
    var chunk = VirtualDiskLimits.smallestChunk
    while chunk < VirtualDiskLimits.largestChunk && rowByteCount / chunk > VirtualDiskLimits.chunksPerRowAimed { chunk *= 2 }
    return chunk
  }

  static func check(byteCount: UInt64, sector: Int, slabsPerRow: Int, rowByteCount: UInt64, of label: String) throws(PoolError) {
    guard (VirtualDiskLimits.smallestByteCount...VirtualDiskLimits.largestByteCount).contains(byteCount) else {
      throw PoolError(.invalid, "\(label): a size of \(byteCount) bytes cannot be", remedy: "Give a size from 1MiB to 64PiB")
    }
    guard byteCount % UInt64(sector) == 0 else {
      throw PoolError(
        .invalid, "\(label): \(byteCount) bytes are no whole number of sectors of \(sector)", remedy: "Give a multiple of \(sector)")
    }
    guard (byteCount + rowByteCount - 1) / rowByteCount <= UInt64(VirtualDiskLimits.largestSlabCount / slabsPerRow) else {
      throw PoolError(
        .invalid, "\(label): \(byteCount) bytes need more than \(VirtualDiskLimits.largestSlabCount) slabs (rows of \(rowByteCount))",
        remedy: "Choose a smaller size, or a pool with larger slabs")
    }
  }
}
