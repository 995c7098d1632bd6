import BlockDevice
import Reactor

/// Reads a pool's metadata into memory from the best voter, and judges the others. Writes nothing.
final class MetadataLoader {
  let members: PoolMembers
  private(set) var loads: [VoterLoad]
  private(set) var pages: PageStore
  private(set) var source: VoterLoad
  /// The last entry known to have been promised to anyone.
  private(set) var committed: UInt64
  /// Findings that did not stand in the way, in words.
  private(set) var notes: [String] = []
  /// For each voter, the pages of its checkpoint that differ from the source's; filled by `compareVoters`.
  private(set) var lacking: [DiskID: PageSet] = [:]
  /// Voters that lack what was committed, without a sign of damage.
  private(set) var staleVoters: [VoterLoad] = []

  static func load(_ members: PoolMembers, secret: UInt64) async throws(MetadataError) -> MetadataLoader {
    let voters = members.speakers
    guard !voters.isEmpty else { throw members.nobodySpeaks }
    let loads = voters.map(VoterLoad.init)
    _ = await MetadataIO.inParallel(loads) { (load: VoterLoad) async throws(BlockError) in await load.read() }
    let proven = loads.map(\.committed).max() ?? 0
    let committed = max(proven, members.witnessedEntry)
    let candidates = loads.filter { $0.isUsable && $0.lastSequence >= committed }.sorted { left, right in
      (left.lastSequence, left.root?.sequence ?? 0) > (right.lastSequence, right.root?.sequence ?? 0)
    }
    for candidate in candidates {
      let pages = PageStore(pageCount: candidate.disk.layout.pageCount, secret: secret)
      pages.reserve(recordCount: candidate.root?.recordCount ?? 0)
      if await candidate.fill(pages) {
        return try MetadataLoader(members, loads, pages, candidate, committed)
      }
    }
    let older = loads.filter { $0.isUsable && $0.lastSequence >= proven && $0.lastSequence < committed }
    throw older.isEmpty ? noGoodVoter(members, loads, committed) : witnessedPast(members, older)
  }

  private init(_ members: PoolMembers, _ loads: [VoterLoad], _ pages: PageStore, _ source: VoterLoad, _ committed: UInt64)
    throws(MetadataError)
  {
    self.members = members
    self.loads = loads
    self.pages = pages
    self.source = source
    self.committed = committed
    try compareHistories()
    for load in loads where load !== source && load.lastSequence < committed && !load.lacksByDamage(committed: committed) {
      staleVoters.append(load)
    }
  }

  private static func list(_ disks: [DiskID]) -> String { disks.map(\.description).joined(separator: ", ") }

  private static func noGoodVoter(_ members: PoolMembers, _ loads: [VoterLoad], _ committed: UInt64) -> MetadataError {
    let reasons = loads.map { load in
      let reason = load.damage.isEmpty ? "it ends at entry \(load.lastSequence) of \(committed)" : load.damage.joined(separator: "; ")
      return "\(load.disk.label): \(reason)"
    }
    let missing = members.missingVoters.isEmpty ? "" : " Not given: \(list(members.missingVoters))."
    return MetadataError(
      members.missingVoters.isEmpty ? .damaged : .disksMissing,
      "No disk holds pool \(members.poolName)'s metadata whole. \(reasons.joined(separator: ". ")).\(missing)",
      remedy: "Name all disks of the pool; `spaceport inspect DISK` shows what is left on each.")
  }

  /// Whole disks, but the witness knows that the pool had come further.
  private static func witnessedPast(_ members: PoolMembers, _ loads: [VoterLoad]) -> MetadataError {
    let pasts = loads.map { load in
      let damage = load.lacksByDamage(committed: members.witnessedEntry) ? ", or its metadata is damaged" : ""
      return "\(load.disk.label) is from the past, or a copy made then\(damage): it ends at entry \(load.lastSequence)"
    }
    let missing = members.missingVoters.isEmpty ? "" : " Not given: \(list(members.missingVoters))."
    return MetadataError(
      .stale,
      "\(pasts.joined(separator: "; ")). The witness knows that pool \(members.poolName) had come to entry \(members.witnessedEntry) on all of "
        + "its voters.\(missing)\(members.survey.setAsideText)",
      remedy: "Attach the disks that the pool was last used with: what they hold is newer. To go back to the older data for good, make the "
        + "server forget the newer (spaceport pool close \(members.poolName)) and open the pool again.")
  }

  /// Where two voters show the same entry, it must be the same entry.
  private func compareHistories() throws(MetadataError) {
    var chains: [UInt64: UInt32] = [:]
    if let root = source.root { chains[root.applied] = root.chain }
    for entry in source.journal?.entries ?? [] { chains[entry.header.sequence] = entry.chainAfter }
    for load in loads where load !== source {
      var others = (load.journal?.entries ?? []).map { ($0.header.sequence, $0.chainAfter) }
      if let root = load.root { others.append((root.applied, root.chain)) }
      for (sequence, chain) in others {
        guard let expected = chains[sequence], expected != chain else { continue }
        throw MetadataError(
          .split,
          "\(source.disk.label) and \(load.disk.label) tell different histories of pool \(members.poolName): entry \(sequence) differs.",
          remedy: "One of them was written without the other. Open the pool without the disk that went astray.")
      }
    }
  }

  // MARK: Bringing the pages up to date

