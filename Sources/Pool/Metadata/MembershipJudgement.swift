/// Rules M, without any I/O: which epoch the pool is at, and which disks speak for it.
struct MembershipJudgement {
  /// What one disk says.
  struct Claim {
    var disk: DiskID
    var label: String
    var epoch: MembershipEpoch
  }

  enum Basis { case witness, majority }

  let epoch: MembershipEpoch
  let basis: Basis
  /// Voters of `epoch` that are there, and know it or its predecessor: with the predecessor they missed the news of the change, but no
  /// commit, since nothing is committed in an epoch before all its voters know it.
  let speaking: Set<DiskID>
  /// Whether these may go on without the others.
  let mayGoOn: Bool

  /// Epochs that cannot both be true with the newest of `claims` (or the witness's): of the same number, or with one predecessor.
  static func rivals(_ claims: [Claim], witness: MembershipEpoch?) -> [MembershipEpoch] {
    guard let newest = newest(claims, witness) else { return [] }
    var seen: Set<EpochID> = [newest.id]
    var rivals: [MembershipEpoch] = []
    for claim in claims {
      let epoch = claim.epoch
      let isRival = epoch.number == newest.number || (epoch.predecessor == newest.predecessor && !newest.predecessor.isNone)
      if isRival && seen.insert(epoch.id).inserted { rivals.append(epoch) }
    }
    return rivals
  }

  static func newest(_ claims: [Claim], _ witness: MembershipEpoch?) -> MembershipEpoch? {
    let newest = claims.map(\.epoch).max { $0.number < $1.number }
    guard let witness else { return newest }
    return witness.number >= newest?.number ?? 0 ? witness : newest
  }

  /// - Parameters:
  ///   - claims: of the disks that were not set aside. Not empty.
  ///   - lost: disks that the operator has declared gone.
  ///   - progressed: of the rivals and the newest, those in which something was written after the change itself.
  init(_ claims: [Claim], witness: MembershipEpoch?, lost: Set<DiskID>, progressed: Set<EpochID>, pool: String) throws(MetadataError) {
    guard let newest = MembershipJudgement.newest(claims, witness) else { preconditionFailure("there is a claim") }
    let rivals = MembershipJudgement.rivals(claims, witness: witness)
    var chosen = newest
    if !rivals.isEmpty {
      let all = [newest] + rivals
      let alive = all.filter { progressed.contains($0.id) }
      if alive.count > 1 { throw MembershipJudgement.split(alive, claims, pool) }
      if newest.id == witness?.id {
        // A change that reached some disks and nobody's commits is no side of its own; but then this is the only side there is.
        if let other = alive.first, other.id != newest.id { throw MembershipJudgement.split([newest, other], claims, pool) }
      } else if let only = alive.first {
        chosen = only
      } else {
        let counts = all.map { epoch in (epoch, MembershipJudgement.speaking(epoch, claims).count) }
        let most = counts.map(\.1).max() ?? 0
        let best = counts.filter { $0.1 == most }
        if best.count > 1 { throw MembershipJudgement.split(best.map(\.0), claims, pool) }
        chosen = best[0].0
      }
    }
    epoch = chosen
    speaking = MembershipJudgement.speaking(chosen, claims).subtracting(lost)
    if chosen.id == witness?.id {
      basis = .witness
      mayGoOn = !speaking.isEmpty
    } else {
      basis = .majority
      let wanted = chosen.voters.filter { !lost.contains($0) }
      mayGoOn = 2 * speaking.count > wanted.count
    }
  }

  /// For who only reads, where nobody may go on: of the epochs of which a voter is there the likeliest to be the pool's. The witness's is,
  /// then the newest; of sides that went on without each other, the one with more voters here. `claims` is not empty.
  init(lookingAt claims: [Claim], witness: MembershipEpoch?) {
    guard let newest = MembershipJudgement.newest(claims, nil) else { preconditionFailure("there is a claim") }
    func rank(_ epoch: MembershipEpoch) -> (Int, UInt64, Int) {
      (epoch.id == witness?.id ? 1 : 0, epoch.number, MembershipJudgement.speaking(epoch, claims).count)
    }
    let candidates = claims.map(\.epoch).filter { !MembershipJudgement.speaking($0, claims).isEmpty }
    // Where only disks without metadata know the newest, an older is better than nothing.
    epoch = candidates.max { rank($0) == rank($1) ? $1.id < $0.id : rank($0) < rank($1) } ?? newest
    speaking = MembershipJudgement.speaking(epoch, claims)
    basis = .majority
    mayGoOn = false
  }

  private static func speaking(_ epoch: MembershipEpoch, _ claims: [Claim]) -> Set<DiskID> {
    let voters = Set(epoch.voters)
    return Set(
      claims.filter { voters.contains($0.disk) && ($0.epoch.id == epoch.id || $0.epoch.id == epoch.predecessor) }.map(\.disk))
  }

  private static func split(_ sides: [MembershipEpoch], _ claims: [Claim], _ pool: String) -> MetadataError {
    let words = sides.map { side in
      let labels = claims.filter { $0.epoch.id == side.id }.map(\.label)
      let names = labels.isEmpty ? "the witness" : labels.joined(separator: " and ")
      return "epoch \(side.number) is \(side.id) on \(names)"
    }
    return MetadataError(
      .split, "The disks of pool \(pool) went on without each other: \(words.joined(separator: ", ")).",
      remedy: "Keep one side: open the pool without the other side's disks. They are never merged.")
  }
}
