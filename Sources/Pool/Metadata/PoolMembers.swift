import BlockDevice

/// Which epoch the given disks are at, who of them speaks for it, and who is missing.
struct PoolMembers {
  let survey: DiskSurvey
  let judgement: MembershipJudgement
  /// What the witness said; nil without one, or when it could not be read.
  let witnessed: WitnessedState?
  /// The journal entry that a voter must have by the witness's word; 0 where there is none, and for who only reads.
  let witnessedEntry: UInt64
  let lost: Set<DiskID>

  var disks: [PoolDisk] { survey.disks }
  var epoch: MembershipEpoch { judgement.epoch }
  var pool: PoolID { survey.disks[0].superblock.pool }
  var poolName: String { survey.disks[0].superblock.poolName }
  /// In the order of the survey.
  var speakers: [PoolDisk] { disks.filter { judgement.speaking.contains($0.id) } }
  /// Voters of the epoch that do not speak.
  var missingVoters: [DiskID] { epoch.voters.filter { !judgement.speaking.contains($0) } }

  init(_ survey: DiskSurvey, witness: WitnessedState?, lost: Set<DiskID>) async throws(MetadataError) {
    self.survey = survey
    self.lost = lost
    witnessed = witness
    witnessedEntry = PlantedBug.witnessedEntryIgnored.isPlanted ? 0 : witness?.committed ?? 0
    guard let first = survey.disks.first else { throw survey.setAside[0].reason }
    let claims = PoolMembers.claims(survey)
    let progressed = await PoolMembers.progressed(survey, claims, witness?.epoch)
    judgement = try MembershipJudgement(
      claims, witness: witness?.epoch, lost: lost, progressed: progressed, pool: first.superblock.poolName)
  }

  /// For who only reads: whom rules M let speak; where they let nobody, the likeliest epoch of which a voter is there
  /// (`judgement.mayGoOn` is false then). The survey has disks.
  init(reading survey: DiskSurvey, witness: WitnessedState?) async {
    self.survey = survey
    lost = []
    witnessed = witness
    witnessedEntry = 0
    let claims = PoolMembers.claims(survey)
    let epoch = witness?.epoch
    let progressed = await PoolMembers.progressed(survey, claims, epoch)
    do throws(MetadataError) {
      let judged = try MembershipJudgement(claims, witness: epoch, lost: [], progressed: progressed, pool: "")
      judgement = judged.speaking.isEmpty ? MembershipJudgement(lookingAt: claims, witness: epoch) : judged
    } catch { judgement = MembershipJudgement(lookingAt: claims, witness: epoch) }
  }

  private static func claims(_ survey: DiskSurvey) -> [MembershipJudgement.Claim] {
    survey.disks.map { MembershipJudgement.Claim(disk: $0.id, label: $0.label, epoch: $0.superblock.epoch) }
  }

  /// Of the newest epoch and its rivals, those in which something was written after the change itself.
  private static func progressed(
    _ survey: DiskSurvey, _ claims: [MembershipJudgement.Claim], _ witness: MembershipEpoch?
  ) async -> Set<EpochID> {
    var progressed: Set<EpochID> = []
    let rivals = MembershipJudgement.rivals(claims, witness: witness)
    guard !rivals.isEmpty, let newest = MembershipJudgement.newest(claims, witness) else { return [] }
    let suspects = Set((rivals + [newest]).map(\.id))
    for disk in survey.disks where disk.isVoter && suspects.contains(disk.superblock.epoch.id) {
      let load = VoterLoad(disk)
      await load.read()
      if load.newestEpochNumber >= disk.superblock.epoch.number { progressed.insert(disk.superblock.epoch.id) }
    }
    return progressed
  }

  /// No disk that is there speaks for the pool.
  var nobodySpeaks: MetadataError {
    let left = disks.filter { $0.isVoter && $0.superblock.epoch.id != epoch.id }.map { disk in
      " \(disk.label) was left behind: it knows the pool's epoch \(disk.superblock.epoch.number), the pool is at \(epoch.number)."
    }
    return MetadataError(
      .disksMissing,
      "None of the given disks holds pool \(poolName)'s metadata; these do: \(epoch.voters.map(\.description).joined(separator: ", "))."
        + left.joined() + survey.setAsideText,
      remedy: "Name the pool's other disks as well, or attach them.")
  }
}
