import BlockDevice
import Pool
import Reactor

// Reads and writes within one row. Offsets are within the row, `address(row, offset)` makes them the resiliency's.

extension VirtualDisk {
  @inline(__always)
  func address(_ row: MappedRow, _ offset: UInt64) -> UInt64 { UInt64(row.index) * rowByteCount + offset }

  @inline(__always)
  func chunks(_ start: UInt64, _ end: UInt64) -> Range<Int> {
    Int(start / chunkByteCount)..<Int((end + chunkByteCount - 1) / chunkByteCount)
  }

  // MARK: Reading

  func read(row index: Int, from start: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let end = start + UInt64(slice.byteCount)
    while true {
      guard let row = findRow(at: index), row.state == .mapped else { return zeroFill(slice) }
      let ticket = await row.acquire(start..<end, .shared)
      if row.state == .freed {
        row.lock.release(ticket)
        continue
      }
      if pool.isReadOnly && slabTable.condition(index) != nil {
        defer { row.lock.release(ticket) }
        return try await readByRegion(row, from: start, into: slice, request)
      }
      if slabTable.isUnsettled(index, start, end) && !PlantedBug.readFromUnsettledRegion.isPlanted {
        row.lock.release(ticket)
        try await settle(row, start, end)
        continue
      }
      defer { row.lock.release(ticket) }
      if row.presence.isFull { return try await readBlocks(at: address(row, start), into: slice, request) }
      return try await readPresent(row, from: start, into: slice, request)
    }
  }

  /// On a pool that is only read the copies stay as they are: which of them serves is decided region by region, so that it does not
  /// depend on where a request begins and ends.
  private func readByRegion(_ row: MappedRow, from start: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let end = start + UInt64(slice.byteCount)
    for region in regions.regions(start, end) {
      let range = regions.bytes(of: region).clamped(to: start..<end)
      let part = slice.part(from: Int(range.lowerBound - start), byteCount: range.count)
      try await readPresent(row, from: range.lowerBound, into: part, request)
    }
  }

  /// What is present from the disks, the rest as zeros.
  private func readPresent(_ row: MappedRow, from start: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let end = start + UInt64(slice.byteCount)
    var position = start
    while position < end {
      let chunk = Int(position / chunkByteCount)
      let run = row.presence.endOfRun(from: chunk, limit: chunksPerRow)
      let stop = min(end, UInt64(run) * chunkByteCount)
      let part = slice.part(from: Int(position - start), byteCount: Int(stop - position))
      if row.presence[chunk] {
        try await readBlocks(at: address(row, position), into: part, request)
      } else {
        zeroFill(part)
      }
      position = stop
    }
  }

  private func zeroFill(_ slice: BufferSlice) { slice.start.initializeMemory(as: UInt8.self, repeating: 0, count: slice.byteCount) }

  // MARK: Writing

  /// A write may need to read first (a partial block, copies that have to agree): when the disk it reads from is given up meanwhile, another
  /// copy serves. The payload is only read from, so that it may go out again.
  @inline(__always)
  func writeAgainIfStalled(
    row index: Int, from start: UInt64, _ slice: BufferSlice, _ request: IORequest
  ) async throws(BlockError) -> MappedRow {
    var tries = 0
    while true {
      do throws(BlockError) { return try await write(row: index, from: start, slice, request) } catch {
        tries += 1
        guard error.cause == .stalled, tries <= copies else { throw error }
      }
    }
  }

  /// Returns the row that took the data.
  func write(row index: Int, from start: UInt64, _ slice: BufferSlice, _ request: IORequest) async throws(BlockError) -> MappedRow {
    let end = start + UInt64(slice.byteCount)
    while true {
      let row = try await mappedRow(at: index)
      let range = rangeToLock(row, start, end)
      let ticket = await row.acquire(range, .exclusive)
      // While this waited the row may have been freed, or chunks trimmed so that more than `range` has to be written.
      if row.state == .freed || !range.contains(rangeToLock(row, start, end)) {
        row.lock.release(ticket)
        continue
      }
      // A partial block is merged with what is read from one copy.
      if slabTable.isUnsettled(index, range.lowerBound, range.upperBound) && !isAligned(start, slice) {
        row.lock.release(ticket)
        try await settle(row, range.lowerBound, range.upperBound)
        continue
      }
      defer { row.lock.release(ticket) }
      if !PlantedBug.dirtyRegionMarkedAfterWrite.isPlanted { try await markDirty(row, range.lowerBound, range.upperBound) }
      if row.presence.allPresent(in: chunks(start, end)) {
        try await writeBlocks(at: address(row, start), from: slice, request)
      } else {
        try await writeAbsent(row, from: start, slice, request)
        row.presence.set(chunks(start, end))
        notePending(row)
      }
      if PlantedBug.dirtyRegionMarkedAfterWrite.isPlanted { try await markDirty(row, range.lowerBound, range.upperBound) }
      return row
    }
  }

