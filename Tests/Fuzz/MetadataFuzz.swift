import BlockDevice
import CLinux
import Reactor
import Simulation

@testable import Pool
@testable import StorageBus

/// Everything that is made of the bytes of a pool's disk. The first byte chooses what:
///
/// bits 0 and 1: 0, 1 a whole disk of a pool, alone or beside another; 2 one structure or record; 3 a cache disk or a witness
/// bit 2: checksums are made right, as an attacker makes them
///
/// Of whole disks the rest are edits: see `FuzzImage.edit`.
func fuzzMetadata(_ input: UnsafeBufferPointer<UInt8>) {
  var input = FuzzBytes(input)
  let choice = input.byte()
  let fixes = choice & 4 != 0
  switch choice & 3 {
  case 0: MetadataFuzzer.shared.fuzzPool(&input, fixes: fixes, disks: 1)
  case 1: MetadataFuzzer.shared.fuzzPool(&input, fixes: fixes, disks: 2)
  case 2: fuzzStructure(&input, fixes: fixes)
  default: choice & 8 == 0 ? MetadataFuzzer.shared.fuzzCacheDisk(&input, fixes) : MetadataFuzzer.shared.fuzzWitness(&input, fixes)
  }
}

// MARK: Structures and records by themselves

/// What decodes must encode to something that decodes to the same.
private func fuzzStructure(_ input: inout FuzzBytes, fixes: Bool) {
  let kind = Int(input.byte()) % 14
  let key = RecordKey(
    RecordKind(rawValue: UInt16(max(1, kind))), UInt64(input.byte()) << 8 * UInt64(input.byte() % 8), UInt64(input.byte()))
  switch kind {
  case 1: checkRecord(PoolRecord.self, RecordKey(.pool), input.all())
  case 2: checkRecord(DiskRecord.self, key, input.all())
  case 3: checkRecord(VirtualDiskRecord.self, key, input.all())
  case 4: checkRecord(MapRecord.self, key, input.all())
  case 5: checkRecord(RowRecord.self, key, input.all())
  case 6: checkRecord(DirtyRegionsRecord.self, key, input.all())
  case 8: checkRecord(JobRecord.self, key, input.all())
  case 9: checkRecord(EventRecord.self, key, input.all())
  default: checkBlock(kind, input.all(), fixes)
  }
}

private func checkRecord<Value: MetadataRecord>(_ type: Value.Type, _ key: RecordKey, _ value: [UInt8]) {
  guard let record = try? Value(Record(key: key, version: 1, value: value)) else { return }
  guard let again = try? Value(record.record) else { fatalError("\(record) does not come back from its own bytes") }
  precondition(again == record, "\(record) comes back as \(again)")
}

