/// Decodes all records and checks that they agree with each other.
struct RecordCheck {
  private let disk: PoolDisk
  private let rowLimit: Int
  private(set) var counts: [String: Int] = [:]
  private(set) var records: [MetadataInspection.RecordSummary] = []
  private(set) var findings: [MetadataInspection.Finding] = []

  private var pool: PoolRecord?
  private var disks: [DiskNumber: DiskRecord] = [:]
  private var virtualDisks: [VirtualDiskNumber: VirtualDiskRecord] = [:]
  private var rows: [RowID: (references: UInt32, owner: RowRecord.OwnerType)] = [:]
  /// Map entries that point at a row.
  private var references: [RowID: UInt32] = [:]
  /// Virtual disks that have map entries.
  private var mappedDisks: Set<VirtualDiskNumber> = []
  private var slabOwners: [UInt64: RowID] = [:]
  private var dirtyRows: [RowID] = []
  /// Of all slabs in use.
  private var generations: [UInt64] = []
  private var highestGeneration: UInt64 = 0
  private var listed: [RecordKind: Int] = [:]

  init(disk: PoolDisk, rowLimit: Int) {
    self.disk = disk
    self.rowLimit = rowLimit
  }

  mutating func examine(_ pages: PageStore) {
    var views: [RecordView] = []
    views.reserveCapacity(pages.recordCount)
    pages.forEach { views.append($0) }
    for view in views {
      counts[view.key.kind.description, default: 0] += 1
      do throws(FormatError) { try decode(view) } catch { add(.error, "The record \(view.key) cannot be read: \(error).") }
    }
    checkCounters()
    checkRows()
  }

  private mutating func add(_ severity: MetadataInspection.Finding.Severity, _ text: String) {
    if findings.count < PoolLimits.findingCount {
      findings.append(MetadataInspection.Finding(severity: severity, text: text))
    } else if findings.count == PoolLimits.findingCount {
      findings.append(MetadataInspection.Finding(severity: .error, text: "There are more findings than these."))
    }
  }

  private func record<Value: MetadataRecord>(_ view: RecordView, _ type: Value.Type = Value.self) throws(FormatError) -> Value {
    try Value(key: view.key, version: view.version, value: view.value.readOnly)
  }

  private mutating func list(_ view: RecordView, limit: Int = .max, _ fields: [String: String]) {
    let kind = view.key.kind
    guard listed[kind, default: 0] < limit else { return }
    listed[kind, default: 0] += 1
    records.append(MetadataInspection.RecordSummary(kind: kind.description, key: view.key.description, fields: fields))
  }

  private mutating func decode(_ view: RecordView) throws(FormatError) {
    switch view.key.kind {
    case .pool: try decodePool(view)
    case .disk: try decodeDisk(view)
    case .virtualDisk: try decodeVirtualDisk(view)
    case .map: try decodeMap(view)
    case .row: try decodeRow(view)
    case .dirtyRegions: try decodeDirtyRegions(view)
    case .job: try decodeJob(view)
    case .event: try decodeEvent(view)
    default: list(view, limit: rowLimit, ["byteCount": "\(view.valueByteCount)"])
    }
  }

  private mutating func decodePool(_ view: RecordView) throws(FormatError) {
    let record: PoolRecord = try record(view)
    pool = record
    if record.id != disk.superblock.pool {
      add(.error, "The pool's record names pool \(record.id), the superblock \(disk.superblock.pool).")
    }
    list(
      view,
      [
        "name": record.name, "id": "\(record.id)", "slabByteCount": "\(record.slabByteCount)", "nextRow": "\(record.nextRow)",
        "nextGeneration": "\(record.nextGeneration)", "nextVirtualDisk": "\(record.nextVirtualDisk)", "nextDisk": "\(record.nextDisk)",
        "ownerTerm": hex(record.ownerTerm), "ownerNode": "\(record.ownerNode)",
      ])
  }

  private mutating func decodeDisk(_ view: RecordView) throws(FormatError) {
    let record: DiskRecord = try record(view)
    disks[record.number] = record
    if record.id == disk.id, record.nonce != disk.superblock.nonce, record.nonce != disk.superblock.committedNonce {
      add(.error, "The pool's record of this disk has another nonce than its superblock: parts of it are from different times.")
    }
    list(
      view,
      [
        "id": "\(record.id)", "state": "\(record.state.rawValue)", "usage": "\(record.usage.rawValue)",
        "diskByteCount": "\(record.diskByteCount)", "slabCount": "\(record.slabCount)", "faultDomain": record.faultDomain,
        "pathHint": record.pathHint, "nonce": hex(record.nonce), "epochNumber": "\(record.epochNumber)",
        "leftAtSequence": "\(record.leftAtSequence)",
      ])
  }

  private mutating func decodeVirtualDisk(_ view: RecordView) throws(FormatError) {
    let record: VirtualDiskRecord = try record(view)
    virtualDisks[record.number] = record
    if !record.features.isReadable { add(.warning, "Virtual disk \(record.name) has features this program does not know.") }
    list(
      view,
      [
        "id": "\(record.id)", "name": record.name, "byteCount": "\(record.byteCount)", "state": "\(record.state.rawValue)",
        "provisioning": "\(record.provisioning.rawValue)", "resiliency": "\(record.resiliency.rawValue)", "columns": "\(record.columns)",
        "copies": "\(record.copies)", "interleave": "\(record.interleave)", "presenceChunkByteCount": "\(record.presenceChunkByteCount)",
        "logicalSector": "\(record.logicalSector)",
      ])
  }

