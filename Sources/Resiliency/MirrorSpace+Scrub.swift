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
    guard let first = good.first else {
      if !bad.isEmpty { finding.unreadableCount += 1 }
      return finding
    }
    var source = first
    let differing = good.filter { memcmp(parts[$0].start, parts[first].start, Int(piece.byteCount)) != 0 }
    if !differing.isEmpty {
      let agreeing = good.filter { !differing.contains($0) }
      if agreeing.count == 2 {
        bad += differing
      } else if differing.count == 2, memcmp(parts[differing[0]].start, parts[differing[1]].start, Int(piece.byteCount)) == 0 {
        source = differing[0]
        bad.append(first)
      } else {
        finding.differenceCount += 1
      }
    }
    for copy in bad {
      guard let (device, address) = copyInSync(piece, copy) else { continue }
      do throws(BlockError) {
        try await device.write(at: address, from: parts[source], request)
        finding.repairedCount += 1
      } catch {
        do throws(BlockError) { try await pool.writeFailed(on: device, error) } catch {
          try await keeper?.copiesMissed(row: piece.row, places: [piece.column * rows.copies + copy])
        }
      }
    }
    return finding
  }

  private func copyInSync(_ piece: Piece, _ copy: Int) -> (device: DataPartition, address: UInt64)? {
    let place = piece.column * rows.copies + copy
    if let condition = rows.condition(piece.row), isStale(condition, place, piece.start, piece.end) { return nil }
    return pool.locate(rows[piece.row, place], piece.offsetInSlab)
  }
}
