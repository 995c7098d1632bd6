import BlockDevice
import Reactor

/// Who opens a pool.
public struct OpenOptions: Sendable {
  public var ownerNode: NodeID
  public var fencingKey: UInt64
  public init(ownerNode: NodeID = .none, fencingKey: UInt64 = 0) {
    self.ownerNode = ownerNode
    self.fencingKey = fencingKey
  }
}

extension MetadataStore {
  /// What a disk's superblock places hold: how a disk is recognised, whatever its path. Writes nothing.
  public static func probe(_ device: BlockDevice) async -> SuperblockReport { await SuperblockIO.read(device) }

  /// Reads a pool's metadata without writing a byte, from the best of the disks given; others may be missing.
  public static func readOnlyLoad(devices: [BlockDevice], reactor: any Reactor) async throws(MetadataError) -> MetadataStore {
    let loaded = try await MetadataLoader.load(devices, secret: reactor.random())
    try loaded.replay()
    let store = MetadataStore(loaded, reactor: reactor, state: .readOnly)
    do throws(MetadataError) { try loaded.checkComplete() } catch { store.notes.append(error.description) }
    return store
  }

  /// Opens a pool for writing. The order is what makes a crash anywhere harmless:
  /// 1. everything is read and judged, and nothing written before the pool is known to be complete and sound;
  /// 2. a new superblock on every disk, with a new owner term and nonce, flushed;
  /// 3. a checkpoint under the new term on every voter, which also heals what was damaged;
  /// 4. a commit of the term and the nonces: from here on older copies of the disks are recognised.
  public static func open(
    devices: [BlockDevice], reactor: any Reactor, options: OpenOptions = OpenOptions()
  ) async throws(MetadataError) -> MetadataStore {
    let loaded = try await MetadataLoader.load(devices, secret: reactor.random())
    await loaded.compareVoters()
    try loaded.replay()
    try loaded.checkComplete()
    try checkWritable(loaded.members)
    let store = MetadataStore(loaded, reactor: reactor, state: .open)
    for voter in store.voters { await voter.acquireBuffers(journalEntryByteCount: store.journal.entryByteCount) }
    do throws(MetadataError) { try await store.takeOver(options) } catch {
      store.state = .closed
      for voter in store.voters { voter.releaseBuffers() }
      throw error
    }
    return store
  }

  private static func checkWritable(_ members: PoolMembers) throws(MetadataError) {
    for disk in members.disks {
      guard disk.superblock.features.isWritable else {
        throw MetadataError(
          .unsupportedFeature, "\(disk.label) belongs to a pool with features this program must not write to.",
          remedy: "Open it read-only, or use a newer program.")
      }
      guard !disk.device.geometry.isReadOnly else {
        throw MetadataError(.readOnly, "\(disk.label) takes no writes.", remedy: "Open the pool read-only, or make the disk writable.")
      }
    }
  }

  private func takeOver(_ options: OpenOptions) async throws(MetadataError) {
    guard var record: PoolRecord = try value(for: PoolRecord.key) else {
      throw MetadataError(
        .damaged, "Pool \(poolName) has no record of itself.", remedy: "`spaceport inspect DISK` shows what there is; please report it.")
    }
    // The nonce that the record of each disk has now stays good until the new one is committed.
    var committedNonces: [DiskID: UInt64] = [:]
    try forEachRecord(DiskRecord.self) { committedNonces[$0.id] = $0.nonce }
    ownerTerm = OwnerTerm(reactor.random())
    await writeSuperblocks { superblock in
      superblock.ownerTerm = ownerTerm.value
      superblock.ownerNode = options.ownerNode
      superblock.fencingKey = options.fencingKey
      superblock.isClosedCleanly = false
      superblock.committedNonce = committedNonces[superblock.disk] ?? superblock.committedNonce
      superblock.nonce = reactor.random()
      superblock.epoch = epoch
    }
    if let failure { throw failure }
    await checkpoint()
    if let failure { throw failure }
    journal.committed = journal.sequence
    record.ownerTerm = ownerTerm.value
    record.ownerNode = options.ownerNode
    record.fencingKey = options.fencingKey
    var changes = [MetadataChange.put(record)]
    for disk in disks {
      let nonce = withUnsafeBytes(of: disk.superblock.nonce.littleEndian) { Array($0) }
      changes.append(.patch(DiskRecord.key(disk.number), byteOffset: DiskRecord.Offset.nonce, bytes: nonce))
    }
    try await commit(changes, priority: .essential)
  }
}
