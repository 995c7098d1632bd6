/// How far the extended boot records have been followed.
struct LogicalPartitionChain {
  /// Extended partitions that are still to be looked at; the first of them now.
  var containers: ArraySlice<MBRPartition>
  /// The next record in the first container; nil where its chain has not begun.
  var next: LBA?
  var visited: Set<LBA> = []
  /// Of the next logical partition.
  var number = 5
}

extension PartitionTableDecoder {
  /// Follows the extended boot records of every extended partition. A record names one logical partition, relative to itself, and the
  /// next record, relative to the extended partition; a hostile chain may point anywhere, so every step is checked.
  mutating func decodeLogicalPartitions() throws(BytesNeeded) {
    guard let extended = scan.mbr?.partitions.filter(\.isExtended) else { return }
    var chain = self.chain ?? LogicalPartitionChain(containers: extended[...])
    defer { self.chain = chain }
    while let container = chain.containers.first {
      chain.next = chain.next ?? container.firstLBA
      while let lba = chain.next {
        // What is not fetched yet is fetched before anything is noted.
        let isInside = lba >= container.firstLBA && lba <= container.lastLBA && lba.value > 0 && lba.value < source.sectorCount
        let record = isInside ? try source.sectors(lba) : nil
        chain.next = nil
        guard isInside else {
          scan.findings.append(.ebrOutOfBounds(lba))
          break
        }
        guard chain.visited.count < PartitionLimits.maximumLogicalPartitions else {
          scan.findings.append(.ebrChainTooLong(maximum: PartitionLimits.maximumLogicalPartitions))
          chain.containers = []
          return
        }
        guard chain.visited.insert(lba).inserted else {
          scan.findings.append(.ebrLoop(lba))
          break
        }
        guard let record else {
          scan.findings.append(.ebrUnreadable(lba))
          break
        }
        guard record.uint16(at: MBR.signatureOffset) == MBR.signature else {
          scan.findings.append(.ebrSignatureMissing(lba))
          break
        }
        chain.next = take(record, at: lba, container: container, number: &chain.number)
      }
      chain.containers.removeFirst()
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
        if partition.firstLBA < container.firstLBA || partition.lastLBA > container.lastLBA {
          scan.findings.append(.logicalPartitionOutsideExtended(number: partition.number))
        }
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
    let real = partitions.filter { $0.type != MBR.protectiveType }
    appendOverlaps(real.filter { $0.number <= 4 })
    appendOverlaps(real.filter { !$0.isExtended })
  }

  private mutating func appendOverlaps(_ partitions: [MBRPartition]) {
    var farthest: MBRPartition?
    for partition in partitions.sorted(by: { ($0.firstLBA, $0.number) < ($1.firstLBA, $1.number) }) {
      if let farthest, partition.firstLBA <= farthest.lastLBA {
        let finding = PartitionTableFinding.mbrPartitionsOverlap(first: farthest.number, second: partition.number)
        if !scan.findings.contains(finding) { scan.findings.append(finding) }
      }
      if partition.lastLBA >= farthest?.lastLBA ?? 0 { farthest = partition }
    }
  }
}
