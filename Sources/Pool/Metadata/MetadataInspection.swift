import BlockDevice

/// Everything that one disk says of its pool, for `spaceport inspect`: whatever state the disk is in, and without writing to it.
public struct MetadataInspection: Sendable, Codable {
  public struct Place: Sendable, Codable {
    public var offset: UInt64
    /// "good", "empty", or what is wrong.
    public var state: String
    public var sequence: UInt64?
  }

  public struct SuperblockSummary: Sendable, Codable {
    public var pool: PoolID
    public var poolName: String
    public var disk: DiskID
    public var diskNumber: DiskNumber
    public var sequence: UInt64
    public var isClosedCleanly: Bool
    public var isVoter: Bool
    public var features: FeatureFlags
    public var ownerTerm: UInt64
    public var ownerNode: NodeID
    public var fencingKey: UInt64
    public var nonce: UInt64
    public var committedNonce: UInt64
    public var createdSeconds: UInt64
    public var logicalSector: UInt32
    public var physicalSector: UInt32
    public var epoch: MembershipEpoch
    public var layout: DiskLayout
  }

  public struct RootSummary: Sendable, Codable {
    public var sequence: UInt64
    public var ownerTerm: UInt64
    public var applied: UInt64
    public var committed: UInt64
    public var journalPosition: UInt64
    public var pageCount: UInt32
    public var recordCount: UInt64
  }

  public struct JournalSummary: Sendable, Codable {
    public struct Entry: Sendable, Codable {
      public var sequence: UInt64
      public var position: UInt64
      public var term: UInt64
      public var committed: UInt64
      public var changeCount: Int
      public var byteCount: Int
    }

    /// Those that continue the checkpoint.
    public var entries: [Entry] = []
    public var lastSequence: UInt64
    /// What the entries on this disk prove to have been promised.
    public var committed: UInt64
    /// Where the next entry would go, and what is there.
    public var endPosition: UInt64
  }

  public struct RecordSummary: Sendable, Codable {
    public var kind: String
    public var key: String
    public var page: Int?
    public var fields: [String: String]
  }

  public struct Finding: Sendable, Codable, Equatable {
    public enum Severity: String, Sendable, Codable { case note, warning, error }
    public var severity: Severity
    public var text: String
  }

  public var label: String
  public var diskByteCount: UInt64
  public var superblockPlaces: [Place] = []
  public var superblock: SuperblockSummary?
  public var dataSignature: String?
  public var rootPlaces: [Place] = []
  public var root: RootSummary?
  public var pageCount = 0
  public var badPages: [Int] = []
  public var journal: JournalSummary?
  /// Of a cache disk that was used.
  public var cache: CacheSummary?
  /// How many records there are of each kind, the journal included.
  public var recordCounts: [String: Int] = [:]
  /// Pool, disks and virtual disks in full, rows and map entries up to the limit asked for.
  public var records: [RecordSummary] = []
  public var findings: [Finding] = []
  /// Something on the disk says, or cannot be read so may have said, that it is a pool's: else it is sound as what it is.
  public var hasTraces = false

  public var isSound: Bool { !findings.contains { $0.severity == .error } }

  /// - Parameter rowLimit: how many rows, and how many map entries, are listed.
  public static func inspect(_ device: BlockDevice, rowLimit: Int = 100) async -> MetadataInspection {
    var inspection = MetadataInspection(label: device.label, diskByteCount: device.geometry.byteCount)
    let report = await SuperblockIO.read(device)
    inspection.describe(report)
    guard let superblock = report.newest else {
      inspection.add(.error, "No whole superblock: this is no disk of a pool, or all four copies are gone.")
      return inspection
    }
    let disk = PoolDisk(device: device, superblock: superblock)
    inspection.describe(superblock, isVoter: disk.isVoter)
    await inspection.readSignature(disk)
    if !superblock.features.isReadable {
      inspection.add(
        .error, "The pool has features that this program does not know (\(hex(superblock.features.unknownIncompatible))): use a newer one.")
    }
    if disk.layout.dataEnd > device.geometry.byteCount {
      inspection.add(
        .error, "The disk was cut short: its layout reaches to \(disk.layout.dataEnd), it has \(device.geometry.byteCount) bytes.")
    }
    guard disk.isVoter else {
      await inspection.readCache(disk)
      inspection.add(.note, "This disk holds no metadata beside its superblock; these do: \(superblock.epoch.voters.map(\.description)).")
      return inspection
    }
    await inspection.readMetadata(disk, rowLimit: rowLimit)
    return inspection
  }

  init(label: String, diskByteCount: UInt64) {
    self.label = label
    self.diskByteCount = diskByteCount
  }

  mutating func add(_ severity: Finding.Severity, _ text: String) { findings.append(Finding(severity: severity, text: text)) }

  // MARK: Superblocks

  private mutating func describe(_ report: SuperblockReport) {
    for place in report.places {
      switch place.outcome {
      case .bad(.empty), .bad(.wrongMagic): break
      default: hasTraces = true
      }
      switch place.outcome {
      case .good(let superblock):
        superblockPlaces.append(Place(offset: place.offset, state: "good", sequence: superblock.sequence))
      case .bad(let error):
        superblockPlaces.append(Place(offset: place.offset, state: error.description))
        if error != .empty || report.newest != nil { add(.warning, "The superblock copy at \(place.offset) is bad: \(error).") }
      case .unreadable(let error):
        superblockPlaces.append(Place(offset: place.offset, state: error.description))
        add(.error, "The superblock copy at \(place.offset) cannot be read: \(error).")
      }
    }
  }

