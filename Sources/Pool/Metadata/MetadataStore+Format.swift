import BlockDevice
import Reactor

/// A disk for a new pool.
public struct NewDisk: Sendable {
  public var device: BlockDevice
  public var usage: DiskRecord.Usage
  /// At most 255 bytes; empty where nothing is known.
  public var faultDomain: String
  public var pathHint: String

  public init(device: BlockDevice, usage: DiskRecord.Usage = .auto, faultDomain: String = "", pathHint: String = "") {
    self.device = device
    self.usage = usage
    self.faultDomain = faultDomain
    self.pathHint = pathHint
  }
}

/// What a new pool is to be.
public struct FormatOptions: Sendable {
  /// 1 to 64 bytes of UTF-8.
  public var poolName: String
  /// Seconds since 1970, UTC.
  public var createdSeconds: UInt64
  /// nil: chosen from the disks' sizes.
  public var layout: LayoutChoice?

  public init(poolName: String, createdSeconds: UInt64, layout: LayoutChoice? = nil) {
    self.poolName = poolName
    self.createdSeconds = createdSeconds
    self.layout = layout
  }
}

/// What `MetadataStore.format` made.
public struct FormattedPool: Sendable {
  public var pool: PoolID
  /// In the order the disks were given.
  public var disks: [DiskID]
  public var layouts: [DiskLayout]
}

extension MetadataStore {
  /// Makes a pool of the disks; whatever they held is lost. The GPT is not this module's: its partitions are in the layouts returned.
  ///
  /// The superblocks are written last, when everything else is durable: a formatting that was interrupted leaves no pool.
  public static func format(disks: [NewDisk], options: FormatOptions, reactor: any Reactor) async throws(MetadataError) -> FormattedPool {
    try check(disks, options)
    let sizes = disks.map(\.device.geometry.byteCount)
    let choice: LayoutChoice
    if let layout = options.layout { choice = layout } else { choice = try LayoutChoice(diskByteCounts: sizes) }
    var layouts: [DiskLayout] = []
    for size in sizes { layouts.append(try choice.layout(diskByteCount: size)) }

    let plan = FormatPlan(disks: disks, layouts: layouts, options: options, reactor: reactor)
    let errors = await MetadataIO.inParallel(plan.members) { (member: PoolDisk) async throws(BlockError) in try await erase(member) }
    try throwFirst(errors, plan.members)
    try await writeFirstCheckpoint(plan, choice, reactor)
    // Both generations, so that all four copies are good from the beginning.
    for sequence in [1, 2] as [UInt64] {
      let superblocks = plan.members.map { member in
        var superblock = member.superblock
        superblock.sequence = sequence
        return (member, superblock)
      }
      let errors = await MetadataIO.inParallel(superblocks) { (member: PoolDisk, superblock: Superblock) async throws(BlockError) in
        try await SuperblockIO.write(superblock, to: member.device)
      }
      try throwFirst(errors, plan.members)
    }
    return FormattedPool(pool: plan.pool, disks: plan.members.map(\.id), layouts: layouts)
  }

  /// Makes a disk no pool's any more: zeros over everything that recognises it, flushed. What the slabs hold stays.
  public static func wipe(_ device: BlockDevice) async throws(BlockError) {
    let report = await SuperblockIO.read(device)
    var offsets = report.places.map(\.offset)
    if let layout = report.newest?.layout { offsets += layout.rootOffsets + [layout.dataSignatureOffset] }
    let size = device.geometry.byteCount
    offsets.removeAll { $0 > size - min(size, UInt64(FormatLimits.blockByteCount)) }
    try await MetadataIO.writeBlock(device, at: offsets) { $0.zero() }
    try await device.flush(MetadataIO.request)
  }

  private static func check(_ disks: [NewDisk], _ options: FormatOptions) throws(MetadataError) {
    guard !disks.isEmpty, disks.count <= StoreLimits.diskCount else {
      throw MetadataError(.invalidArgument, "A pool has 1 to \(StoreLimits.diskCount) disks.", remedy: "Name its disks.")
    }
    guard (1...FormatLimits.poolNameByteCount).contains(options.poolName.utf8.count) else {
      throw MetadataError(
        .invalidArgument, "The pool name \(options.poolName) has \(options.poolName.utf8.count) bytes.", remedy: "Use 1 to 64 bytes.")
    }
    for disk in disks { try check(disk) }
    guard disks.contains(where: { $0.usage != .cache }) else {
      throw MetadataError(.invalidArgument, "A pool cannot be made of cache disks alone.", remedy: "Name a capacity disk as well.")
    }
  }

  static func check(_ disk: NewDisk) throws(MetadataError) {
    guard disk.faultDomain.utf8.count <= FormatLimits.faultDomainByteCount else {
      throw MetadataError(.invalidArgument, "The fault domain \(disk.faultDomain) is too long.", remedy: "Use at most 255 bytes.")
    }
    guard disk.device.geometry.logicalSector <= FormatLimits.blockByteCount else {
      throw MetadataError(
        .invalidArgument, "\(disk.device.label) has sectors of \(disk.device.geometry.logicalSector) bytes.",
        remedy: "Use disks with sectors of at most 4096 bytes.")
    }
  }

