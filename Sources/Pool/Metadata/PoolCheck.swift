import BlockDevice
import Reactor

/// What a check of a pool's metadata found: each voter's by itself, whether they agree, and whether the records agree with each other.
/// Nothing is written.
public struct PoolCheck: Sendable, Codable {
  public typealias Finding = MetadataInspection.Finding

  public struct Disk: Sendable, Codable {
    public var label: String
    public var number: DiskNumber
    public var isVoter: Bool
    /// Of a voter: the last change that it holds.
    public var lastSequence: UInt64?
    public var findings: [Finding] = []
  }

  public var poolName: String
  public var epochNumber: UInt64
  public var disks: [Disk] = []
  /// Of the pool as a whole.
  public var findings: [Finding] = []
  /// How many records of each kind there are.
  public var recordCounts: [String: Int] = [:]

  public var isSound: Bool { !(findings + disks.flatMap(\.findings)).contains { $0.severity == .error } }

  public mutating func add(_ severity: Finding.Severity, _ text: String) { findings.append(Finding(severity: severity, text: text)) }
}

extension MetadataStore {
  /// Reads everything again from the disks and checks it. Commits go on meanwhile, checkpoints wait.
  func check() async -> PoolCheck {
    if state == .readOnly { return await PoolChecker(self).check() }
    while isCheckpointing { await withUnsafeContinuation { checkpointWaiters.append($0) } }
    isCheckpointing = true
    defer { endCheckpoint() }
    return await PoolChecker(self).check()
  }
}

/// One check. The voters' checkpoints must stay as they are until it is over; their journals may grow.
private struct PoolChecker {
  private let store: MetadataStore
  private let voters: Set<DiskID>
  /// The last change that every voter must hold.
  private let promised: UInt64
  private var check: PoolCheck

  init(_ store: MetadataStore) {
    self.store = store
    voters = Set(store.epoch.voters)
    promised = store.lastSequence.value
    check = PoolCheck(poolName: store.poolName, epochNumber: store.epoch.number)
  }

  func check() async -> PoolCheck {
    var checker = self
    await checker.run()
    return checker.check
  }

  private mutating func run() async {
    var common = UInt64.max
    var usable: [(index: Int, disk: PoolDisk)] = []
    for disk in store.disks.sorted(by: { $0.number < $1.number }) {
      var report = PoolCheck.Disk(label: disk.label, number: disk.number, isVoter: voters.contains(disk.id))
      await checkIdentity(disk, &report)
      if report.isVoter, let last = await checkJournal(disk, &report) {
        common = min(common, last)
        usable.append((check.disks.count, disk))
      }
      check.disks.append(report)
    }
    await compare(usable, upTo: common)
    await checkMembership()
  }

  private func note(_ report: inout PoolCheck.Disk, _ severity: PoolCheck.Finding.Severity, _ text: String) {
    report.findings.append(PoolCheck.Finding(severity: severity, text: text))
  }

  // MARK: Each disk by itself

  private func checkIdentity(_ disk: PoolDisk, _ report: inout PoolCheck.Disk) async {
    let found = await SuperblockIO.read(disk.device)
    for offset in found.damagedOffsets { note(&report, .error, "The superblock copy at \(offset) is damaged or cannot be read.") }
    guard let superblock = found.newest else { return note(&report, .error, "There is no whole superblock any more.") }
    if superblock.disk != disk.id || superblock.pool != store.pool {
      note(&report, .error, "The superblock names another disk or pool: \(superblock.disk) of \(superblock.pool).")
    }
    let own = superblock.epoch
    if own.id != store.epoch.id {
      note(&report, .warning, "It knows epoch \(own.number), the pool is at \(store.epoch.number): it hears of it at the next opening.")
    }
    do throws(BlockError) {
      let block = try await MetadataIO.read(disk.device, at: disk.layout.dataSignatureOffset, byteCount: FormatLimits.blockByteCount)
      do throws(FormatError) { try DataSignature.check(block.bytes.readOnly, owner: disk.owner) } catch {
        note(&report, .warning, "The signature at the head of the data partition is bad: \(error).")
      }
    } catch { note(&report, .error, "The head of the data partition cannot be read: \(error).") }
  }

  /// The last change that the voter can show; nil where it is not whole.
  private func checkJournal(_ disk: PoolDisk, _ report: inout PoolCheck.Disk) async -> UInt64? {
    let load = VoterLoad(disk)
    await load.read()
    report.lastSequence = load.lastSequence
    for damage in load.damage { note(&report, .error, "\(damage.capitalizedFirst).") }
    guard load.isUsable else { return nil }
    if load.lastSequence < max(promised, load.committed) {
      note(&report, .error, "Its journal ends at change \(load.lastSequence), and \(max(promised, load.committed)) was promised.")
      return nil
    }
    return load.lastSequence
  }

  // MARK: All voters together