  private mutating func describe(_ superblock: Superblock, isVoter: Bool) {
    self.superblock = SuperblockSummary(
      pool: superblock.pool, poolName: superblock.poolName, disk: superblock.disk, diskNumber: superblock.diskNumber,
      sequence: superblock.sequence, isClosedCleanly: superblock.isClosedCleanly, isVoter: isVoter, features: superblock.features,
      ownerTerm: superblock.ownerTerm, ownerNode: superblock.ownerNode, fencingKey: superblock.fencingKey, nonce: superblock.nonce,
      committedNonce: superblock.committedNonce, createdSeconds: superblock.createdSeconds, logicalSector: superblock.logicalSector,
      physicalSector: superblock.physicalSector, epoch: superblock.epoch, layout: superblock.layout)
    if !superblock.isClosedCleanly { add(.note, "The pool was not closed: it is open, or the machine stopped.") }
  }

  private mutating func readSignature(_ disk: PoolDisk) async {
    do throws(BlockError) {
      let block = try await MetadataIO.read(disk.device, at: disk.layout.dataSignatureOffset, byteCount: FormatLimits.blockByteCount)
      do throws(FormatError) {
        try DataSignature.check(block.bytes.readOnly, owner: disk.owner)
        dataSignature = "good"
      } catch {
        dataSignature = error.description
        add(.warning, "The signature at the head of the data partition is bad: \(error).")
      }
    } catch {
      dataSignature = error.description
      add(.warning, "The signature at the head of the data partition cannot be read: \(error).")
    }
  }

  // MARK: Checkpoint and journal

  private mutating func readMetadata(_ disk: PoolDisk, rowLimit: Int) async {
    await readRoots(disk)
    let load = VoterLoad(disk)
    await load.read()
    defer { for damage in load.damage { add(.error, "\(damage).") } }
    guard let root = load.root else { return }
    self.root = RootSummary(
      sequence: root.sequence, ownerTerm: root.ownerTerm, applied: root.applied, committed: root.committed,
      journalPosition: root.journalPosition, pageCount: root.pageCount, recordCount: root.recordCount)
    describe(load.journal, load.committed)
    guard load.references.count == disk.layout.pageCount else { return }
    let pages = PageStore(pageCount: disk.layout.pageCount, secret: disk.device.reactor.random())
    var present = 0
    var bad: [Int] = []
    var doubled: [Int] = []
    await load.forEachPage { page, bytes, used in
      if !load.references[page].isNone { present += 1 }
      if let bytes {
        if !pages.load(bytes, page: page, used: used) { doubled.append(page) }
      } else if !load.references[page].isNone {
        bad.append(page)
      }
    }
    pageCount = present
    badPages = bad
    for page in doubled { add(.error, "Page \(page) holds a record that another page holds too.") }
    replay(load, pages)
    var check = RecordCheck(disk: disk, rowLimit: rowLimit)
    check.examine(pages)
    recordCounts = check.counts
    records = check.records
    findings += check.findings
  }

  private mutating func readRoots(_ disk: PoolDisk) async {
    for (place, offset) in disk.layout.rootOffsets.enumerated() {
      do throws(BlockError) {
        let block = try await MetadataIO.read(disk.device, at: offset, byteCount: CheckpointRoot.byteCount)
        do throws(FormatError) {
          let root = try CheckpointRoot(block.bytes.readOnly, owner: disk.owner, layout: disk.layout, place: place)
          rootPlaces.append(Place(offset: offset, state: "good", sequence: root.sequence))
        } catch {
          rootPlaces.append(Place(offset: offset, state: error.description))
          if error != .empty { add(.warning, "The checkpoint root at \(offset) is bad: \(error).") }
        }
      } catch {
        rootPlaces.append(Place(offset: offset, state: error.description))
        add(.error, "The checkpoint root at \(offset) cannot be read: \(error).")
      }
    }
  }

  private mutating func describe(_ scan: JournalScan?, _ committed: UInt64) {
    guard let scan else { return }
    var summary = JournalSummary(lastSequence: scan.lastSequence, committed: committed, endPosition: scan.position)
    for entry in scan.entries {
      summary.entries.append(
        JournalSummary.Entry(
          sequence: entry.header.sequence, position: entry.header.position, term: entry.header.term, committed: entry.header.committed,
          changeCount: entry.header.changeCount, byteCount: entry.header.coveredByteCount))
    }
    journal = summary
    if committed > scan.lastSequence {
      add(.error, "The journal ends at entry \(scan.lastSequence), but up to \(committed) was promised: entries are damaged or missing.")
    }
  }

  private mutating func replay(_ load: VoterLoad, _ pages: PageStore) {
    guard let ring = load.ring else { return }
    for entry in load.journal?.entries ?? [] {
      do throws(FormatError) { try entry.apply(to: pages, from: ring.bytes.readOnly) } catch {
        // With pages missing, changes to their records find nothing: said once, the rest would be noise.
        return add(.error, "Entry \(entry.header.sequence) of the journal cannot be applied: \(error). What follows it is not shown.")
      }
    }
  }
}
