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
      row.lock.release(ticket)
      if !keepAllocated && row.presence.isEmpty { await free(row) }
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

  /// Takes a row without data out of the map. Its slabs are reused only after the next commit has made that durable.
  private func free(_ row: MappedRow) async {
    let ticket = await row.acquire(0..<rowByteCount, .exclusive)  // drains it
    if row.state == .mapped && row.presence.isEmpty {
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
