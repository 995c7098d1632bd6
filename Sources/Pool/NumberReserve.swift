/// Gives out the pool's numbers, which are never reused: whoever comes back from the past can be told by them. A commit carries the
/// counters along when they have moved, so that a number is durable as taken no later than what it names.
struct NumberReserve {
  private var row: UInt64
  private var generation: UInt64
  private var virtualDisk: UInt64
  private var isChanged = false

  init(_ record: PoolRecord) {
    row = record.nextRow.value
    generation = record.nextGeneration.value
    virtualDisk = record.nextVirtualDisk.value
  }

  mutating func takeRow() -> RowID {
    defer { row += 1 }
    isChanged = true
    return RowID(row)
  }

  mutating func takeGeneration() -> SlabGeneration {
    defer { generation += 1 }
    isChanged = true
    return SlabGeneration(generation)
  }

  mutating func takeVirtualDisk() -> VirtualDiskNumber {
    defer { virtualDisk += 1 }
    isChanged = true
    return VirtualDiskNumber(virtualDisk)
  }

  mutating func note(row id: RowID) { row = max(row, id.value + 1) }
  mutating func note(generation taken: SlabGeneration) { generation = max(generation, taken.value + 1) }

  /// After a commit that failed.
  mutating func reserveAgain() { isChanged = true }

  /// What a commit has to carry along; empty when nothing was given out since the last.
  mutating func reservation() -> [MetadataChange] {
    if !isChanged { return [] }
    isChanged = false
    // The three counters lie behind each other.
    let bytes = [row, generation, virtualDisk].flatMap(\.fieldBytes)
    return [.patch(PoolRecord.key, byteOffset: PoolRecord.Offset.nextRow, bytes: bytes)]
  }
}
