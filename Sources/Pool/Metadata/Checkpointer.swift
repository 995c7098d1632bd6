import BlockDevice
import Reactor

/// Writes a checkpoint to one voter: first pages and page tables into the slots that the present checkpoint does not use, flushed, then
/// the root. Until the root is whole on the disk, the checkpoint before it is.
struct VoterCheckpoint {
  let voter: Voter
  let pages: PageStore
  /// All but the tables, which differ from voter to voter.
  let root: CheckpointRoot
  let changed: PageSet

  func write() async throws(BlockError) {
    guard let buffer = voter.pageBuffer else { throw BlockError(.shuttingDown) }
    var references = voter.references
    var all = changed
    all.formUnion(voter.lacking)
    try await writePages(all.sorted, buffer, &references)
    let tables = try await writeTables(all, references, buffer)
    try await voter.device.flush(MetadataIO.request)
    var root = root
    root.tables = tables
    root.pageCount = UInt32(references.lazy.filter { !$0.isNone }.count)
    let slice = buffer.part(from: 0, byteCount: CheckpointRoot.byteCount)
    root.encode(slice.bytes, owner: voter.owner)
    try await voter.device.write(at: voter.layout.rootOffsets[root.place], from: slice, MetadataIO.durable)
    voter.references = references
    voter.tables = tables
    voter.lacking = PageSet()
  }

  private func writePages(_ list: [Int], _ buffer: BufferSlice, _ references: inout [PageReference]) async throws(BlockError) {
    var parts: [IOPart] = []
    for page in list {
      let slice = buffer.part(from: parts.count * FormatLimits.pageByteCount, byteCount: FormatLimits.pageByteCount)
      guard let fill = pages.copyFrozen(page, to: slice.bytes) else {
        references[page] = .none
        continue
      }
      let slot = references[page].otherSlot
      let checksum = RecordPage.seal(
        slice.bytes, owner: voter.owner, sequence: root.sequence, page: page, usedByteCount: fill.usedByteCount,
        recordCount: fill.recordCount)
      references[page] = PageReference(sequence: root.sequence, checksum: checksum, slot: slot)
      parts.append(
        IOPart(.write, voter.device, at: voter.layout.pageOffset(page, slot: Int(slot)), slice: slice))
      if parts.count == StoreLimits.checkpointDepth { try await flushParts(&parts) }
    }
    try await flushParts(&parts)
  }

  private func flushParts(_ parts: inout [IOPart]) async throws(BlockError) {
    guard !parts.isEmpty else { return }
    let errors = await MetadataIO.inParallel(parts) { (part: IOPart) async throws(BlockError) in try await part.perform(MetadataIO.request)
    }
    parts.removeAll(keepingCapacity: true)
    if let error = errors.lazy.compactMap({ $0 }).first { throw error }
  }

  private func writeTables(
    _ changed: PageSet, _ references: [PageReference], _ buffer: BufferSlice
  ) async throws(BlockError) -> [PageReference] {
    var tables = voter.tables
    let size = FormatLimits.entriesPerPageTable
    let slice = buffer.part(from: 0, byteCount: PageTablePage.byteCount)
    for index in Set(changed.sorted.map { $0 / size }).sorted() {
      let entries = references[index * size..<min((index + 1) * size, references.count)]
      let slot = tables[index].otherSlot
      let checksum = PageTablePage.encode(slice.bytes, entries, owner: voter.owner, sequence: root.sequence, index: index)
      tables[index] = PageReference(sequence: root.sequence, checksum: checksum, slot: slot)
      try await voter.device.write(at: voter.layout.pageTableOffset(index, slot: Int(slot)), from: slice, MetadataIO.request)
    }
    return tables
  }
}
