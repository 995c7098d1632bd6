import BlockDevice

/// What a voter's journal holds: the chain of entries behind its checkpoint, and whatever else proves how far the pool has come.
struct JournalScan {
  struct Entry {
    var header: JournalEntryHeader
    var chainAfter: UInt32

    /// Makes the entry's changes to the records; `ring` is the whole journal that it was found in.
    func apply(to pages: PageStore, from ring: UnsafeRawBufferPointer) throws(FormatError) {
      let changes = try header.changes(ring.part(from: Int(header.position), byteCount: header.coveredByteCount))
      var plan = ChangePlan(pages)
      do throws(MetadataError) { try plan.add(changes, reservedPageCount: 0) } catch { throw .invalid("change: \(error.message)") }
      plan.apply()
    }
  }

  /// In order, each continuing the one before.
  private(set) var entries: [Entry] = []
  /// Where the next entry would go.
  private(set) var position: UInt64
  private(set) var lastSequence: UInt64
  private(set) var chain: UInt32
  /// The highest entry that any valid entry on this disk calls committed.
  private(set) var committed: UInt64 = 0
  /// The highest number of a valid entry anywhere in the journal.
  private(set) var highestSequence: UInt64 = 0

  /// - Parameter ring: the whole journal; may be anything.
  init(_ ring: UnsafeRawBufferPointer, root: CheckpointRoot, owner: StructureOwner) {
    position = root.journalPosition
    lastSequence = root.applied
    chain = root.chain
    while let entry = next(ring, root.ownerTerm, owner) {
      if PlantedBug.oldJournalLapReplayed.isPlanted && entry.header.position == entries.first?.header.position { break }
      entries.append(entry)
      position = entry.header.position + UInt64(entry.header.paddedByteCount)
      if position >= UInt64(ring.count) { position = 0 }
      lastSequence = entry.header.sequence
      chain = entry.chainAfter
    }
    survey(ring, owner)
  }

  /// The entry after the last: where that one ended, or at the beginning when it did not fit before the end.
  private func next(_ ring: UnsafeRawBufferPointer, _ term: UInt64, _ owner: StructureOwner) -> Entry? {
    for start in position == 0 ? [0] : [position, 0] {
      let rest = ring.part(from: Int(start), byteCount: ring.count - Int(start))
      guard let header = JournalScan.header(rest, owner, start), header.term == term,
        (header.sequence == lastSequence + 1 && header.chainBefore == chain) || isOldLap(header, start)
      else { continue }
      // Only an entry that did not fit may lie at the beginning instead.
      if start != position, UInt64(header.paddedByteCount) <= UInt64(ring.count) - position { continue }
      let changes = rest.part(from: JournalEntryHeader.byteCount, byteCount: header.changesByteCount)
      return Entry(header: header, chainAfter: header.chainAfter(changes: changes))
    }
    return nil
  }

  /// Never so, but for the bug that can be planted.
  private func isOldLap(_ header: JournalEntryHeader, _ start: UInt64) -> Bool {
    PlantedBug.oldJournalLapReplayed.isPlanted && start == position && start > 0 && header.sequence <= lastSequence
  }

  private static func header(_ bytes: UnsafeRawBufferPointer, _ owner: StructureOwner, _ position: UInt64) -> JournalEntryHeader? {
    do throws(FormatError) { return try JournalEntryHeader(bytes, owner: owner, position: position) } catch { return nil }
  }

  /// Looks at every place where an entry could begin. What an entry of an earlier term or lap calls committed is so still.
  private mutating func survey(_ ring: UnsafeRawBufferPointer, _ owner: StructureOwner) {
    var offset = 0
    while offset + FormatLimits.blockByteCount <= ring.count {
      let rest = ring.part(from: offset, byteCount: ring.count - offset)
      if let header = JournalScan.header(rest, owner, UInt64(offset)) {
        committed = max(committed, header.committed)
        highestSequence = max(highestSequence, header.sequence)
      }
      offset += FormatLimits.blockByteCount
    }
  }
}