  /// Reads the other voters' pages too, and notes where they are not the source's. Before `replay`.
  func compareVoters() async {
    let source = source
    let pages = pages
    let others = loads.filter { $0 !== source }
    var differences: [DiskID: PageSet] = [source.disk.id: PageSet()]
    let results = others.map { ($0, Differences()) }
    _ = await MetadataIO.inParallel(results) { (load: VoterLoad, found: Differences) async throws(BlockError) in
      guard load.isUsable else {
        for page in 0..<pages.pageCount where pages.isUsed(page) { found.pages.insert(page) }
        return
      }
      await load.forEachPage { page, bytes, used in
        let isSame: Bool
        if let bytes {
          isSame = pages.hasSameContent(page, as: bytes, used: used)
        } else {
          isSame = load.references[page].isNone && !pages.isUsed(page)
        }
        if !isSame { found.pages.insert(page) }
      }
    }
    for (load, found) in results { differences[load.disk.id] = found.pages }
    lacking = differences
    for load in loads where !load.damage.isEmpty {
      notes.append("\(load.disk.label): \(load.damage.joined(separator: "; "))")
    }
  }

  private final class Differences: @unchecked Sendable {  // reactor-confined
    var pages = PageSet()
  }

  /// Applies the journal to the pages.
  func replay() throws(MetadataError) {
    guard let journal = source.journal, let ring = source.ring else { return }
    for entry in journal.entries {
      do throws(FormatError) { try entry.apply(to: pages, from: ring.bytes.readOnly) } catch {
        throw MetadataError(
          .damaged, "Entry \(entry.header.sequence) of the journal on \(source.disk.label) cannot be used: \(error).",
          remedy: "This is a defect of the program that wrote it. `spaceport inspect` shows the entry; please report it.")
      }
    }
    for load in loads { load.dropRing() }
  }

  // MARK: What must hold before anything is written

  /// The records of the pool's disks.
  func diskRecords() throws(MetadataError) -> [DiskRecord] {
    var records: [DiskRecord] = []
    var failure: MetadataError?
    pages.forEach(.disk) { view in
      guard failure == nil else { return }
      do throws(FormatError) {
        records.append(try DiskRecord(key: view.key, version: view.version, value: view.value.readOnly))
      } catch {
        failure = MetadataError(
          .damaged, "The record of disk \(view.first) cannot be read: \(error).", remedy: "`spaceport inspect` shows it.")
      }
    }
    if let failure { throw failure }
    return records.sorted { $0.number < $1.number }
  }

  /// The disks that are there and must not be used, with the reason: from the past, evicted, or none of the pool's. After `replay`.
  func rejected(_ records: [DiskRecord]) -> [(disk: PoolDisk, reason: MetadataError)] {
    let known = Dictionary(records.map { ($0.id, $0) }) { first, _ in first }
    var rejected: [(disk: PoolDisk, reason: MetadataError)] = []
    for disk in members.disks {
      if let reason = reasonToReject(disk, known[disk.id]) { rejected.append((disk, reason)) }
    }
    return rejected
  }

  func reasonToReject(_ disk: PoolDisk, _ record: DiskRecord?) -> MetadataError? {
    guard let record, record.number == disk.number else {
      return MetadataError(
        .stale, "\(disk.label) says it is disk \(disk.number) of pool \(members.poolName), but the pool does not know it.",
        remedy: "Open the pool without it.")
    }
    if record.state == .removed {
      return MetadataError(
        .stale, "\(disk.label) was removed from pool \(members.poolName) (disk \(disk.number)).", remedy: "Wipe it to use it again.")
    }
    guard record.nonce == disk.superblock.nonce || record.nonce == disk.superblock.committedNonce else {
      return staleError(disk, "the pool was opened since without this copy of it")
    }
    if record.state == .evicted {
      return MetadataError(
        .evicted, "\(disk.label) was evicted from pool \(members.poolName) (disk \(disk.number), at epoch \(record.epochNumber)).",
        remedy: "It can be taken back once the pool is open.")
    }
    if let stale = staleVoters.first(where: { $0.disk === disk }) {
      return staleError(disk, "it ends at entry \(stale.lastSequence), the pool is at \(committed)")
    }
    return nil
  }

  /// All voters lay out the metadata in the same way.
  func checkLayouts() throws(MetadataError) {
    guard let first = loads.first?.disk else { return }
    for load in loads where !load.disk.layout.holdsSameMetadata(as: first.layout) {
      throw MetadataError(
        .damaged, "\(first.label) and \(load.disk.label) lay out the metadata differently.", remedy: "`spaceport inspect` shows both.")
    }
  }

  /// Disks that belong to the pool and are not there. With `lost` only those the operator has not given up.
  func missing(_ records: [DiskRecord], present: Set<DiskID>, lost: Set<DiskID> = []) -> [DiskRecord] {
    records.filter { $0.state != .removed && $0.state != .evicted && !present.contains($0.id) && !lost.contains($0.id) }
  }

  func missingError(_ missing: [DiskRecord]) -> MetadataError {
    var names = missing.map { "disk \($0.number) (\($0.id)\($0.pathHint.isEmpty ? "" : ", last seen as \($0.pathHint)"))" }
    let named = Set(missing.map(\.id))
    names += members.missingVoters.filter { !named.contains($0) && !members.lost.contains($0) }.map(\.description)
    let may = members.judgement.mayGoOn
    return MetadataError(
      .disksMissing,
      "Pool \(members.poolName) is not complete. Missing: \(names.joined(separator: "; ")).\(members.survey.setAsideText)",
      remedy: may
        ? "Name these disks as well, or attach them; the pool can go on without them."
        : "Name these disks as well, or attach them. The pool cannot prove that those present are its newest.",
      canOpenDegraded: may)
  }

  private func staleError(_ disk: PoolDisk, _ reason: String) -> MetadataError {
    MetadataError(
      .stale, "\(disk.label) is from the past or a copy: \(reason).",
      remedy: "Find the disk that it was copied from. What is on this one must not be used.")
  }
}
