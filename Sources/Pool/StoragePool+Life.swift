import BlockDevice
import PartitionTable
import Reactor
import StorageBus

// Making, opening and erasing pools.

extension StoragePool {
  /// The types of the partitions on a pooled disk, as text in lower case.
  public static let partitionTypes: Set<String> = [
    GUID.spaceportMetadata.description.lowercased(), GUID.spaceportData.description.lowercased(),
  ]

  /// Which pool a disk says it belongs to; nil when it says nothing that can be read.
  public static func superblock(of device: BlockDevice) async -> Superblock? { await MetadataStore.probe(device).newest }

  /// The sizes that a pool of these disks gets; the slab's is chosen unless it is given. Throws whatever would keep the pool from being
  /// made, and writes nothing: to be asked before anything on the disks is touched.
  public static func chooseLayout(for members: [PoolMember], slabByteCount: UInt64? = nil) throws(PoolError) -> LayoutChoice {
    do throws(MetadataError) {
      let sizes = members.map(\.device.geometry.byteCount)
      let choice = try LayoutChoice(diskByteCounts: sizes, slabByteCount: slabByteCount)
      for size in sizes { _ = try choice.layout(diskByteCount: size) }
      return choice
    } catch { throw PoolError(error, doing: "making a pool") }
  }

  /// Makes a pool of the disks, whose content is lost, and opens it.
  public static func create(
    named name: String, on members: [PoolMember], layout: LayoutChoice, createdSeconds: UInt64, reactor: any Reactor,
    options: OpenOptions = OpenOptions()
  ) async throws(PoolError) -> StoragePool {
    do throws(MetadataError) {
      for member in members {
        let diskLayout = try layout.layout(diskByteCount: member.device.geometry.byteCount)
        do throws(PoolError) { try await PooledDiskTable.write(on: member, layout: diskLayout, poolName: name, reactor: reactor) } catch {
          throw MetadataError(.diskFailed, error.message, remedy: error.remedy)
        }
      }
      let disks = members.map { NewDisk(device: $0.device, pathHint: String($0.path.prefix(FormatLimits.pathHintByteCount / 4))) }
      let format = FormatOptions(poolName: name, createdSeconds: createdSeconds, layout: layout)
      _ = try await MetadataStore.format(disks: disks, options: format, reactor: reactor)
    } catch {
      // Nothing of a pool that did not come to be is left on the disks; if that fails too, they say so themselves at the next try.
      for member in members { _ = try? await PooledDiskTable.erase(member) }
      throw PoolError(error, doing: "making the pool \(name)")
    }
    return try await open(members, reactor: reactor, options: options)
  }

  /// Opens a pool from its disks, in any order and wherever they are now. Those among them that are not its present disks are set aside.
  /// While disks are missing, this throws `.disksMissing`; `canOpenDegraded` says whether `options.evictMissing` would go on without.
  public static func open(
    _ members: [PoolMember], reactor: any Reactor, options: OpenOptions = OpenOptions()
  ) async throws(PoolError) -> StoragePool {
    let store: MetadataStore
    do throws(MetadataError) {
      store = try await MetadataStore.open(devices: members.map(\.device), reactor: reactor, options: options)
    } catch { throw PoolError(error, doing: "opening a pool") }
    let pool: StoragePool
    do throws(PoolError) { pool = try assemble(store, reactor, options.directoryMemory) } catch {
      await store.close()
      throw error
    }
    do throws(PoolError) { try pool.loadRows() } catch {
      _ = try? await pool.close()  // the workers of its splitters have to end before it goes
      throw error
    }
    pool.listenToStore()
    pool.events.load(store)
    pool.jobs.load(store)
    await pool.openCache()
    return pool
  }

  /// Opens a pool without writing a byte, from whatever disks of it there are: nobody asks whether they may go on without the others.
  /// `reading` says for which state of the pool they speak. What is in sync by the newest metadata that can be had is read, all else fails;
  /// nothing is repaired, no job runs. `witness` is what the pool's witness knows.
  public static func openReadOnly(
    _ members: [PoolMember], reactor: any Reactor, witness: WitnessedState? = nil
  ) async throws(PoolError) -> StoragePool {
    let store: MetadataStore
    do throws(MetadataError) {
      store = try await MetadataStore.readOnlyLoad(devices: members.map(\.device), reactor: reactor, witness: witness)
    } catch { throw PoolError(error, doing: "opening a pool to read it") }
    let pool = try assemble(store, reactor, OpenOptions().directoryMemory)
    do throws(PoolError) { try pool.loadRows() } catch {
      _ = try? await pool.close()
      throw error
    }
    pool.events.load(store)
    return pool
  }

