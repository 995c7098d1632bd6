import BlockDevice
import Pool

/// What of a virtual disk's data is there, in its own bytes. What was never written, or was trimmed, reads as zeros and counts nowhere.
public struct DataReport: Sendable, Codable, Equatable {
  /// All copies are there and up to date.
  public var wholeByteCount: UInt64 = 0
  /// At least one copy is there and up to date, and fewer than there should be.
  public var degradedByteCount: UInt64 = 0
  /// Written shortly before the pool stopped, or was stopped from writing: copies may differ there, and one of them is read.
  public var unprovenByteCount: UInt64 = 0
  /// No copy that is up to date is there.
  public var lostByteCount: UInt64 = 0

  public init() {}

  public var writtenByteCount: UInt64 { wholeByteCount + degradedByteCount + unprovenByteCount + lostByteCount }
}

extension VirtualDisk {
  /// Looks at every mapped row; lets others work in between.
  public func examineData() async -> DataReport {
    var report = DataReport()
    let states = Dictionary(pool.diskRecords.map { ($0.number, $0.state) }) { first, _ in first }
    for index in rows.indices {
      if index % 4096 == 4095 { await reactor.sleep(milliseconds: 0) }
      guard index < rows.count, slabTable.isMapped(index) || rows[index]?.state == .mapped else { continue }
      examine(index, states, &report)
    }
    return report
  }

  /// A row that sleeps has data in all chunks.
  private func examine(_ row: Int, _ states: [DiskNumber: DiskRecord.State], _ report: inout DataReport) {
    let end = min(rowByteCount, record.byteCount - UInt64(row) * rowByteCount)
    guard let condition = slabTable.condition(row) else {
      return add(row, 0..<end, nil, 0, states, &report)
    }
    for region in regions.regions(0, end) {
      add(row, regions.bytes(of: region).clamped(to: 0..<end), condition, region, states, &report)
    }
  }

  /// A range of a row in which each column is in one state.
  private func add(
    _ row: Int, _ range: Range<UInt64>, _ condition: RowCondition?, _ region: Int, _ states: [DiskNumber: DiskRecord.State],
    _ report: inout DataReport
  ) {
    for column in 0..<slabTable.columns {
      let byteCount = presentByteCount(rows[row]?.presence, column, range)
      if byteCount == 0 { continue }
      var present = 0
      var absent = 0
      for place in column * copies..<(column + 1) * copies {
        let slab = slabTable[row, place]
        if slab.isNone || condition?.stale[place]?.contains(region) == true { continue }
        if pool.usableDisk(slab.disk) != nil {
          present += 1
        } else if pool.isReadOnly, states[slab.disk] == .active || states[slab.disk] == .retiring {
          absent += 1  // as good as the others by the metadata, and elsewhere
        }
      }
      if present == 0 {
        report.lostByteCount += byteCount
      } else if let condition, condition.unsettled.contains(region), present + absent > 1 {
        report.unprovenByteCount += byteCount
      } else if present < copies {
        report.degradedByteCount += byteCount
      } else {
        report.wholeByteCount += byteCount
      }
    }
  }

  /// Bytes of the column in chunks that hold data; without `presence`, in all.
  private func presentByteCount(_ presence: PresenceBitmap?, _ column: Int, _ range: Range<UInt64>) -> UInt64 {
    func bytes(_ start: UInt64, _ end: UInt64) -> UInt64 {
      space.layout.byteCount(of: column, before: end) - space.layout.byteCount(of: column, before: start)
    }
    guard let presence, !presence.isFull else { return bytes(range.lowerBound, range.upperBound) }
    var count: UInt64 = 0
    var position = range.lowerBound
    while position < range.upperBound {
      let chunk = Int(position / chunkByteCount)
      let stop = min(range.upperBound, UInt64(presence.endOfRun(from: chunk, limit: chunksPerRow)) * chunkByteCount)
      if presence[chunk] { count += bytes(position, stop) }
      position = stop
    }
    return count
  }
}
