import BlockDevice
import Reactor

/// For which state of a pool the disks speak that it is only read from, and what that state may lack.
public struct ReadingBasis: Sendable {
  public var epoch: MembershipEpoch
  /// Voters of that epoch that are there.
  public var presentVoterCount: Int
  /// By rules M nobody else can know better: all that was ever committed is known.
  public var isProvenNewest: Bool
  /// Disks of the pool, as far as these know, that are not there.
  public var missing: [DiskRecord]
  /// Sides of a split, and what else knows other epochs, in sentences.
  public var others: [String]

  public var isComplete: Bool { isProvenNewest && missing.isEmpty && others.isEmpty }

  /// For people, whole sentences.
  public var sentences: [String] {
    let count = epoch.voters.count
    let voters = "\(presentVoterCount) of its \(count) voter\(count == 1 ? "" : "s") \(presentVoterCount == 1 ? "is" : "are") there"
    var sentences = ["The disks speak for the pool's epoch \(epoch.number) (\(epoch.id)); \(voters)."]
    if isProvenNewest {
      sentences.append("That is the newest: all that was committed is known.")
    } else {
      sentences.append(
        "Nothing proves that it is the newest: what other disks committed and wrote after it is missing here, and cannot be excluded.")
    }
    if !missing.isEmpty {
      let names = missing.map { "disk \($0.number)\($0.pathHint.isEmpty ? "" : " (last seen as \($0.pathHint))")" }
      sentences.append("Missing: \(names.joined(separator: ", ")).")
    }
    return sentences + others
  }
}

// A pool that is only read: nothing is written, and nobody asks whether the disks may go on without the others.

extension MetadataStore {
  /// Reads a pool's metadata without writing a byte, from the best of the disks given; others may be missing. `readingBasis` says for which
  /// state of the pool these speak. `disks` are those whose data can be told: of the others `setAside` has the reasons. A disk that the
  /// pool had evicted is among `disks` where it is what it was then: it lacks the dirty regions of its rows.
  public static func readOnlyLoad(
    devices: [BlockDevice], reactor: any Reactor, witness: WitnessedState? = nil
  ) async throws(MetadataError) -> MetadataStore {
    var survey = try await DiskSurvey.read(devices)
    while true {
      let members = await PoolMembers(reading: survey, witness: witness)
      let loaded = try await MetadataLoader.load(members, secret: reactor.random())
      try loaded.replay()
      let records = try loaded.diskRecords()
      let rejected = await loaded.notToBeRead(records)
      for (disk, reason) in rejected { survey.setAside(disk, reason) }
      guard !survey.disks.isEmpty else { throw survey.setAside[0].reason }
      // Who speaks for the pool and is no disk of it after all: the others have to do.
      if rejected.contains(where: { members.judgement.speaking.contains($0.disk.id) }) { continue }
      try survey.settleTwins(records)
      return MetadataStore(reading: loaded, survey, records, reactor)
    }
  }

  private convenience init(reading loaded: MetadataLoader, _ survey: DiskSurvey, _ records: [DiskRecord], _ reactor: any Reactor) {
    self.init(loaded, reactor: reactor, state: .readOnly)
    disks = survey.disks
    setAside = survey.setAside
    diskNumbers = records.map(\.number)
    let members = loaded.members
    let past = loaded.witnessedPast
    let basis = ReadingBasis(
      epoch: members.epoch, presentVoterCount: members.speakers.count, isProvenNewest: members.judgement.mayGoOn && past == nil,
      missing: loaded.missing(records, present: Set(survey.disks.map(\.id))).filter { $0.usage != .cache },
      others: [past].compactMap { $0 } + members.otherSides)
    readingBasis = basis
    if !basis.isComplete { notes += basis.sentences }
    notes += setAside.map(\.reason.description)
  }
}

extension PoolMembers {
  /// What the disks and the witness know of other epochs than the chosen one, in sentences.
  fileprivate var otherSides: [String] {
    var sides: [String] = []
    if let known = witnessed?.epoch, known.id != epoch.id, known.number >= epoch.number {
      sides.append("The witness knows epoch \(known.number) (\(known.id)): the pool went on without these disks.")
    }
    for disk in survey.setAside where disk.reason.cause == .split { sides.append(disk.reason.description) }
    return sides
  }
}

extension MetadataLoader {
  /// That the witness knows of later entries than these disks have, in a sentence; nil where it does not.
  fileprivate var witnessedPast: String? {
    guard let witnessed = members.witnessed, witnessed.committed > source.lastSequence else { return nil }
    return "These disks are from the past, or copies made then: they end at entry \(source.lastSequence), but the witness knows that the "
      + "pool had come to entry \(witnessed.committed) on all of its voters."
  }

  /// The disks that are there and whose data cannot be told from other data, with the reason. After `replay`.
  fileprivate func notToBeRead(_ records: [DiskRecord]) async -> [(disk: PoolDisk, reason: MetadataError)] {
    let known = Dictionary(records.map { ($0.id, $0) }) { first, _ in first }
    var rejected: [(disk: PoolDisk, reason: MetadataError)] = []
    for disk in members.disks {
      if let reason = reasonOfHistory(disk, known[disk.id]) {
        rejected.append((disk, reason))
      } else if let reason = reasonToReject(disk, known[disk.id]), reason.cause != .evicted {
        rejected.append((disk, reason))
      } else if let record = known[disk.id], record.state == .evicted, let reason = await reasonOfEviction(disk, record) {
        rejected.append((disk, reason))
      }
    }
    return rejected
  }

  /// A disk that has seen another epoch than the metadata that is read may hold anything: slabs are freed and used again.
  private func reasonOfHistory(_ disk: PoolDisk, _ record: DiskRecord?) -> MetadataError? {
    let own = disk.superblock.epoch
    let chosen = members.epoch
    if own.id == chosen.id || own.id == chosen.predecessor || own.number < chosen.number { return nil }
    return MetadataError(
      .split,
      "\(disk.label) is at epoch \(own.number) (\(own.id)), of which no voter speaks here, and is left out: the pool is read as of epoch "
        + "\(chosen.number) (\(chosen.id)).",
      remedy: "To read what that side has, name only the disks of that side.")
  }

  /// A disk that was evicted is good but for the dirty regions, if it is still what it was when it left.
  private func reasonOfEviction(_ disk: PoolDisk, _ record: DiskRecord) async -> MetadataError? {
    let own = disk.superblock.epoch
    if own.id != members.epoch.id && own.number > record.epochNumber {
      return MetadataError(
        .split, "\(disk.label) was evicted at epoch \(record.epochNumber), and went on by itself to \(own.number): it is left out.",
        remedy: "To read what that side has, name only the disks of that side.")
    }
    guard record.leftAtSequence > 0 else { return nil }
    let load = VoterLoad(disk)
    await load.read()
    if load.lastSequence >= record.leftAtSequence { return nil }
    return MetadataError(
      .stale,
      "\(disk.label) is from the past, or its metadata is damaged: it ends at entry \(load.lastSequence), but had \(record.leftAtSequence) "
        + "when it left the pool.", remedy: "What is on it cannot be told from older data.")
  }
}
