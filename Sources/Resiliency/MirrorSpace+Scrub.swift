import BlockDevice
import CLinux
import Pool
import Reactor

extension MirrorSpace {
  /// Reads every copy in sync of a range of a row, which the caller has locked, and compares them (rules R). What a copy cannot read is
  /// written again from another. Where two copies differ there is no telling which is right: nothing is changed, and as long as both are
  /// there a reader is always sent to the same one. Of three the majority is right.
  public func scrub(row: Int, from start: UInt64, to end: UInt64) async throws(BlockError) -> ScrubFinding {
    var window = await pool.bounceBuffers.acquire()
    defer { pool.bounceBuffers.release(window) }
    // A part of the window for each copy: who held one and waited for a second could wait for ever.
    let partByteCount = window.byteCount / rows.copies & ~4095
    var finding = ScrubFinding()
    var position = start
    while position < end {
      try pool.bounceBuffers.renew(&window)
      let piece = piece(row, position, min(end - position, UInt64(partByteCount)))
      let parts = (0..<rows.copies).map { window.part(from: $0 * partByteCount, byteCount: Int(piece.byteCount)) }
      finding.add(try await scrub(piece, parts))
      position = piece.end
    }
    return finding
  }

  private func scrub(_ piece: Piece, _ parts: [BufferSlice]) async throws(BlockError) -> ScrubFinding {
    let request = IORequest(ioClass: .scrub, cacheHint: .bypass, ownerTerm: pool.ownerTerm)
    var finding = ScrubFinding()
    var good: [Int] = []
    var bad: [Int] = []
    for copy in 0..<rows.copies {
      guard let (device, address) = copyInSync(piece, copy) else { continue }
      do throws(BlockError) {
        try await device.read(at: address, into: parts[copy], request)
        good.append(copy)
        finding.byteCount += piece.byteCount
      } catch {
        if error.cause == .stalled { throw error }
        bad.append(copy)
      }
    }
    // A disk of which a flush has failed may show what was there before, and is about to leave.
    good.removeAll { copyInSync(piece, $0)?.device.hasFailedFlush ?? true }
    func place(_ outcome: ScrubPlace.Outcome, _ range: Range<UInt64>, on copies: [Int]) -> ScrubPlace {
      ScrubPlace(
        outcome, label: label, byteOffset: UInt64(piece.row) * layout.rowByteCount + piece.start + range.lowerBound,
        byteCount: UInt64(range.count), disks: copies.map { rows[piece.row, piece.column * rows.copies + $0].disk })
    }
    guard let first = good.first else {
      if !bad.isEmpty { finding.note(place(.unreadable, 0..<piece.byteCount, on: bad)) }
      return finding
    }
    var source = first
    var stretch = 0..<piece.byteCount
    let differing = good.filter { memcmp(parts[$0].start, parts[first].start, Int(piece.byteCount)) != 0 }
    if !differing.isEmpty {
      if bad.isEmpty { stretch = differenceOf(parts[first], differing.map { parts[$0] }) }
      let agreeing = good.filter { !differing.contains($0) }
      if agreeing.count == 2 {
        bad += differing
      } else if differing.count == 2, memcmp(parts[differing[0]].start, parts[differing[1]].start, Int(piece.byteCount)) == 0 {
        source = differing[0]
        bad.append(first)
      } else {
        // Who is read comes first.
        let read = self.source(of: piece, without: 0).map { $0.place % rows.copies }
        finding.note(place(.differing, stretch, on: good.filter { $0 == read } + good.filter { $0 != read }))
        // Nor is there one to write an unreadable copy from: that would make a majority of a guess.
        bad.removeAll()
      }
    }
    var repaired: [Int] = []
    for copy in bad {
      if try await rewrite(piece, copy, from: parts[source], scratch: parts[copy], request) { repaired.append(copy) }
    }
    if !repaired.isEmpty { finding.note(place(.repaired, stretch, on: repaired)) }
    return finding
  }

  /// Writes a copy again and reads it back into `scratch`. False when it is not good even then: its disk is evicted, or the copy called stale.
  private func rewrite(
    _ piece: Piece, _ copy: Int, from source: BufferSlice, scratch: BufferSlice, _ request: IORequest
  ) async throws(BlockError) -> Bool {
    guard let (device, address) = copyInSync(piece, copy) else { return false }
    do throws(BlockError) {
      do throws(BlockError) { try await device.write(at: address, from: source, request) } catch {
        try await pool.writeFailed(on: device, error)
        return false
      }
      do throws(BlockError) { try await device.read(at: address, into: scratch, request) } catch {
        if error.cause == .stalled { throw error }
        try await pool.rewriteFailed(on: device, error)
        return false
      }
    } catch {
      if error.cause == .stalled { throw error }
      // Where it has something alone it is not called stale: it lacks nothing that was written, it is bad.
      try? await keeper?.copiesMissed(row: piece.row, places: [piece.column * rows.copies + copy])
      return false
    }
    return true
  }

  /// The blocks from the first to the last in which some of `others` is unlike `one`.
  private func differenceOf(_ one: BufferSlice, _ others: [BufferSlice]) -> Range<UInt64> {
    let unit = min(4096, one.byteCount)
    var first = UInt64(one.byteCount)
    var last: UInt64 = 0
    for start in stride(from: 0, to: one.byteCount, by: unit) {
      let count = min(unit, one.byteCount - start)
      guard others.contains(where: { memcmp($0.start + start, one.start + start, count) != 0 }) else { continue }
      first = min(first, UInt64(start))
      last = UInt64(start + count)
    }
    return first..<max(first, last)
  }

  private func copyInSync(_ piece: Piece, _ copy: Int) -> (device: DataPartition, address: UInt64)? {
    let place = piece.column * rows.copies + copy
    if let condition = rows.condition(piece.row), isStale(condition, place, piece.start, piece.end) { return nil }
    return pool.locate(rows[piece.row, place], piece.offsetInSlab)
  }
}