private func checkBlock(_ kind: Int, _ content: [UInt8], _ fixes: Bool) {
  let magics: [StructureHeader.Magic] = [.superblock, .witness, .journalEntry, .pageTable, .recordPage, .dataSignature]
  let magic = magics[kind % magics.count]
  let block = MemoryBlock(byteCount: FormatLimits.pageByteCount)
  block.bytes.zero()
  block.bytes.setBytes(content.prefix(block.bytes.count), at: 0)
  let isPage = magic == .recordPage
  if fixes {
    block.bytes.setLittle(magic.rawValue, at: 0)
    block.bytes.setLittle(FormatLimits.version, at: 12)
    if magic != .journalEntry { block.bytes.setLittle(UInt32(isPage ? FormatLimits.pageByteCount : 4096), at: 56) }
    if isPage || magic == .pageTable { block.bytes.setLittle(UInt32(0), at: 60) }
    FuzzImage.reseal(block.bytes)
  }
  let bytes = block.bytes.readOnly
  let first = bytes.part(from: 0, byteCount: 4096)
  let owner = StructureOwner(pool: PoolID(bytes: bytes.uuid(at: 16)), disk: DiskID(bytes: bytes.uuid(at: 32)))
  let reference = PageReference(sequence: bytes.little(UInt64.self, at: 48), checksum: bytes.little(UInt32.self, at: 8), slot: 0)
  let again = MemoryBlock(byteCount: 4096)
  switch magic {
  case .superblock:
    guard let found = try? Superblock(first) else { return }
    precondition(found.layout.dataEnd <= found.layout.diskByteCount, "a layout beyond the disk")
    precondition(found.layout.pagesOffset + UInt64(found.layout.pageCount * 32768) <= found.layout.dataOffset, "pages beyond the metadata")
    found.encode(again.bytes)
    precondition((try? Superblock(again.bytes.readOnly)) == found, "a superblock does not come back")
  case .witness:
    guard let found = try? WitnessSlot(first, place: Int(bytes[60] & 1)) else { return }
    found.encode(again.bytes)
    precondition((try? WitnessSlot(again.bytes.readOnly, place: found.place)) == found, "a witness's slot does not come back")
  case .journalEntry:
    guard let header = try? JournalEntryHeader(bytes, owner: owner, position: bytes.little(UInt64.self, at: 80)) else { return }
    _ = header.chainAfter(changes: bytes.part(from: JournalEntryHeader.byteCount, byteCount: header.changesByteCount))
    guard let changes = try? header.changes(bytes) else { return }
    var end = 0
    let encoded = MemoryBlock(byteCount: max(4096, changes.reduce(0) { $0 + $1.encodedByteCount }))
    for change in changes { end = change.encode(encoded.bytes, at: end) }
    var reader = ByteReader(encoded.bytes.readOnly.part(from: 0, byteCount: end))
    for change in changes {
      // A deletion's bytes say nothing.
      precondition((try? MetadataChange(&reader)) == change, "a change does not come back")
    }
  case .pageTable:
    guard let entries = try? PageTablePage.decode(first, reference, owner: owner, index: 0, count: 252) else { return }
    precondition(entries.count == 252, "entries are missing")
  case .recordPage:
    guard let used = try? RecordPage.check(bytes, reference, owner: owner, page: 0) else { return }
    let pages = PageStore(pageCount: 2, secret: 1)
    guard pages.load(bytes, page: 0, used: used) else { return }
    var count = 0
    pages.forEach { view in
      count += 1
      precondition(view.valueByteCount <= FormatLimits.recordValueByteCount, "a record that is too long")
    }
    precondition(count == pages.recordCount, "records are counted wrongly")
  default: _ = try? DataSignature.check(first, owner: owner)
  }
}

// MARK: Whole disks

/// Disks to begin with, made once; and a simulated reactor that all runs share.
final class MetadataFuzzer: @unchecked Sendable {  // one thread
  static let shared = MetadataFuzzer()
  private static let byteCount = 6 << 20

  private let reactor = SimulatedReactor(seed: 1, jobOrder: .firstComeFirstServed)
  /// The first disk of a pool of one and of a pool of two, and the second's second.
  private var pools: [[FuzzImage]] = []
  private let cacheDisk: FuzzImage
  private let witness: FuzzImage
  private static let cacheOptions: CacheDiskOptions = {
    var options = CacheDiskOptions(pool: StorageUUID(high: 1, low: 2), id: StorageUUID(high: 3, low: 4))
    options.pageByteCount = 16 << 10
    options.memoryByteCount = 1 << 20
    return options
  }()
  private static let capacityDisk = CapacityDiskNonce(id: StorageUUID(high: 5, low: 6), nonce: 7)
  private static let witnessedPool = PoolID(bytes: UUIDBytes(high: 1, low: 2))

  private init() {
    cacheDisk = MetadataFuzzer.makeCacheDisk()
    witness = MetadataFuzzer.makeWitness()
    for count in 1...2 {
      let disks = (0..<count).map { FuzzDisk(reactor, FuzzImage(byteCount: MetadataFuzzer.byteCount), "disk\($0)") }
      run { reactor in try await MetadataFuzzer.makePool(disks, reactor) }
      pools.append(disks.map { FuzzImage(base: $0.image.flattened) })
    }
    reactor.buffers.releaseIdleLargeBuffers()
  }

