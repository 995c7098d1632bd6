import BlockDevice
import Pool
import Reactor

extension VirtualDisk {
  /// Reads what is present of a row on all copies, compares and repairs it, region by region under their locks.
  public func scrub(row index: Int) async throws(BlockError) -> ScrubFinding {
    var finding = ScrubFinding()
    for region in 0..<regions.regionCount {
      guard let row = findRow(at: index), row.state == .mapped else { break }
      let range = regions.bytes(of: region)
      while slabTable.isUnsettled(index, range.lowerBound, range.upperBound) { try await settle(row, range.lowerBound, range.upperBound) }
      let began = reactor.now
      finding.add(try await scrub(row, range))
      await pool.jobs.pacer.worked(since: began, byteCount: UInt64(range.count * copies))
    }
    return finding
  }

  private func scrub(_ row: MappedRow, _ range: Range<UInt64>) async throws(BlockError) -> ScrubFinding {
    let ticket = await row.acquire(range, .exclusive)
    defer { row.lock.release(ticket) }
    var finding = ScrubFinding()
    var position = range.lowerBound
    while position < range.upperBound && row.state == .mapped {
      let chunk = Int(position / chunkByteCount)
      let stop = min(range.upperBound, UInt64(row.presence.endOfRun(from: chunk, limit: chunksPerRow)) * chunkByteCount)
      if row.presence[chunk] { finding.add(try await space.scrub(row: row.index, from: position, to: stop)) }
      position = stop
    }
    return finding
  }
}