  /// The disks of the pool that are not among `members`, as far as those know, without those removed. Nothing is written or claimed.
  public static func missingDisks(of members: [PoolMember], reactor: any Reactor) async throws(PoolError) -> [DiskRecord] {
    do throws(MetadataError) {
      let store = try await MetadataStore.readOnlyLoad(devices: members.map(\.device), reactor: reactor)
      let missing = store.absentDisks
      await store.close()
      return missing
    } catch { throw PoolError(error, doing: "looking for the pool's missing disks") }
  }

  private static func assemble(
    _ store: MetadataStore, _ reactor: any Reactor, _ directoryMemory: DirectoryMemory
  ) throws(PoolError) -> StoragePool {
    let record: PoolRecord
    var records: [DiskNumber: DiskRecord] = [:]
    do throws(MetadataError) {
      guard let found: PoolRecord = try store.value(for: PoolRecord.key) else {
        throw MetadataError(.damaged, "The pool \(store.poolName) has no record of itself.", remedy: "Run spaceport inspect on its disks.")
      }
      record = found
      try store.forEachRecord(DiskRecord.self) { records[$0.number] = $0 }
      try checkSlabs(record, store.disks.filter { records[$0.number]?.usage != .cache })
    } catch { throw PoolError(error, doing: "opening the pool \(store.poolName)") }
    let cacheMembers = store.disks.filter { records[$0.number]?.usage == .cache }
    records = records.filter { $0.value.usage != .cache }
    var allocator = SlabAllocator()
    let disks = store.disks.filter { disk in !cacheMembers.contains { $0 === disk } }.sorted { $0.number < $1.number }.map {
      var state = records[$0.number]?.state ?? .active
      // Only read pools have such a disk: it lacks what was written without it.
      if state == .evicted { state = .returning }
      let partition = DataPartition(of: $0, state: state, poolName: record.name)
      partition.usage = records[$0.number]?.usage ?? .auto
      return partition
    }
    for record in records.values.sorted(by: { $0.number < $1.number }) where record.state != .removed {
      allocator.addDisk(record.number, slabCount: Int(record.slabCount))
    }
    let absent = Set(records.values.filter { $0.state != .removed }.map(\.number)).subtracting(disks.map(\.number))
    return StoragePool(
      reactor: reactor, store: store, disks: disks, absentNumbers: absent, record: record, allocator: allocator, cacheMembers: cacheMembers,
      directoryMemory: directoryMemory)
  }

  /// Addresses are reckoned from the pool's record: every disk must be laid out by the same sizes.
  private static func checkSlabs(_ record: PoolRecord, _ disks: [PoolDisk]) throws(MetadataError) {
    for disk in disks {
      let layout = disk.layout
      guard layout.slabByteCount == record.slabByteCount, layout.slabStride == record.slabStride,
        layout.slabsOffset == layout.dataOffset + FormatLimits.dataMarginByteCount
      else {
        throw MetadataError(
          .damaged, "The pool \(record.name) has slabs of \(record.slabByteCount) bytes, and \(disk.label) is laid out for others.",
          remedy: "Keep the disks as they are, run spaceport inspect on each, and report it.")
      }
    }
  }

  /// Overwrites what identifies the members as a pool's disks, partition tables included. The pool is closed before.
  public static func erase(_ members: [PoolMember]) async throws(PoolError) {
    for member in members { try await PooledDiskTable.erase(member) }
  }
}

extension PoolError {
  /// The store's messages are whole sentences, this error's are not.
  init(_ error: MetadataError, doing action: String) {
    let cause: Cause =
      switch error.cause {
      case .invalidArgument, .diskTooSmall, .mixedPools, .tooLarge, .invalidChange: .invalid
      case .notPooled: .notFound
      case .disksMissing: .disksMissing
      case .cloned, .stale, .evicted, .split, .damaged: .damaged
      case .metadataFull: .noSpace
      case .unsupportedFeature, .readOnly, .closed: .wrongState
      case .diskFailed: .ioFailed
      }
    self.init(
      cause, "\(action.capitalizedFirst) failed: \(error.message.withoutFullStop)", remedy: error.remedy.withoutFullStop,
      canOpenDegraded: error.canOpenDegraded, metadataCause: error.cause)
  }
}

extension String {
  var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
  var withoutFullStop: String { hasSuffix(".") ? String(dropLast()) : self }
}
