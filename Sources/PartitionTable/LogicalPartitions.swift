extension PartitionTableDecoder {
  /// Follows the extended boot records of every extended partition. A record names one logical partition, relative to itself, and the
  /// next record, relative to the extended partition; a hostile chain may point anywhere, so every step is checked.
  mutating func decodeLogicalPartitions() throws(BytesNeeded) {
    guard let extended = scan.mbr?.partitions.filter(\.isExtended) else { return }
    var visited: Set<LBA> = []
    var number = 5
    for container in extended {
      var next: LBA? = container.firstLBA
      while let lba = next {
        next = nil
        guard lba >= container.firstLBA, lba <= container.lastLBA, lba.value > 0, lba.value < source.sectorCount else {
          scan.findings.append(.ebrOutOfBounds(lba))
          break
        }
        guard visited.count < PartitionLimits.maximumLogicalPartitions else {
          scan.findings.append(.ebrChainTooLong(maximum: PartitionLimits.maximumLogicalPartitions))
          return
        }
        guard visited.insert(lba).inserted else {
          scan.findings.append(.ebrLoop(lba))
          break
        }
        guard let record = try source.sectors(lba) else {
          scan.findings.append(.ebrUnreadable(lba))
          break
        }
        guard record.uint16(at: MBR.signatureOffset) == MBR.signature else {
          scan.findings.append(.ebrSignatureMissing(lba))
          break
        }
        scan.extendedRecords.append(lba)
        next = take(record, at: lba, container: container, number: &number)
      }
    }
  }

  /// Takes the logical partition out of a record; returns where the next record is.
  private mutating func take(_ record: ArraySlice<UInt8>, at lba: LBA, container: MBRPartition, number: inout Int) -> LBA? {
    var next: LBA?
    for index in 0..<4 {
      let entry = record.part(MBR.entriesOffset + 16 * index, 16)
      guard let partition = MBRPartition(entry: entry, number: number, base: lba.value) else { continue }
      if partition.isExtended {
        // The first link counts, as in Linux; its start is relative to the extended partition, which begins below 2^32.
        if next == nil { next = LBA(container.firstLBA.value + UInt64(entry.uint32(at: 8))) }
      } else {
        scan.mbr?.partitions.append(partition)
        number += 1
      }
    }
    return next
  }

  /// Bounds and overlaps. An extended partition is meant to overlap its logical ones, so it is left out of the comparison with those.
  mutating func checkMBRPartitions() {
    guard let partitions = scan.mbr?.partitions else { return }
    for partition in partitions where partition.lastLBA.value >= source.sectorCount {
      scan.findings.append(.mbrPartitionOutOfBounds(number: partition.number))
    }
    appendOverlaps(partitions.filter { $0.number <= 4 && $0.type != MBR.protectiveType })
    appendOverlaps(partitions.filter { $0.number > 4 })
  }

  private mutating func appendOverlaps(_ partitions: [MBRPartition]) {
    var farthest: MBRPartition?
    for partition in partitions.sorted(by: { ($0.firstLBA, $0.number) < ($1.firstLBA, $1.number) }) {
      if let farthest, partition.firstLBA <= farthest.lastLBA {
        scan.findings.append(.mbrPartitionsOverlap(first: farthest.number, second: partition.number))
      }
      if partition.lastLBA >= farthest?.lastLBA ?? 0 { farthest = partition }
    }
  }
}