  /// What the records of one kind are, whatever order they are in.
  private struct Digest: Equatable {
    var count = 0
    var sum = 0
  }

  /// Brings each voter's checkpoint up to the same change and compares what comes of it.
  private mutating func compare(_ voters: [(index: Int, disk: PoolDisk)], upTo sequence: UInt64) async {
    var first: (label: String, digests: [RecordKind: Digest])?
    for (index, disk) in voters {
      let load = VoterLoad(disk)
      await load.read()
      guard load.isUsable, let pages = await records(of: load, upTo: sequence, &check.disks[index]) else { continue }
      let digests = PoolChecker.digests(pages)
      guard let (label, expected) = first else {
        first = (disk.label, digests)
        examine(pages, disk)
        continue
      }
      let kinds = Set(digests.keys).union(expected.keys).filter { digests[$0] != expected[$0] }.map(\.description).sorted()
      if !kinds.isEmpty {
        check.add(
          .error,
          "\(label) and \(disk.label) do not hold the same: they differ in \(kinds.joined(separator: ", ")) as of change \(sequence).")
      }
    }
    if first == nil { check.add(.error, "No voter that is there holds the metadata whole.") }
  }

  private func records(of load: VoterLoad, upTo sequence: UInt64, _ report: inout PoolCheck.Disk) async -> PageStore? {
    let pages = PageStore(pageCount: load.disk.layout.pageCount, secret: store.reactor.random())
    let known = load.damage.count
    let isGood = await load.fill(pages)
    for damage in load.damage.dropFirst(known) { note(&report, .error, "\(damage.capitalizedFirst).") }
    guard isGood, let ring = load.ring else { return nil }
    for entry in load.journal?.entries ?? [] where entry.header.sequence <= sequence {
      do throws(FormatError) { try entry.apply(to: pages, from: ring.bytes.readOnly) } catch {
        note(&report, .error, "Change \(entry.header.sequence) of its journal cannot be applied: \(error).")
        return nil
      }
    }
    return pages
  }

  private static func digests(_ pages: PageStore) -> [RecordKind: Digest] {
    var digests: [RecordKind: Digest] = [:]
    pages.forEach { view in
      var hasher = Hasher()
      hasher.combine(view.first)
      hasher.combine(view.second)
      hasher.combine(view.version)
      hasher.combine(bytes: view.value.readOnly)
      let kind = RecordKind(rawValue: view.kind)
      digests[kind, default: Digest()].count += 1
      digests[kind, default: Digest()].sum &+= hasher.finalize()
    }
    return digests
  }

  private mutating func examine(_ pages: PageStore, _ disk: PoolDisk) {
    var records = RecordCheck(disk: disk, rowLimit: 0)
    records.examine(pages)
    check.recordCounts = records.counts
    check.findings += records.findings
  }

  // MARK: Membership

  private mutating func checkMembership() async {
    let present = Set(store.disks.map(\.id))
    for voter in store.epoch.voters where !present.contains(voter) {
      check.add(.error, "The voter \(voter) of epoch \(store.epoch.number) is not there.")
    }
    for record in store.absentDisks {
      let path = record.pathHint.isEmpty ? "" : ", last seen as \(record.pathHint)"
      let what = record.usage == .cache ? ", a cache disk," : ""
      check.add(severity(record), "Disk \(record.number)\(what) of the pool is not there (\(record.id)\(path)).")
    }
    let records = store.diskNumbers.compactMap(store.diskRecord)
    for disk in store.setAside {
      let record = records.first { $0.id == disk.disk }
      check.add(severity(record), disk.reason.description)
    }
    if let problem = store.membershipProblem { check.add(.error, problem.description) }
    if let problem = store.failure { check.add(.error, problem.description) }
    if let basis = store.readingBasis {
      if !basis.isProvenNewest { check.add(.error, basis.sentences[1]) }
      for other in basis.others { check.add(.error, other) }
    }
    await checkWitness()
  }

  /// Nothing is lost with a cache disk, and a copy of one harms nobody.
  private func severity(_ record: DiskRecord?) -> PoolCheck.Finding.Severity { record?.usage == .cache ? .note : .error }

  private mutating func checkWitness() async {
    guard let device = store.witness?.device else { return }
    if let problem = store.witnessProblem {
      check.add(
        .warning,
        "The witness \(device.label) could not be written (\(problem)): it does not tell copies of the disks from before this opening from the "
          + "disks.")
    }
    do throws(BlockError) {
      let reading = try await Witness(device: device).read(pool: store.pool)
      for text in reading.notes { check.add(.warning, text) }
      if reading.epoch?.id != store.epoch.id {
        check.add(
          .error,
          "The witness knows \(reading.epoch.map { "epoch \($0.number) (\($0.id))" } ?? "no epoch of this pool"), the disks are at "
            + "\(store.epoch.number) (\(store.epoch.id)).")
      }
    } catch { check.add(.error, "The witness \(device.label) cannot be read: \(error).") }
  }
}
