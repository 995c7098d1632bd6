import BlockDevice
import Reactor

/// A device that may have freed slabs that it has not committed yet.
public protocol SpaceReclaimer: AnyObject {
  /// Makes pending frees durable, so that their slabs can be used again.
  func reclaimSpace() async
  /// Commits what is pending, as housekeeping.
  func commitPending() async
}

/// The spaceport: the disks of one pool, their metadata and the slabs on them. Virtual disks ask it for rows of slabs, and give them back.
public final class StoragePool: @unchecked Sendable {  // reactor-confined
  public let reactor: any Reactor
  public let id: PoolID
  public let name: String
  public let slabByteCount: UInt64
  public let isReadOnly: Bool
  public let ownerTerm: OwnerTerm
  public let createdSeconds: UInt64
  /// What all disks can do together: the coarsest alignment, cheap zeroing only if every disk has it.
  public let commonGeometry: BlockGeometry
  /// The data partitions, in the order of their disk numbers.
  public let disks: [DataPartition]
  /// For the layers above that split requests; see ParallelIO.perform for why there are two.
  public let stripeIO: ParallelIO
  public let chunkIO: ParallelIO
  public let bounceBuffers = BounceBuffers()

  let store: MetadataStore
  /// By disk number; the data path looks here for every request.
  private var disksByNumber: [DataPartition?]
  private let slabStride: UInt64
  private let slabsStart: UInt64
  var allocator: SlabAllocator
  /// The numbers that are given out next; the metadata has higher ones reserved, see `reserveNumbers`.
  private var numbers: NumberReserve
  /// In the order they came: a dictionary's order would differ from run to run, and a simulated run could not be repeated.
  private var reclaimers: [any SpaceReclaimer] = []
  private var isClosing = false
  private var uncommittedRowCount = 0

  init(reactor: any Reactor, store: MetadataStore, disks: [DataPartition], record: PoolRecord, allocator: SlabAllocator) {
    self.reactor = reactor
    self.store = store
    self.disks = disks
    id = record.id
    name = record.name
    slabByteCount = record.slabByteCount
    slabStride = record.slabStride
    createdSeconds = record.createdSeconds
    slabsStart = FormatLimits.dataMarginByteCount
    isReadOnly = store.isReadOnly
    ownerTerm = store.ownerTerm
    self.allocator = allocator
    numbers = NumberReserve(record)
    disksByNumber = Array(repeating: nil, count: Int((disks.map(\.number.value).max() ?? 0) + 1))
    for disk in disks { disksByNumber[Int(disk.number.value)] = disk }
    commonGeometry = StoragePool.common(disks)
    stripeIO = ParallelIO(reactor: reactor)
    chunkIO = ParallelIO(reactor: reactor)
  }

  private static func common(_ disks: [DataPartition]) -> BlockGeometry {
    let geometries = disks.map(\.geometry)
    return BlockGeometry(
      byteCount: geometries.reduce(0) { $0 + $1.byteCount }, logicalSector: geometries.map(\.logicalSector).max() ?? 4096,
      physicalSector: geometries.map(\.physicalSector).max() ?? 4096, zeroesCheaply: geometries.allSatisfy(\.zeroesCheaply),
      isReadOnly: geometries.contains { $0.isReadOnly }, isRotational: geometries.contains { $0.isRotational })
  }

  public var diskCount: Int { disks.count }
  public var dataDevices: [BlockDevice] { disks }
  /// A slab that was just allocated reads as zeros, so all presence bits of a new row are set from the start.
  public var slabsStartZeroed: Bool { commonGeometry.zeroesCheaply }
  public var capacityByteCount: UInt64 { UInt64(allocator.totalSlabCount) * slabByteCount }
  public var freeByteCount: UInt64 { UInt64(allocator.freeSlabCount) * slabByteCount }
  public func freeByteCount(of disk: DataPartition) -> UInt64 { UInt64(allocator.freeSlabCount(of: disk.number)) * slabByteCount }
  public func capacityByteCount(of disk: DataPartition) -> UInt64 { UInt64(disk.slabCount) * slabByteCount }
  public func rowsAvailable(columns: Int) -> Int { allocator.rowsAvailable(columns: columns) }

  /// The device and its address of a byte in a slab.
  @inline(__always)
  public func locate(_ slab: SlabAssignment, _ offset: UInt64) -> (DataPartition, UInt64) {
    guard let disk = disksByNumber[Int(slab.disk.value)] else { preconditionFailure("opening checks that every slab's disk is there") }
    return (disk, slabsStart + UInt64(slab.slab.value) * slabStride + offset)
  }

  // MARK: Slabs

  /// One slab on each of `columns` disks, prepared: on disks that zero cheaply they read as zeros and have their space below. Nothing is
  /// durable yet: the caller commits the row record.
  public func allocateRow(columns: Int, for virtualDisk: VirtualDiskHandle) async throws(BlockError) -> [SlabAssignment] {
    if isReadOnly { throw BlockError(.readOnly) }
    guard hasMetadataRoom(columns: columns) else { throw BlockError(.noSpace) }
    uncommittedRowCount += 1  // before anything is waited for: others that ask meanwhile must see it
    do throws(BlockError) { return try await dealPrepared(columns, virtualDisk) } catch {
      uncommittedRowCount -= 1
      throw error
    }
  }

  private func dealPrepared(_ columns: Int, _ virtualDisk: VirtualDiskHandle) async throws(BlockError) -> [SlabAssignment] {
    guard let dealt = await deal(columns) else { throw BlockError(.noSpace) }
    let slabs = dealt.map { SlabAssignment(disk: $0.disk, slab: $0.slab, generation: numbers.takeGeneration()) }
    do throws(BlockError) { try await prepare(slabs, for: virtualDisk) } catch {
      for slab in slabs { allocator.release(slab.slab, on: slab.disk) }
      throw error
    }
    return slabs
  }

