import Management
import Service

/// What `spaceport inspect` found, for a person.
struct InspectionReport {
  let inspection: DiskInspection
  /// Whether each record has a line: a pool has thousands.
  let listsRecords: Bool

  init(_ inspection: DiskInspection, listsRecords: Bool) {
    self.inspection = inspection
    self.listsRecords = listsRecords
  }

  var text: String {
    // What a disk lacks that is none of a pool's are no faults.
    inspection.isPoolDisk ? [identity, places, journal, records, findings].filter { !$0.isEmpty }.joined(separator: "\n\n") : identity
  }

  private var identity: String {
    var fields = Fields()
    fields.add("Disk", inspection.path)
    fields.add("Size", Figures.size(inspection.sizeBytes))
    fields.add("Partition table", inspection.partitionTable)
    if !inspection.isPoolDisk {
      fields.add("Carries", inspection.content.isEmpty ? "nothing that is known" : inspection.content.joined(separator: ", "))
    }
    guard let superblock = inspection.metadata.superblock else { return fields.text }
    fields.add("Pool", "\(superblock.poolName) (\(superblock.pool))")
    fields.add("Disk UUID", "\(superblock.disk), number \(superblock.diskNumber)")
    fields.add("Role", superblock.isVoter ? "voter" : "member")
    fields.add("Closed", superblock.isClosedCleanly ? "in order" : "no: open now, or interrupted")
    fields.add("Epoch", "\(superblock.epoch.number) (\(superblock.epoch.id)), \(superblock.epoch.diskCount) disks")
    let layout = superblock.layout
    fields.add("Metadata", "\(Figures.size(layout.metadataByteCount)) at byte \(layout.metadataOffset)")
    if inspection.metadata.cache == nil {
      fields.add("Data", "\(layout.slabCount) slabs of \(Figures.size(layout.slabByteCount)) from byte \(layout.slabsOffset)")
    }
    addCache(to: &fields)
    return fields.text
  }

  private func addCache(to fields: inout Fields) {
    guard let cache = inspection.metadata.cache else { return }
    fields.add("Cache", "\(cache.slotCount) page slots of \(Figures.size(UInt64(cache.pageByteCount)))")
    fields.add(
      "Cache closed", cache.isClosedCleanly ? "in order, with \(cache.pageCount) pages" : "no: in use, or interrupted; it will be empty")
    for binding in cache.bindings { fields.add("Caches", "disk \(binding.disk), nonce \(binding.nonce)") }
  }

  private var places: String {
    var table = Table(.left("STRUCTURE"), .right("BYTE"), .right("SEQUENCE"), .left("STATE"))
    for place in inspection.metadata.superblockPlaces {
      table.add("superblock", "\(place.offset)", place.sequence.map { "\($0)" } ?? "-", place.state)
    }
    for place in inspection.metadata.rootPlaces {
      table.add("checkpoint root", "\(place.offset)", place.sequence.map { "\($0)" } ?? "-", place.state)
    }
    for place in inspection.metadata.cache?.headers ?? [] {
      table.add("cache header", "\(place.offset)", place.sequence.map { "\($0)" } ?? "-", place.state)
    }
    return table.text
  }

  private var journal: String {
    guard let journal = inspection.metadata.journal else { return "" }
    let bad = inspection.metadata.badPages
    return """
      Journal: \(journal.entries.count) entries since the checkpoint, the last is number \(journal.lastSequence); committed up to \
      \(journal.committed).
      Record pages: \(inspection.metadata.pageCount)\(bad.isEmpty ? ", none damaged" : ", damaged: \(bad.map { "\($0)" }.joined(separator: ", "))").
      """
  }

  private var records: String {
    let counts = inspection.metadata.recordCounts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
    if counts.isEmpty { return "" }
    let hint = listsRecords ? "" : " (--records lists them)"
    var lines = ["Records: " + counts.joined(separator: ", ") + hint]
    for record in inspection.metadata.records where listsRecords {
      let fields = record.fields.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      lines.append(Printable.text("  \(record.key): \(fields.joined(separator: " "))"))
    }
    return lines.joined(separator: "\n")
  }

  private var findings: String {
    let found =
      inspection.partitionTableFindings.map { "error: partition table: \($0)" }
      + inspection.metadata.findings.map { "\($0.severity.rawValue): \($0.text)" }
    return found.isEmpty ? "No faults found." : "Findings:\n" + found.map { Printable.text("  " + $0) }.joined(separator: "\n")
  }
}
