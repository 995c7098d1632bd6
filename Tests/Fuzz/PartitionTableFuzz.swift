@testable import PartitionTable

/// Everything that is made of a disk's bytes by the partition table's code. The first byte chooses the disk, the rest are its bytes: the head, then the
/// tail; what lies between reads as zeros.
func fuzzPartitionTable(_ input: UnsafeBufferPointer<UInt8>) {
  guard input.count > 1 else { return }
  let choice = input[0]
  let bytes = Array(input.dropFirst())
  let sectorSize: SectorSize = choice & 1 == 0 ? .bytes512 : .bytes4096
  // Checksums are in the way of everything behind them; an attacker makes them right, and so do half of the runs.
  let disk = FuzzedDisk(bytes, sectorSize, isSparse: choice & 2 != 0, fixesChecksums: choice & 4 != 0)
  let scan = disk.scan()
  check(scan, of: disk)
}

private func check(_ scan: PartitionTableScan, of disk: FuzzedDisk) {
  for finding in scan.findings { precondition(!finding.description.isEmpty) }
  if let table = scan.gpt { check(table) }
  for partition in scan.usablePartitions ?? [] {
    precondition(partition.byteCount > 0 && partition.endBytes <= disk.byteCount, "a partition beyond the disk")
    for range in scan.consultedRanges {
      let end = range.offsetBytes + UInt64(range.byteCount)
      precondition(end <= partition.offsetBytes || range.offsetBytes >= partition.endBytes, "a partition over the table")
    }
  }
  _ = PartitionNames(scan.usablePartitions ?? []).listed()
  if let plan = try? scan.repair() { check(plan, of: disk) }
  if let plan = try? scan.repair(from: .backup) { check(plan, of: disk) }
}

private func check(_ table: GPT) {
  let isSound = table.problems().isEmpty
  precondition(isSound == ((try? table.encode()) != nil), "problems() and encode() disagree")
  _ = try? table.freeRanges(alignmentByteCount: 4096)
  for partition in table.partitions { _ = (partition.byteRange(sectorSize: table.sectorSize), partition.name, partition.attributes.words) }
  var changed = table
  _ = try? changed.addPartition(type: .linux, uniqueGUID: GUID(high: 1, low: 1), size: .percentOfFree(50))
  if let first = changed.partitions.first {
    _ = try? changed.resizePartition(number: first.number, to: .largestFree)
    _ = try? changed.removePartitions(numbers: [first.number])
  }
  precondition(!isSound || changed.problems().isEmpty, "a sound table was made unsound")
}

/// Repaired, there is nothing left to repair.
private func check(_ plan: PartitionTableRepair, of disk: FuzzedDisk) {
  var repaired = disk
  for write in plan.steps.joined() {
    precondition(write.offsetBytes + UInt64(write.bytes.count) <= disk.byteCount, "a repair beyond the disk")
    repaired.written.append(write)
  }
  guard let table = plan.table else { return }
  let again = repaired.scan()
  precondition(again.gpt == table, "the repair did not make the table that it promised")
  precondition((try? again.repair())?.steps.isEmpty == true, "a repaired table wants another repair: \(again.findings)")
}

/// A disk of the fuzzer's bytes.
private struct FuzzedDisk {
  let head: [UInt8]
  let tail: [UInt8]
  let byteCount: UInt64
  let sectorSize: SectorSize
  var written: [DiskWrite] = []

  /// A sparse one is so large that its numbers need more than 32 bits; else head and tail lie side by side.
  init(_ bytes: [UInt8], _ sectorSize: SectorSize, isSparse: Bool, fixesChecksums: Bool) {
    self.sectorSize = sectorSize
    let unit = sectorSize.byteCount
    let sectors = bytes.count / unit
    let headSectors = sectors - sectors / 2
    var content = Array(bytes.prefix(sectors * unit))
    if fixesChecksums && sectors >= 4 { FuzzedDisk.fixChecksums(&content, unit) }
    head = Array(content[..<(headSectors * unit)])
    tail = Array(content[(headSectors * unit)...])
    byteCount = isSparse && sectors > 0 ? 1 << 44 : UInt64(content.count)
  }

  /// Of both headers in their standard places, and of as many entries as they claim, where those are among the bytes.
  private static func fixChecksums(_ content: inout [UInt8], _ unit: Int) {
    for header in [unit, content.count - unit] {
      let claimed = Int(content[header..<(header + 92)].uint32(at: 80)).multipliedReportingOverflow(
        by: Int(content[header..<(header + 92)].uint32(at: 84)))
      let length = (claimed.partialValue + unit - 1) / unit * unit
      let start = header == unit ? 2 * unit : header - length
      if !claimed.overflow, start >= 0, start + claimed.partialValue <= content.count {
        content.store(CRC32.checksum(content[start..<(start + claimed.partialValue)]), at: header + 88)
      }
      content.store(UInt32(92), at: header + 12)
      content.store(GPTHeader.checksum(of: content[header..<(header + 92)]), at: header + 16)
    }
  }

  func scan() -> PartitionTableScan {
    PartitionTableScan.scan(diskByteCount: byteCount, sectorSize: sectorSize, read: read)
  }

  private func read(_ range: DiskByteRange) -> [UInt8]? {
    precondition(range.offsetBytes + UInt64(range.byteCount) <= byteCount, "a read beyond the disk")
    precondition(range.byteCount <= PartitionLimits.maximumEntryArrayByteCount, "a read of more than is meant")
    var bytes = [UInt8](repeating: 0, count: range.byteCount)
    copy(head, at: 0, into: &bytes, range)
    copy(tail, at: byteCount - UInt64(tail.count), into: &bytes, range)
    for write in written { copy(write.bytes, at: write.offsetBytes, into: &bytes, range) }
    return bytes
  }

  private func copy(_ source: [UInt8], at offset: UInt64, into bytes: inout [UInt8], _ range: DiskByteRange) {
    let start = max(offset, range.offsetBytes)
    let end = min(offset + UInt64(source.count), range.offsetBytes + UInt64(range.byteCount))
    guard start < end else { return }
    let from = Int(start - offset)
    bytes.replaceSubrange(
      Int(start - range.offsetBytes)..<Int(end - range.offsetBytes), with: source[from..<(from + Int(end - start))])
  }
}