  /// Whether the metadata has room for one more row beside those that are allocated and not committed yet. Half of the free pages are
  /// counted, because records do not fill pages to the last byte; the store keeps a reserve besides, which only freeing may use.
  private func hasMetadataRoom(columns: Int) -> Bool {
    let statistics = store.statistics
    let free = max(
      0, statistics.freePageCount - statistics.pageCount / StoreLimits.reservedPageFraction - StoreLimits.reservedPageCountSmallest)
    let perRow = 4 * FormatLimits.recordHeaderByteCount + columns * RowRecord.Offset.slabByteCount + PoolLimits.presenceByteCountPerRow
    return free / 2 * FormatLimits.pageByteCount > (uncommittedRowCount + 1) * perRow
  }

  /// `count` rows that were allocated are in the metadata now, or were freed before they came there.
  public func rowsSettled(_ count: Int) {
    uncommittedRowCount -= count
    assert(uncommittedRowCount >= 0)
  }

  /// Frees that are not durable yet are made so before a pool calls itself full.
  private func deal(_ columns: Int) async -> [(disk: DiskNumber, slab: SlabNumber)]? {
    if let dealt = allocator.allocate(columns: columns) { return dealt }
    await reclaimSpace()
    return allocator.allocate(columns: columns)
  }

  /// Makes what was freed and is not durable yet available.
  public func reclaimSpace() async {
    for reclaimer in reclaimers { await reclaimer.reclaimSpace() }
  }

  /// On files this allocates the space in the host's file system, so that a full one shows here and not at a later write.
  private func prepare(_ slabs: [SlabAssignment], for virtualDisk: VirtualDiskHandle) async throws(BlockError) {
    guard slabsStartZeroed else { return }
    let split = stripeIO.begin()
    for slab in slabs {
      let (disk, address) = locate(slab, 0)
      split.add(IOPart(.writeZeroes, disk, at: address, byteCount: slabByteCount))
    }
    try await stripeIO.performAll(split, IORequest(virtualDisk: virtualDisk, ioClass: .metadata, ownerTerm: ownerTerm))
  }

  /// Takes back slabs whose freeing is durable: their space is given back below, then they can be dealt again.
  public func releaseSlabs(_ slabs: [SlabAssignment]) async {
    for slab in slabs {
      let (disk, address) = locate(slab, 0)
      // Failing to give space back below costs space there, not data.
      _ = try? await disk.discard(at: address, byteCount: slabByteCount, IORequest(ioClass: .metadata, ownerTerm: ownerTerm))
      allocator.release(slab.slab, on: slab.disk)
    }
  }

  // MARK: Metadata

  public func nextRowID() -> RowID { numbers.takeRow() }
  public func nextVirtualDiskNumber() -> VirtualDiskNumber { numbers.takeVirtualDisk() }

  /// Makes `changes` durable on all voters, all or nothing. Numbers that were given out are never given out again, even if the crash comes
  /// right after.
  public func commit(_ changes: [MetadataChange], priority: CommitPriority = .normal) async throws(BlockError) {
    do throws(MetadataError) { try await commitWithNumbers(changes, priority) } catch {
      throw BlockError(error.cause == .metadataFull ? .noSpace : .ioFailed)
    }
  }

  /// The same for who reports to a person.
  public func commitOrExplain(_ changes: [MetadataChange], doing action: String) async throws(PoolError) {
    do throws(MetadataError) { try await commitWithNumbers(changes, .normal) } catch { throw PoolError(error, doing: action) }
  }

  private func commitWithNumbers(_ changes: [MetadataChange], _ priority: CommitPriority) async throws(MetadataError) {
    do throws(MetadataError) { try await store.commit(numbers.reservation() + changes, priority: priority) } catch {
      numbers.reserveAgain()
      throw error
    }
  }

  /// The most changes, in bytes, that one commit should carry.
  public var commitByteLimit: Int { store.commitByteLimit / 2 }

  public static func byteCount(of changes: [MetadataChange]) -> Int { MetadataStore.byteCount(of: changes) }

  /// A row that was read when the pool was opened: its numbers are taken, whatever the counters say.
  func noteNumbers(_ row: RowRecord) {
    numbers.note(row: row.id)
    for slab in row.slabs { numbers.note(generation: slab.generation) }
  }

  /// What was found and healed when the pool was opened, in sentences for the log.
  public var notes: [String] { store.notes }

  // MARK: Life

  public func attach(_ reclaimer: any SpaceReclaimer) { reclaimers.append(reclaimer) }
  public func detach(_ reclaimer: any SpaceReclaimer) { reclaimers.removeAll { $0 === reclaimer } }

  /// Commits now and then what no flush of a client has committed, so that trimmed space comes back by itself.
  public func startHousekeeping() {
    reactor.spawn { [reactor, weak self] in
      while true {
        await reactor.sleep(milliseconds: PoolLimits.housekeepingMilliseconds)
        guard let self, !self.isClosing else { return }
        for reclaimer in self.reclaimers where !self.isClosing { await reclaimer.commitPending() }
      }
    }
  }

  /// Marks the pool as closed in order. The virtual disks are closed before; afterwards the disks can be closed.
  public func close() async throws(PoolError) {
    isClosing = true
    let failure = await store.close()
    await stripeIO.close()
    await chunkIO.close()
    if let failure { throw PoolError(failure, doing: "closing the pool \(name)") }
  }
}
