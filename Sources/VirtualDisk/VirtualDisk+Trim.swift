import BlockDevice
import Pool
import Reactor

// TRIM and WRITE_ZEROES within one row.

/// A row that was taken out of the map and whose slabs wait until that is durable.
struct FreedRow {
  var row: MappedRow
  var slabs: [SlabAssignment]
}

extension VirtualDisk {
  /// As `writeAgainIfStalled`: a part of a block is merged with what is read, perhaps from a disk that is given up meanwhile.
  func clearAgainIfStalled(
    row index: Int, from start: UInt64, to end: UInt64, keepAllocated: Bool, _ request: IORequest
  ) async throws(BlockError) {
    var tries = 0
    while true {
      do throws(BlockError) { return try await clear(row: index, from: start, to: end, keepAllocated: keepAllocated, request) } catch {
        tries += 1
        guard error.cause == .stalled, tries <= copies else { throw error }
      }
    }
  }

  /// Makes `start ..< requestedEnd` of the row read as zeros. With `keepAllocated` the row is (or becomes) mapped and stays so; else a row
  /// without any data left is given back.
  func clear(
    row index: Int, from start: UInt64, to requestedEnd: UInt64, keepAllocated: Bool, _ request: IORequest
  ) async throws(BlockError) {
    while true {
      guard let row = try await rowToClear(at: index, keepAllocated) else { return }
      let end = stretched(requestedEnd, in: row)
      let range = start.roundedDown(to: chunkByteCount)..<end.roundedUp(to: chunkByteCount)
      let ticket = await row.acquire(range, .exclusive)
      // While this waited the row may have been freed, or the disk may have grown: what lies behind its old end is somebody's then.
      if row.state == .freed || stretched(requestedEnd, in: row) != end {
        row.lock.release(ticket)
        continue
      }
      if slabTable.isUnsettled(index, range.lowerBound, range.upperBound) {
        row.lock.release(ticket)
        try await settle(row, range.lowerBound, range.upperBound)
        continue
      }
      do throws(BlockError) {
        if keepAllocated && pool.slabsStartZeroed && row.presence.allPresent(in: chunks(start, end)) {
          try await zeroBlocks(row, from: start, to: end, request)
        } else {
          try await clearLocked(row, from: start, to: end, request)
        }
      } catch {
        row.lock.release(ticket)
        throw error
      }
      if isThin { noteKept(row, start, end, keepAllocated) }
      row.lock.release(ticket)
      if !keepAllocated && row.isUnused { await free(row) }
      return
    }
  }

  /// To the row's end where the disk ends at `end`: what lies behind is nobody's, so that the last chunk, and the row, can be given back.
  private func stretched(_ end: UInt64, in row: MappedRow) -> UInt64 { address(row, end) == record.byteCount ? rowByteCount : end }

  private func rowToClear(at index: Int, _ keepAllocated: Bool) async throws(BlockError) -> MappedRow? {
    if keepAllocated { return try await mappedRow(at: index) }
    guard let row = findRow(at: index) else { return nil }
    if row.state == .mapped { return row }
    // Being allocated for a write that has not been answered: that write is ordered after this.
    return nil
  }

  /// Whole chunks lose their bit; of a chunk that is cut, the part is zeroed on the disks.
  private func clearLocked(_ row: MappedRow, from start: UInt64, to end: UInt64, _ request: IORequest) async throws(BlockError) {
    let firstWhole = Int((start + chunkByteCount - 1) / chunkByteCount)
    let pastWhole = Int(end / chunkByteCount)
    guard firstWhole <= pastWhole else {  // within one chunk
      if row.presence[pastWhole] { try await zeroBlocks(row, from: start, to: end, request) }
      return
    }
    let wholeStart = UInt64(firstWhole) * chunkByteCount
    let wholeEnd = UInt64(pastWhole) * chunkByteCount
    if start < wholeStart && row.presence[firstWhole - 1] { try await zeroBlocks(row, from: start, to: wholeStart, request) }
    if wholeEnd < end && row.presence[pastWhole] { try await zeroBlocks(row, from: wholeEnd, to: end, request) }
    if firstWhole < pastWhole && !row.presence.isEmpty {
      row.presence.clear(firstWhole..<pastWhole)
      notePending(row)
    }
  }

  /// Whether a zeroing writes and copies no data: whole chunks lose their bits, and what is left of a chunk is zeroed by disks that do that
  /// cheaply. Somebody may change that before the zeroing begins; then it takes longer, and is right all the same.
  func zeroesFast(at offset: UInt64, byteCount: UInt64) -> Bool {
    if byteCount == 0 { return true }
    let end = offset + byteCount
    let rowRange = Int(offset / rowByteCount)...Int((end - 1) / rowByteCount)
    // After a crash copies have to agree first.
    if !slabTable.areAllWhole {
      for index in slabTable.rowsWithCondition where rowRange.contains(index) {
        let first = UInt64(index) * rowByteCount
        let (start, stop) = (max(offset, first) - first, min(end - first, rowByteCount))
        if slabTable.isUnsettled(index, start.roundedDown(to: chunkByteCount), stop.roundedUp(to: chunkByteCount)) { return false }
      }
    }
    for (position, isEnd) in [(offset, false), (end, true)] {
      let isCut = position % chunkByteCount != 0 && position != record.byteCount
      let isCheap = pool.slabsStartZeroed && position % blockByteCount == 0
      if isCut && !isCheap && holdsData(at: isEnd ? position - 1 : position) { return false }
    }
    return true
  }

  private func holdsData(at offset: UInt64) -> Bool {
    let (index, start) = offset.quotientAndRemainder(dividingBy: rowByteCount)
    if isAsleep(Int(index)) { return true }
    guard let row = rows[Int(index)], row.state == .mapped else { return false }
    return row.presence[Int(start / chunkByteCount)]
  }

  /// A zeroing keeps the space of all chunks it touches; a trim gives up that of whole chunks.
  private func noteKept(_ row: MappedRow, _ start: UInt64, _ end: UInt64, _ keepAllocated: Bool) {
    if keepAllocated {
      if row.keptChunks == nil { row.keptChunks = PresenceBitmap(chunkCount: chunksPerRow, allPresent: false) }
      row.keptChunks?.set(chunks(start, end))
    } else {
      let first = Int((start + chunkByteCount - 1) / chunkByteCount)
      let past = Int(end / chunkByteCount)
      if first < past { row.keptChunks?.clear(first..<past) }
    }
  }

  /// Takes a row without data out of the map. Its slabs are reused only after the next commit has made that durable.
  private func free(_ row: MappedRow) async {
    let ticket = await row.acquire(0..<rowByteCount, .exclusive)  // drains it
    if row.state == .mapped && row.isUnused {
      row.state = .freed
      rows[row.index] = nil
      var slabs = slabTable.takeRow(row.index)
      if PlantedBug.slabReusedBeforeFreeIsDurable.isPlanted {
        for slab in slabs { pool.releaseUncommitted(slab) }
        slabs = []
      }
      pendingFrees.append(FreedRow(row: row, slabs: slabs))
    }
    row.lock.release(ticket)
  }
}