  /// Runs to the end and sees that nothing is left behind. What is thrown is what the disk deserves.
  private func run(_ body: @escaping @Sendable (SimulatedReactor) async throws -> Void) {
    let reactor = reactor
    do {
      try reactor.runToCompletion {
        do { try await body(reactor) } catch is MetadataError {} catch is BlockError {} catch is FormatError {}
      }
      try reactor.runUntilIdle(limit: reactor.now.advanced(milliseconds: 3_600_000))
    } catch { fatalError("\(error)") }
    precondition(reactor.buffers.heldCount == 0, "buffers were not given back")
    precondition(reactor.buffers.reservedByteCount == 0, "reserved buffers were not given back")
  }

  func fuzzPool(_ input: inout FuzzBytes, fixes: Bool, disks count: Int) {
    var images = pools[count - 1]
    images[0].edit(&input)
    if fixes { images[0].fixPool() }
    func disks() -> [FuzzDisk] { images.enumerated().map { FuzzDisk(reactor, $1, "disk\($0)") } }
    let (inspected, loaded, opened) = (disks(), disks(), disks())
    run { _ in
      let inspection = await MetadataInspection.inspect(inspected[0])
      precondition(!inspection.superblockPlaces.isEmpty, "a disk without places for superblocks")
    }
    run { reactor in
      let store = try await MetadataStore.readOnlyLoad(devices: loaded, reactor: reactor)
      store.forEachRecord(.row) { _, _, _ in }
    }
    run { reactor in
      let store = try await MetadataStore.open(devices: opened, reactor: reactor)
      do { try await store.commit([.put(Record(key: RecordKey(.setting, 1), version: 1, value: [1, 2, 3]))]) } catch {
        await store.close()
        throw error
      }
      await store.close()
    }
  }

  func fuzzCacheDisk(_ input: inout FuzzBytes, _ fixes: Bool) {
    var image = cacheDisk
    image.edit(&input)
    if fixes { image.fixAll(headerByteCount: CacheDiskFormat.headerByteCount) }
    let disk = FuzzDisk(reactor, image, "cache")
    run { _ in
      let range = 0..<disk.geometry.byteCount
      _ = try await CacheDisk.inspect(disk, range: range)
      let cache = try await CacheDisk.open(disk, range: range, options: MetadataFuzzer.cacheOptions, found: [MetadataFuzzer.capacityDisk])
      precondition(cache.usedPageCount >= 0 && cache.freePageCount >= 0, "pages are counted wrongly")
      await cache.close(nonces: [MetadataFuzzer.capacityDisk])
    }
  }

  func fuzzWitness(_ input: inout FuzzBytes, _ fixes: Bool) {
    var image = witness
    image.edit(&input)
    if fixes { image.fixAll() }
    let disk = FuzzDisk(reactor, image, "witness")
    run { _ in
      let witness = Witness(device: disk)
      defer { witness.releaseBuffer() }
      let found = try await witness.read(pool: MetadataFuzzer.witnessedPool)
      guard let state = found.state else { return }
      try await witness.write(state, pool: MetadataFuzzer.witnessedPool)
      let again = try await Witness(device: disk).read(pool: MetadataFuzzer.witnessedPool)
      precondition(again.state == state, "a witness does not remember")
    }
  }

  // MARK: What they begin with