  private mutating func decodeMap(_ view: RecordView) throws(FormatError) {
    let record: MapRecord = try record(view)
    references[record.row, default: 0] &+= 1
    mappedDisks.insert(VirtualDiskNumber(view.key.first))
    let bits = record.presence.reduce(0) { $0 + $1.nonzeroBitCount }
    list(view, limit: rowLimit, ["row": "\(record.row)", "chunksPresent": "\(bits) of \(record.presence.count * 8)"])
  }

  private mutating func decodeRow(_ view: RecordView) throws(FormatError) {
    let record: RowRecord = try record(view)
    rows[record.id] = (record.referenceCount, record.owner)
    if record.slabs.count != Int(record.columns) * Int(record.copies) {
      add(.error, "Row \(record.id) has \(record.slabs.count) slabs for \(record.columns) columns of \(record.copies) copies.")
    }
    var disksOfRow: Set<DiskNumber> = []
    // A copy that has no slab at present.
    for slab in record.slabs where slab.state != .absent {
      let place = UInt64(slab.disk.value) << 32 | UInt64(slab.number.value)
      if let other = slabOwners.updateValue(record.id, forKey: place) {
        add(.error, "Slab \(slab.number) of disk \(slab.disk) is used twice: by row \(other) and row \(record.id).")
      }
      if !disksOfRow.insert(slab.disk).inserted { add(.error, "Row \(record.id) has two slabs on disk \(slab.disk).") }
      highestGeneration = max(highestGeneration, slab.generation.value)
      generations.append(slab.generation.value)
    }
    let slabs = record.slabs.map { "\($0.disk):\($0.number)#\($0.generation)/\($0.state.rawValue)" }.joined(separator: " ")
    list(view, limit: rowLimit, ["owner": "\(record.owner.rawValue)", "references": "\(record.referenceCount)", "slabs": slabs])
  }

  private mutating func decodeDirtyRegions(_ view: RecordView) throws(FormatError) {
    let record: DirtyRegionsRecord = try record(view)
    dirtyRows.append(record.row)
    let count = record.regions.reduce(0) { $0 + $1.nonzeroBitCount }
    list(view, limit: rowLimit, ["regionByteCount": "\(record.regionByteCount)", "dirtyRegions": "\(count)"])
  }

  private mutating func decodeJob(_ view: RecordView) throws(FormatError) {
    let record: JobRecord = try record(view)
    list(
      view,
      [
        "kind": "\(record.jobKind)", "disk": "\(record.disk)", "doneByteCount": "\(record.doneByteCount)",
        "totalByteCount": "\(record.totalByteCount)",
      ])
  }

  private mutating func decodeEvent(_ view: RecordView) throws(FormatError) {
    let record: EventRecord = try record(view)
    list(
      view, limit: rowLimit,
      ["seconds": "\(record.seconds)", "name": record.name, "disk": "\(record.disk)", "message": record.message])
  }

  // MARK: Between records

  private mutating func checkCounters() {
    guard let pool else { return add(.error, "There is no record of the pool itself.") }
    if let highest = rows.keys.max(), highest >= pool.nextRow {
      add(.error, "Row \(highest) is not below the next row id \(pool.nextRow).")
    }
    if let highest = virtualDisks.keys.max(), highest >= pool.nextVirtualDisk {
      add(.error, "Virtual disk \(highest) is not below the next number \(pool.nextVirtualDisk).")
    }
    if let highest = disks.keys.max(), highest >= pool.nextDisk {
      add(.error, "Disk \(highest) is not below the next number \(pool.nextDisk).")
    }
    if highestGeneration >= pool.nextGeneration.value, highestGeneration > 0 {
      add(.error, "Slab generation \(highestGeneration) is not below the next one, \(pool.nextGeneration).")
    }
    if disks[disk.number]?.id != disk.id { add(.error, "The pool's records do not know this disk as disk \(disk.number).") }
  }

  private mutating func checkRows() {
    for disk in mappedDisks.subtracting(virtualDisks.keys).sorted() {
      add(.error, "There are map entries of virtual disk \(disk), which does not exist.")
    }
    generations.sort()
    for (one, next) in zip(generations, generations.dropFirst()) where one == next {
      add(.error, "Two slabs have the generation \(one): which of them is the older cannot be told.")
    }
    for (row, count) in references.sorted(by: { $0.key < $1.key }) where row != .none {
      guard let found = rows[row] else {
        add(.error, "A map entry points at row \(row), which does not exist.")
        continue
      }
      if found.references != count { add(.error, "Row \(row) counts \(found.references) references, the maps hold \(count).") }
    }
    for (row, found) in rows.sorted(by: { $0.key < $1.key }) where found.owner == .data && references[row] == nil {
      add(.error, "No map entry points at row \(row): its slabs are lost to the pool.")
    }
    for row in dirtyRows.sorted() where rows[row] == nil { add(.warning, "Row \(row) has dirty regions, but does not exist.") }
    for (place, row) in slabOwners.sorted(by: { $0.key < $1.key }) {
      let number = DiskNumber(UInt32(truncatingIfNeeded: place >> 32))
      let slab = UInt32(truncatingIfNeeded: place)
      guard let owner = disks[number] else {
        add(.error, "Row \(row) has a slab on disk \(number), which the pool does not know.")
        continue
      }
      if owner.usage == .cache { add(.error, "Row \(row) has slab \(slab) on disk \(number), which is a cache disk.") }
      if slab >= owner.slabCount { add(.error, "Row \(row) has slab \(slab) on disk \(number), which has only \(owner.slabCount).") }
    }
  }
}
