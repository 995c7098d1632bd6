extension GPT {
  /// Throws the first of `problems()`.
  public func validate() throws(GPTError) {
    if let problem = problems().first { throw problem }
  }

  /// Everything that keeps the table from being written: bounds, overlaps, duplicates, names. Empty for a sound table.
  public func problems() -> [GPTError] {
    var found: [GPTError] = []
    // Of a table read from a disk, the usable range was only checked against the copy it came from.
    let allowedFirst = LBA(max(2, primaryEntriesLBA.value) + arraySectorCount)
    if firstUsableLBA < allowedFirst || lastUsableLBA >= backupEntriesLBA || lastUsableLBA < firstUsableLBA {
      found.append(
        .usableRangeInvalid(
          first: firstUsableLBA, last: lastUsableLBA, allowedFirst: allowedFirst, allowedLast: LBA(backupEntriesLBA.value - 1)))
    }
    for partition in partitions { appendProblems(of: partition, to: &found) }
    appendDuplicates(to: &found)
    appendOverlaps(to: &found)
    return found
  }

  private func appendProblems(of partition: GPTPartition, to found: inout [GPTError]) {
    let number = partition.number
    if !(1...entryCount).contains(number) { found.append(.numberInvalid(number, entryCount: entryCount)) }
    if partition.type == .zero { found.append(.typeIsZero(number: number)) }
    if partition.uniqueGUID == .zero { found.append(.uniqueGUIDIsZero(number: number)) }
    if partition.nameUnits.count > PartitionLimits.nameUnitCount {
      found.append(.nameTooLong(number: number, unitCount: partition.nameUnits.count))
    }
    if partition.nameUnits.contains(0) { found.append(.nameHoldsNUL(number: number)) }
    if partition.lastLBA < partition.firstLBA {
      found.append(.partitionReversed(number: number, first: partition.firstLBA, last: partition.lastLBA))
    } else if partition.firstLBA < firstUsableLBA || partition.lastLBA > lastUsableLBA {
      found.append(
        .partitionOutOfBounds(
          number: number, first: partition.firstLBA, last: partition.lastLBA, usableFirst: firstUsableLBA, usableLast: lastUsableLBA))
    }
  }

  private func appendDuplicates(to found: inout [GPTError]) {
    var holders: [GUID: Int] = [:]
    var numbers: Set<Int> = []
    for partition in partitions {
      if !numbers.insert(partition.number).inserted { found.append(.numberInUse(partition.number)) }
      guard partition.uniqueGUID != .zero else { continue }
      if let first = holders[partition.uniqueGUID] {
        found.append(.uniqueGUIDTwice(partition.uniqueGUID, first: first, second: partition.number))
      } else {
        holders[partition.uniqueGUID] = partition.number
      }
    }
  }

  private func appendOverlaps(to found: inout [GPTError]) {
    guard partitions.count > 1 else { return }
    let ordered = partitions.filter { $0.lastLBA >= $0.firstLBA }.sorted { ($0.firstLBA, $0.number) < ($1.firstLBA, $1.number) }
    // Compare with whichever partition so far reaches farthest: a long one may overlap more than its neighbour.
    var farthest: GPTPartition?
    for partition in ordered {
      if let farthest, partition.firstLBA <= farthest.lastLBA {
        found.append(.partitionsOverlap(first: farthest.number, second: partition.number))
      }
      if partition.lastLBA >= farthest?.lastLBA ?? 0 { farthest = partition }
    }
  }
}
