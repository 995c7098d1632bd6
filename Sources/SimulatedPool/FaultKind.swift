/// What a scenario can do to a pool. `offered` counts the power-ons in which it could have happened, `fired` how often it did.
public enum FaultKind: String, CaseIterable, Sendable {
  case crashInWork, crashWhileOpening, powerOffAfterWork, crashAroundEviction, crashWhileJournalWraps, crashInCheckpoint
  case latentReadError, unreadableDisk, passingReadError, badSectorWrite, passingWriteError
  case flushError, badSectorInMetadata
  case vanishes, losesPowerAlone, missingWhenOpened, returns, staleDisksAlone, twoVictims
  case someDisksOnly, resyncSourceDies, pastInPlace, cloneBeside, copyAlone, copyFromUseAlone, twinBeside
  case fileSystemFull, stall, hang, landsAfterEviction
  case journalWraps, slowCheckpoint, journalFull
  case bitFlipInMetadata, phantomWriteInMetadata, misdirectedWriteInMetadata
  case cacheDiskMissing, cacheDiskFromThePast, cacheContentFromThePast, cacheDiskDamaged, cacheMarkNotErased
  case cacheDiskLies, cacheDiskFails, cacheDiskVanishes, cacheDiskHangs, cacheDiskReturns, cacheDiskRemoved

  var explanation: String {
    switch self {
    case .crashInWork: "the power goes at any write while clients work"
    case .crashWhileOpening: "the power goes while the pool is opened and checked"
    case .powerOffAfterWork: "the power goes after the work, the pool not closed"
    case .crashAroundEviction: "the power goes between the witness, the eviction's record and what is acknowledged after it"
    case .crashWhileJournalWraps: "the power goes while the journal begins a new lap"
    case .crashInCheckpoint: "the power goes while a checkpoint is written"
    case .twoVictims: "two disks of three copies are in trouble at the same time"
    case .someDisksOnly: "any of the disks are there, and not the others: what opens must be right, and what is promised to open must"
    case .resyncSourceDies: "a disk was being brought up to date, and what from is not there any more"
    case .pastInPlace: "in place of a disk there is a copy of it from the past"
    case .cloneBeside: "beside a disk there is a copy of it from the past"
    case .hang: "a request takes so long that the disk is given up"
    case .landsAfterEviction: "a change lands that nobody waits for any more"
    case .journalWraps: "the journal begins a new lap"
    case .slowCheckpoint: "a checkpoint takes seconds, so that the journal fills"
    case .journalFull: "a commit waits because the journal is full"
    case .latentReadError: "a range of one disk cannot be read, some times"
    case .unreadableDisk: "nothing of one disk can be read any more, after it could"
    case .passingReadError: "a read fails once, and not when it is repeated"
    case .badSectorWrite: "a range of one disk cannot be written"
    case .passingWriteError: "a write fails once, leaving parts of itself, and not when it is repeated"
    case .flushError: "a flush fails, what it should have kept is lost, and the next one succeeds"
    case .badSectorInMetadata: "metadata of one disk cannot be written any more"
    case .copyAlone: "only a copy of a disk from before the last opening is there: it must not become a pool"
    case .copyFromUseAlone: "only a copy of a disk is there that was made before the pool was closed: it must not become a pool"
    case .twinBeside: "a disk is there twice, the same to the last byte: the pool must not be opened"
    case .vanishes: "a disk is pulled out while clients work"
    case .losesPowerAlone: "a disk alone loses its power, and with it what was not flushed"
    case .missingWhenOpened: "a disk is not there when the pool is opened"
    case .returns: "a disk that was evicted comes back and is taken back"
    case .staleDisksAlone: "only disks that the pool has evicted are there: they must not become a pool"
    case .fileSystemFull: "the file system below a file disk is full"
    case .stall: "a request takes seconds"
    case .bitFlipInMetadata: "metadata is read with a wrong bit"
    case .phantomWriteInMetadata: "a write of metadata is answered and never done"
    case .misdirectedWriteInMetadata: "a write of metadata lands elsewhere in the metadata"
    case .cacheDiskMissing: "a cache disk is not there when the pool is opened"
    case .cacheDiskFromThePast: "in place of a cache disk there is a copy of it from the past"
    case .cacheContentFromThePast: "a cache disk holds the pages and the index of the past, under its present superblocks"
    case .cacheDiskDamaged: "places of a cache disk hold garbage when the pool is opened"
    case .cacheMarkNotErased: "a cache disk answers that its clean mark is erased, and keeps it"
    case .cacheDiskLies: "a cache disk reads wrong bits, or does not do its writes, or does them elsewhere"
    case .cacheDiskFails: "a cache disk fails requests"
    case .cacheDiskVanishes: "a cache disk is pulled out while clients work"
    case .cacheDiskHangs: "a cache disk leaves a request unanswered"
    case .cacheDiskReturns: "a cache disk that was given up is taken back"
    case .cacheDiskRemoved: "a cache disk is taken out of the pool while clients work"
    }
  }
}

/// How often each kind of fault was offered and fired.
public struct FaultCoverage: Sendable, CustomStringConvertible {
  private var offered = [UInt64](repeating: 0, count: FaultKind.allCases.count)
  private var fired = [UInt64](repeating: 0, count: FaultKind.allCases.count)

  public init() {}

  /// For another process.
  package var numbers: [UInt64] {
    get { offered + fired }
    set {
      guard newValue.count == offered.count + fired.count else { return }
      offered = Array(newValue[..<offered.count])
      fired = Array(newValue[offered.count...])
    }
  }

  private func place(_ kind: FaultKind) -> Int { FaultKind.allCases.firstIndex(of: kind) ?? 0 }

  mutating func offer(_ kind: FaultKind) { offered[place(kind)] += 1 }
  mutating func fire(_ kind: FaultKind, _ count: UInt64 = 1) { fired[place(kind)] += count }

  public mutating func add(_ other: FaultCoverage) {
    for index in offered.indices {
      offered[index] += other.offered[index]
      fired[index] += other.fired[index]
    }
  }

  public func firedCount(_ kind: FaultKind) -> UInt64 { fired[place(kind)] }
  /// Those that never happened.
  public var missing: [FaultKind] { FaultKind.allCases.filter { firedCount($0) == 0 } }

  /// One line for each kind: how often it was offered, how often it fired, and what it is.
  public var description: String {
    let rows = FaultKind.allCases.map { kind in
      let index = place(kind)
      let count = fired[index] == 0 ? "NEVER" : String(fired[index])
      return "\(pad(String(offered[index]), 12))\(pad(count, 12))  \(kind.rawValue): \(kind.explanation)"
    }
    return (["\(pad("offered", 12))\(pad("fired", 12))  fault"] + rows).joined(separator: "\n")
  }

  private func pad(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
}