  /// Whole blocks, because partial ones are merged; whole chunks where a chunk gets its first data.
  @inline(__always)
  private func rangeToLock(_ row: MappedRow, _ start: UInt64, _ end: UInt64) -> Range<UInt64> {
    let unit = row.presence.allPresent(in: chunks(start, end)) ? blockByteCount : chunkByteCount
    return start.roundedDown(to: unit)..<end.roundedUp(to: unit)
  }

  /// The first data of at least one chunk: what the request leaves of an absent chunk is zeroed with it.
  private func writeAbsent(_ row: MappedRow, from start: UInt64, _ slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let end = start + UInt64(slice.byteCount)
    let split = parallel.begin()
    let first = Int(start / chunkByteCount)
    let last = Int((end - 1) / chunkByteCount)
    if !row.presence[first] {
      addZeroes(to: split, row, from: UInt64(first) * chunkByteCount, to: start.roundedUp(to: blockByteCount))
    }
    if !row.presence[last] {
      addZeroes(to: split, row, from: end.roundedDown(to: blockByteCount), to: UInt64(last + 1) * chunkByteCount)
    }
    if isAligned(start, slice) {
      split.add(IOPart(.write, space, at: address(row, start), slice: slice))
      try await parallel.performAll(split, request)
    } else {
      // A partial block is merged with what is on the disk, which has to be zeros by then.
      try await parallel.performAll(split, request)
      try await writeBlocks(at: address(row, start), from: slice, request)
    }
  }

  private func addZeroes(to split: SplitRequest, _ row: MappedRow, from start: UInt64, to end: UInt64) {
    if end > start { split.add(IOPart(.writeZeroes, space, at: address(row, start), byteCount: end - start)) }
  }

  // MARK: Rows

  /// The row at `index`, allocated if need be.
  @inline(__always)
  func mappedRow(at index: Int) async throws(BlockError) -> MappedRow {
    if let row = findRow(at: index), row.state == .mapped { return row }
    return try await allocateRow(at: index)
  }

  private func allocateRow(at index: Int) async throws(BlockError) -> MappedRow {
    while let row = findRow(at: index) {
      if row.state == .mapped { return row }
      await withUnsafeContinuation { row.allocationWaiters.append($0) }
    }
    let row = MappedRow(
      index: index, presence: PresenceBitmap(chunkCount: chunksPerRow, allPresent: false), placeCount: slabTable.placeCount,
      regionCount: regions.regionCount)
    rows[index] = row
    do throws(BlockError) {
      let (slabs, startsZeroed) = try await pool.allocateRow(columns: Int(record.columns), copies: copies, for: handle)
      slabTable.setRow(index, slabs)
      row.id = pool.nextRowID()
      if startsZeroed { row.presence = PresenceBitmap(chunkCount: chunksPerRow, allPresent: true) }
    } catch {
      rows[index] = nil
      row.state = .freed
      row.allocationWaiters.wakeAll()
      throw error
    }
    row.state = .mapped
    notePending(row)
    row.allocationWaiters.wakeAll()
    return row
  }

  /// The next commit writes this row's map record.
  func notePending(_ row: MappedRow) {
    if row.isPending { return }
    row.isPending = true
    pendingRows.append(row)
  }
}

extension UInt64 {
  /// `unit` is a power of two. Values are within a row, far from overflow.
  @inline(__always)
  func roundedDown(to unit: UInt64) -> UInt64 { self & ~(unit - 1) }
  @inline(__always)
  func roundedUp(to unit: UInt64) -> UInt64 { (self + unit - 1) & ~(unit - 1) }
}
