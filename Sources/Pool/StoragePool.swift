import BlockDevice
import Reactor
import StorageBus

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
  public private(set) var commonGeometry: BlockGeometry
  /// The data partitions of the capacity disks that are there, in the order of their disk numbers.
  public private(set) var disks: [DataPartition]
  /// Disks that were evicted since the pool was opened: split requests that are still in flight name them without holding them.
  private var departed: [DataPartition] = []
  /// All of the pool's disks are there and hold everything: the data path need not look at each.
  public private(set) var isWhole = true
  /// Counts the changes of which disks are there: who works on several copies for a while compares.
  public private(set) var membershipChanges = 0
  /// Capacity disks that the pool knows and that are not there.
  private var absentNumbers: Set<DiskNumber> = []
  /// For the layers above that split requests; see ParallelIO.perform for why there are two.
  public let stripeIO: ParallelIO
  public let chunkIO: ParallelIO
  public let bounceBuffers: BounceBuffers

  let store: MetadataStore
  /// Of a pool that is only read: slabs that the metadata gives to several rows, or that cannot be. What they hold is anybody's.
  private(set) var doubtfulSlabs: Set<UInt64> = []
  /// By disk number; the data path looks here for every request.
  private var disksByNumber: [DataPartition?]
  private let slabStride: UInt64
  private let slabsStart: UInt64
  var allocator: SlabAllocator
  /// The numbers that are given out next; a commit carries them along, see `commitWithNumbers`.
  private var numbers: NumberReserve
  /// In the order they came: a dictionary's order would differ from run to run, and a simulated run could not be repeated.
  private(set) var reclaimers: [any SpaceReclaimer] = []
  private(set) var isClosing = false
  private(set) var isClosed = false
  /// How long a disk may leave a request unanswered, in milliseconds, before it is given up.
  public var stallLimitMilliseconds = PoolLimits.stallLimitMilliseconds
  // Evictions, see StoragePool+Membership.swift.
  var evictionCount = 0
  var evictionFailure: BlockError?
  var evictionWaiters = WaitQueue()
  /// What happened to the pool, kept in its metadata.
  public private(set) lazy var events = EventLog(pool: self)
  public private(set) lazy var jobs = JobRunner(pool: self)
  /// A disk is the pool's no more: whoever holds it may let go.
  public var onDiskReleased: ((DiskNumber) -> Void)?
  /// Its cache disks, which are none of `disks`.
  public private(set) lazy var cache = PoolCache(pool: self, cacheMembers, directoryMemory)
  private let cacheMembers: [PoolDisk]
  private let directoryMemory: DirectoryMemory
  /// Told of each event as it happens: for the log.
  public var onEvent: ((EventRecord) -> Void)?
  /// Seconds since 1970, UTC, for what is written down with a date.
  public var wallClockSeconds: () -> UInt64 = { 0 }
  private var uncommittedRowCount = 0
  /// Disks of which somebody changes what they are for, or that are being released: one at a time.
  var disksInChange: Set<DiskNumber> = []
  var recordSummary = RecordSummary()

  init(
    reactor: any Reactor, store: MetadataStore, disks: [DataPartition], absentNumbers: Set<DiskNumber>, record: PoolRecord,
    allocator: SlabAllocator, cacheMembers: [PoolDisk], directoryMemory: DirectoryMemory
  ) {
    self.reactor = reactor
    self.store = store
    self.disks = disks
    self.cacheMembers = cacheMembers
    self.directoryMemory = directoryMemory
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
    disksByNumber = []
    commonGeometry = StoragePool.common(disks)
    stripeIO = ParallelIO(reactor: reactor)
    chunkIO = ParallelIO(reactor: reactor)
    bounceBuffers = BounceBuffers(reactor: reactor)
    self.absentNumbers = absentNumbers
    noteDisks()
  }

  /// After the disks or their states changed.
  func noteDisks() {
    membershipChanges += 1
    let highest = max(disks.map(\.number.value).max() ?? 0, absentNumbers.map(\.value).max() ?? 0)
    disksByNumber = Array(repeating: nil, count: Int(highest) + 1)
    for disk in disks where disk.isUsable { disksByNumber[Int(disk.number.value)] = disk }
    isWhole = absentNumbers.isEmpty && disks.allSatisfy { $0.state == .active || $0.state == .retiring }
    for disk in disks { allocator.setDealing(from: disk.number, disk.takesNewSlabs) }
    for number in absentNumbers { allocator.setDealing(from: number, false) }
    if !usableDisks.isEmpty { commonGeometry = StoragePool.common(usableDisks) }
    cache.rebind()
  }

  /// An evicted disk is no disk of the pool's any more until it returns.
  func depart(_ disk: DataPartition) {
    disks.removeAll { $0 === disk }
    departed.append(disk)
    absentNumbers.insert(disk.number)
    noteDisks()
  }

  /// An absent disk that is none of the pool's any more.
  func forget(_ number: DiskNumber) {
    absentNumbers.remove(number)
    noteDisks()
  }

  /// A disk that returned, or is new.
  func arrive(_ disk: DataPartition) {
    absentNumbers.remove(disk.number)
    disks.append(disk)
    disks.sort { $0.number < $1.number }
    noteDisks()
  }

  private static func common(_ disks: [DataPartition]) -> BlockGeometry {
    let geometries = disks.map(\.geometry)
    return BlockGeometry(
      byteCount: geometries.reduce(0) { $0 + $1.byteCount }, logicalSector: geometries.map(\.logicalSector).max() ?? 4096,
      physicalSector: geometries.map(\.physicalSector).max() ?? 4096, zeroesCheaply: geometries.allSatisfy(\.zeroesCheaply),
      isReadOnly: geometries.contains { $0.isReadOnly }, isRotational: geometries.contains { $0.isRotational })
  }

  public var diskCount: Int { disks.count }
  public var usableDisks: [DataPartition] { disks.filter(\.isUsable) }
  public var dataDevices: [BlockDevice] { usableDisks }
  public var absentDiskNumbers: [DiskNumber] { absentNumbers.sorted() }
  /// A slab that was just allocated reads as zeros, so all presence bits of a new row are set from the start.
  public var slabsStartZeroed: Bool { commonGeometry.zeroesCheaply }
  public var capacityByteCount: UInt64 { UInt64(allocator.totalSlabCount) * slabByteCount }
  public var freeByteCount: UInt64 { UInt64(allocator.freeSlabCount) * slabByteCount }
  public func freeByteCount(of disk: DataPartition) -> UInt64 { UInt64(allocator.freeSlabCount(of: disk.number)) * slabByteCount }
  public func capacityByteCount(of disk: DataPartition) -> UInt64 { UInt64(disk.slabCount) * slabByteCount }
  /// How many more rows of so many slabs, each on another disk, there is room for.
  public func rowsAvailable(slabsPerRow: Int) -> Int { allocator.rowsAvailable(columns: slabsPerRow) }

  /// The device and its address of a byte in a slab; nil while the slab's disk is not there.
  @inline(__always)
  public func locate(_ slab: SlabAssignment, _ offset: UInt64) -> (device: DataPartition, address: UInt64)? {
    guard let disk = disksByNumber[Int(slab.disk.value)] else { return nil }
    return (disk, slabsStart + UInt64(slab.slab.value) * slabStride + offset)
  }

  /// The disk, when it may be asked for anything.
  public func usableDisk(_ number: DiskNumber) -> DataPartition? {
    Int(number.value) < disksByNumber.count ? disksByNumber[Int(number.value)] : nil
  }

  // MARK: Slabs

  /// The slabs of a new row, each on another disk, in the order of their places (`column * copies + copy`), prepared: on disks that zero
  /// cheaply they read as zeros and have their space below. Where too few disks are there for all copies, but enough for one of each
  /// column, the places of the others have none. Nothing is durable yet: the caller commits the row record.
  public func allocateRow(
    columns: Int, copies: Int, for virtualDisk: VirtualDiskHandle
  ) async throws(BlockError) -> (slabs: [SlabAssignment], startsZeroed: Bool) {
    if isReadOnly { throw BlockError(.readOnly) }
    guard hasMetadataRoom(slabs: columns * copies) else { throw BlockError(.noSpace) }
    uncommittedRowCount += 1  // before anything is waited for: others that ask meanwhile must see it
    do throws(BlockError) { return try await dealPrepared(columns, copies, virtualDisk) } catch {
      uncommittedRowCount -= 1
      throw error
    }
  }

  private func dealPrepared(
    _ columns: Int, _ copies: Int, _ virtualDisk: VirtualDiskHandle
  ) async throws(BlockError) -> (slabs: [SlabAssignment], startsZeroed: Bool) {
    var full: Set<DiskNumber> = []
    var failure = BlockError(.noSpace)
    while true {
      guard let dealt = await deal(columns, copies, without: full) else { throw failure }
      let slabs = dealt.map { slab in
        slab.map { SlabAssignment(disk: $0.disk, slab: $0.slab, generation: numbers.takeGeneration()) } ?? .none
      }
      let startsZeroed = slabsStartZeroed
      let membership = membershipChanges
      let failures = startsZeroed ? await prepare(slabs, for: virtualDisk) : []
      // A disk that left meanwhile has perhaps lost the zeros, and nobody would know: the row is not on any list yet.
      if failures.isEmpty && membership == membershipChanges { return (slabs, startsZeroed) }
      for slab in slabs where !slab.isNone { allocator.release(slab.slab, on: slab.disk) }
      for (disk, error) in failures {
        // A full file system below is no failure of the disk: the row goes elsewhere. So it does where a disk failed that must stay.
        if error.cause == .noSpace {
          full.insert(disk.number)
          continue
        }
        do throws(BlockError) { try await writeFailed(on: disk, error) } catch {
          full.insert(disk.number)
          failure = error
        }
      }
    }
  }

  /// One prepared slab for a copy that moves, on the emptiest disk that is not among `excluded`, or on `only`. Nil when there is none. What
  /// replaces a lost copy (`isRepair`) goes to hot spares first, all else to them last.
  public func allocateSlab(
    notOn excluded: Set<DiskNumber>, only: DiskNumber? = nil, isRepair: Bool = false
  ) async throws(BlockError) -> SlabAssignment? {
    var excluded = excluded
    while true {
      let candidates = disks.filter { disk in
        (disk.takesNewSlabs || (disk.state == .active && disk.usage == .hotspare)) && !excluded.contains(disk.number)
          && (only == nil || only == disk.number)
      }
      let spares = Set(candidates.filter { $0.usage == .hotspare }.map(\.number))
      let others = Set(candidates.map(\.number)).subtracting(spares)
      guard let dealt = allocator.allocateSlab(on: isRepair ? spares : others) ?? allocator.allocateSlab(on: isRepair ? others : spares)
      else { return nil }
      let slab = SlabAssignment(disk: dealt.disk, slab: dealt.slab, generation: numbers.takeGeneration())
      let failures = slabsStartZeroed ? await prepare([slab], for: .pool) : []
      guard let (disk, error) = failures.first else {
        if spares.contains(slab.disk) { await useSpare(slab.disk) }
        return slab
      }
      allocator.release(slab.slab, on: slab.disk)
      excluded.insert(disk.number)
      if error.cause != .noSpace { _ = try? await writeFailed(on: disk, error) }
    }
  }

  /// Takes back a slab that never came into the metadata.
  public func releaseUncommitted(_ slab: SlabAssignment) { allocator.release(slab.slab, on: slab.disk) }

  /// Whether the metadata has room for one more row beside those that are allocated and not committed yet. Half of the free pages are
  /// counted, because records do not fill pages to the last byte; the store keeps a reserve besides, which only freeing may use.
  private func hasMetadataRoom(slabs: Int) -> Bool {
    let statistics = store.statistics
    let free = max(
      0, statistics.freePageCount - statistics.pageCount / StoreLimits.reservedPageFraction - StoreLimits.reservedPageCountSmallest)
    let perRow = 5 * FormatLimits.recordHeaderByteCount + slabs * RowRecord.Offset.slabByteCount + PoolLimits.presenceByteCountPerRow
    return free / 2 * FormatLimits.pageByteCount > (uncommittedRowCount + 1) * perRow
  }

  /// `count` rows that were allocated are in the metadata now, or were freed before they came there.
  public func rowsSettled(_ count: Int) {
    uncommittedRowCount -= count
    assert(uncommittedRowCount >= 0)
  }

  /// Frees that are not durable yet are made so before a pool calls itself full.
  private func deal(_ columns: Int, _ copies: Int, without: Set<DiskNumber>) async -> [SlabAllocator.Dealt?]? {
    if let dealt = allocator.allocate(columns: columns, copies: copies, without: without) { return dealt }
    await reclaimSpace()
    return allocator.allocate(columns: columns, copies: copies, without: without)
  }

  /// Makes what was freed and is not durable yet available.
  public func reclaimSpace() async {
    for reclaimer in reclaimers { await reclaimer.reclaimSpace() }
  }

  /// On files this allocates the space in the host's file system, so that a full one shows here and not at a later write.
  /// Says which disks failed.
  private func prepare(_ slabs: [SlabAssignment], for virtualDisk: VirtualDiskHandle) async -> [(DataPartition, BlockError)] {
    let split = stripeIO.begin()
    var places: [DataPartition] = []
    for slab in slabs {
      guard let (disk, address) = locate(slab, 0) else { continue }
      split.add(IOPart(.writeZeroes, disk, at: address, byteCount: slabByteCount))
      places.append(disk)
    }
    await stripeIO.perform(split, IORequest(virtualDisk: virtualDisk, ioClass: .metadata, ownerTerm: ownerTerm))
    var failures: [(DataPartition, BlockError)] = []
    for (index, disk) in places.enumerated() { if let error = split.error(ofPart: index) { failures.append((disk, error)) } }
    stripeIO.end(split)
    return failures
  }

  /// Takes back slabs whose freeing is durable: their space is given back below, then they can be dealt again.
  public func releaseSlabs(_ slabs: [SlabAssignment]) async {
    for slab in slabs {
      guard let (disk, address) = locate(slab, 0) else {
        allocator.release(slab.slab, on: slab.disk)
        continue
      }
      // Failing to give space back below costs space there, not data.
      _ = try? await disk.discard(at: address, byteCount: slabByteCount, IORequest(ioClass: .metadata, ownerTerm: ownerTerm))
      allocator.release(slab.slab, on: slab.disk)
    }
  }

  // MARK: Metadata

  public var metadataStatistics: MetadataStatistics { store.statistics }

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
  func noteNumbers(_ row: RowRecord.View) {
    numbers.note(row: row.id)
    for place in 0..<row.slabCount { numbers.note(generation: row.generation(place)) }
  }

  /// Whether nobody can tell whose the slab's content is.
  public func isDoubtful(_ disk: DiskNumber, _ slab: SlabNumber) -> Bool {
    !doubtfulSlabs.isEmpty && doubtfulSlabs.contains(UInt64(disk.value) << 32 | UInt64(slab.value))
  }

  func doubt(_ disk: DiskNumber, _ slab: SlabNumber) { doubtfulSlabs.insert(UInt64(disk.value) << 32 | UInt64(slab.value)) }

  /// Reads the metadata again from all disks and checks it; nothing is written (docs/architecture.md).
  public func check() async -> PoolCheck { await store.check() }

  /// Of a pool that is only read: for which state of the pool its disks speak.
  public var reading: ReadingBasis? { store.readingBasis }

  /// What was found and healed when the pool was opened, in sentences for the log.
  public var notes: [String] { store.notes }

  // MARK: Life

  public func attach(_ reclaimer: any SpaceReclaimer) { reclaimers.append(reclaimer) }
  public func detach(_ reclaimer: any SpaceReclaimer) { reclaimers.removeAll { $0 === reclaimer } }

  /// Commits now and then what no flush of a client has committed, so that trimmed space comes back by itself.
  public func startHousekeeping() {
    reactor.spawn { [reactor, weak self] in
      while true {
        await reactor.sleep(milliseconds: PoolLimits.watchMilliseconds)
        guard let self, !self.isClosing else { return }
        self.reactor.spawn { [weak self] in await self?.lookAtDisks() }  // not waited for: a disk may hang
      }
    }
    if isReadOnly { return }
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
    watchClosing()
    defer { isClosed = true }
    if !isReadOnly { await jobs.stop() }
    cache.beginClosing()
    let failure = await store.close()
    await cache.close(isInOrder: failure == nil)
    await stripeIO.close()
    await chunkIO.close()
    if let failure { throw PoolError(failure, doing: "closing the pool \(name)") }
  }
}