  /// Zeros over all metadata and both margins, then the signature. Flushed.
  static func erase(_ member: PoolDisk) async throws(BlockError) {
    let layout = member.layout
    let margin = FormatLimits.dataMarginByteCount
    try await MetadataIO.writeZeros(member.device, at: layout.metadataOffset, byteCount: layout.metadataByteCount)
    try await MetadataIO.writeZeros(member.device, at: layout.dataOffset, byteCount: margin)
    try await MetadataIO.writeZeros(member.device, at: layout.dataEnd - margin, byteCount: margin)
    try await MetadataIO.writeBlock(member.device, at: [layout.dataSignatureOffset]) { DataSignature.encode($0, owner: member.owner) }
    try await member.device.flush(MetadataIO.request)
  }

  private static func writeFirstCheckpoint(_ plan: FormatPlan, _ choice: LayoutChoice, _ reactor: any Reactor) async throws(MetadataError) {
    let voters = plan.members.filter(\.isVoter).map(Voter.init)
    let pages = PageStore(pageCount: voters[0].layout.pageCount, secret: reactor.random())
    for record in plan.records(nextDisk: DiskNumber(UInt32(plan.members.count) + 1)) {
      // One at a time: a large pool's records are more than one entry holds.
      var change = ChangePlan(pages)
      try change.add([.put(record)], reservedPageCount: 0)
      change.apply()
    }
    let changed = pages.freeze()
    let root = CheckpointRoot(
      sequence: 1, ownerTerm: plan.ownerTerm, applied: 0, committed: 0, journalPosition: 0, chain: 0, pageCount: 0,
      recordCount: UInt64(pages.recordCount), epochNumber: 1, tables: [])
    for voter in voters { await voter.acquireBuffers(journalEntryByteCount: FormatLimits.blockByteCount) }
    let errors = await MetadataIO.inParallel(voters) { (voter: Voter) async throws(BlockError) in
      try await VoterCheckpoint(voter: voter, pages: pages, root: root, changed: changed).write()
    }
    for voter in voters { voter.releaseBuffers() }
    pages.thaw()
    try throwFirst(errors, voters.map(\.disk))
  }

  private static func throwFirst(_ errors: [BlockError?], _ disks: [PoolDisk]) throws(MetadataError) {
    for (index, error) in errors.enumerated() {
      guard let error else { continue }
      throw MetadataError(
        .diskFailed, "\(disks[index].label) failed while the pool was made: \(error).", remedy: "See to the disk, or leave it out.")
    }
  }
}

/// The identities and first records of a new pool.
private struct FormatPlan {
  let pool: PoolID
  let ownerTerm: UInt64
  private(set) var members: [PoolDisk] = []
  private let disks: [NewDisk]
  private let options: FormatOptions

  init(disks: [NewDisk], layouts: [DiskLayout], options: FormatOptions, reactor: any Reactor) {
    self.disks = disks
    self.options = options
    pool = PoolID.random(reactor)
    ownerTerm = reactor.random()
    let ids = disks.map { _ in DiskID.random(reactor) }
    let epoch = MembershipEpoch(
      number: 1, id: EpochID.random(reactor), predecessor: .none, diskCount: UInt32(disks.count),
      members: FormatPlan.voters(disks).map { MembershipEpoch.Member(disk: ids[$0], number: DiskNumber(UInt32($0 + 1))) })
    for (index, disk) in disks.enumerated() {
      let geometry = disk.device.geometry
      let nonce = reactor.random()
      let superblock = Superblock(
        pool: pool, disk: ids[index], sequence: 1, features: FeatureFlags(), diskNumber: DiskNumber(UInt32(index + 1)),
        isClosedCleanly: true, poolName: options.poolName, ownerTerm: ownerTerm, ownerNode: .none, fencingKey: 0, nonce: nonce,
        committedNonce: nonce, createdSeconds: options.createdSeconds, logicalSector: UInt32(geometry.logicalSector),
        physicalSector: UInt32(geometry.physicalSector), layout: layouts[index], epoch: epoch)
      members.append(PoolDisk(device: disk.device, superblock: superblock))
    }
  }

  /// All of a small pool, five of a large one, over as many fault domains as there are. Cache disks hold no metadata.
  private static func voters(_ disks: [NewDisk]) -> [Int] {
    let eligible = disks.indices.filter { disks[$0].usage != .cache }
    var chosen: [Int] = []
    var domains: Set<String> = []
    for index in eligible where chosen.count < StoreLimits.voterCount {
      if domains.insert(disks[index].faultDomain).inserted { chosen.append(index) }
    }
    for index in eligible where chosen.count < StoreLimits.voterCount && !chosen.contains(index) { chosen.append(index) }
    return chosen.sorted()
  }

  func records(nextDisk: DiskNumber) -> [Record] {
    let layout = members[0].layout
    var records = [
      PoolRecord(
        id: pool, name: options.poolName, createdSeconds: options.createdSeconds, slabByteCount: layout.slabByteCount,
        slabStride: layout.slabStride, slabTrailerByteCount: layout.slabTrailerByteCount, nextDisk: nextDisk, ownerTerm: ownerTerm
      ).record
    ]
    for (index, member) in members.enumerated() { records.append(DiskRecord(of: member, disks[index], epochNumber: 1).record) }
    return records
  }
}