  /// A small pool that was not closed: a checkpoint with a record of every kind, and entries behind it.
  private static func makePool(_ disks: [FuzzDisk], _ reactor: SimulatedReactor) async throws {
    var layout = try LayoutChoice(diskByteCounts: [1 << 30], slabByteCount: 1 << 20)
    layout.metadataByteCount = 1 << 20
    layout.journalByteCount = 64 << 10
    _ = try await MetadataStore.format(
      disks: disks.map { NewDisk(device: $0) }, options: FormatOptions(poolName: "tank", createdSeconds: 1, layout: layout),
      reactor: reactor)
    let store = try await MetadataStore.open(devices: disks, reactor: reactor)
    let virtualDisk = VirtualDiskRecord(
      number: VirtualDiskNumber(1), id: VirtualDiskUUID(bytes: UUIDBytes(high: 1, low: 1)), name: "wal", byteCount: 8 << 20,
      logicalSector: 4096, provisioning: .thin, resiliency: .simple, columns: 1, copies: 1, interleave: 1 << 18,
      presenceChunkByteCount: 1 << 16, createdSeconds: 1)
    try await store.commit([
      .put(virtualDisk), .put(JobRecord(number: 1, kind: .resync, startedSeconds: 1)),
      .put(EventRecord(number: 1, seconds: 1, severity: .information, name: "made", message: "by the fuzzer")),
    ])
    for number in UInt64(1)...2 { try await store.commit(row(number)) }
    await store.close()
    let again = try await MetadataStore.open(devices: disks, reactor: reactor)
    for number in UInt64(3)...4 { try await again.commit(row(number)) }
    let images = disks.map(\.image)
    await again.close()
    for (disk, image) in zip(disks, images) { disk.image = image }
  }

  private static func row(_ number: UInt64) -> [MetadataChange] {
    let row = RowRecord(
      id: RowID(number), resiliency: .simple, columns: 1, copies: 1, interleave: 1 << 18, virtualDisk: VirtualDiskNumber(1),
      slabs: [RowRecord.Slab(disk: DiskNumber(1), number: SlabNumber(0), generation: SlabGeneration(number))])
    return [
      .put(row), .put(MapRecord(virtualDisk: VirtualDiskNumber(1), index: number, row: row.id, presence: [1])),
      .put(DirtyRegionsRecord(row: row.id, regionByteCount: 4096, regions: [1])),
    ]
  }

  /// Closed in order, with one capacity disk and a few pages.
  private static func makeCacheDisk() -> FuzzImage {
    let image = MemoryBlock(byteCount: 4 << 20)
    image.bytes.zero()
    guard let layout = CacheDiskLayout(byteCount: 4 << 20, pageByteCount: 16 << 10, mostSlots: 1 << 10) else { fatalError("no room") }
    for generation in UInt64(1)...2 {
      var header = CacheDiskHeader(
        pool: cacheOptions.pool, cacheDisk: cacheOptions.id, generation: generation, layout: layout, session: 9, isClean: generation == 2)
      header.disks = [CacheDiskHeader.Disk(id: capacityDisk.id, nonce: capacityDisk.nonce, number: 1)]
      header.pageCount = 4
      header.encode(
        image.bytes.part(from: Int(CacheDiskHeader.offset(ofGeneration: generation)), byteCount: CacheDiskFormat.headerByteCount))
    }
    let block = image.bytes.part(from: Int(CacheDiskFormat.indexOffset), byteCount: CacheDiskFormat.indexBlockByteCount)
    for slot in 0..<4 { block.set(PageKey(disk: 1, page: UInt64(slot * 3 + 1)).value, at: CacheIndexEntry.offset(slot)) }
    CacheDiskFormat.seal(block, magic: CacheDiskFormat.indexMagic, pool: cacheOptions.pool, disk: cacheOptions.id, sequence: 9, index: 0)
    return FuzzImage(base: Array(image.bytes))
  }

  private static func makeWitness() -> FuzzImage {
    let image = MemoryBlock(byteCount: Int(Witness.byteCount))
    image.bytes.zero()
    let member = MembershipEpoch.Member(disk: DiskID(bytes: UUIDBytes(high: 3, low: 4)), number: DiskNumber(1))
    for sequence in UInt64(1)...2 {
      let epoch = MembershipEpoch(
        number: sequence, id: EpochID(bytes: UUIDBytes(high: 5, low: sequence)),
        predecessor: EpochID(bytes: UUIDBytes(high: 5, low: sequence - 1)),
        diskCount: 1, members: [member])
      let slot = WitnessSlot(pool: witnessedPool, sequence: sequence, state: WitnessedState(epoch: epoch, committed: sequence))
      slot.encode(UnsafeMutableRawBufferPointer(rebasing: image.bytes[Int(slot.offset)..<Int(slot.offset) + 4096]))
    }
    return FuzzImage(base: Array(image.bytes))
  }
}
