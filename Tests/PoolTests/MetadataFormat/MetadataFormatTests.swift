import BlockDevice
import Reactor
import Testing

@testable import Pool

@Suite struct MetadataFormatTests {
  static func id(_ number: UInt64) -> UUIDBytes { UUIDBytes(high: number &* 0x0123_4567_89ab_cdef, low: ~number) }

  static func superblock() throws -> Superblock {
    let layout = try LayoutChoice(diskByteCounts: [10 << 30]).layout(diskByteCount: 10 << 30)
    let members = (1...5).map {
      MembershipEpoch.Member(disk: DiskID(bytes: id(UInt64($0))), number: DiskNumber($0), role: $0 == 5 ? .learner : .voter)
    }
    return Superblock(
      pool: PoolID(bytes: id(100)), disk: DiskID(bytes: id(1)), sequence: 77, features: FeatureFlags(incompatible: 1, compatible: 1 << 63),
      diskNumber: DiskNumber(1), isClosedCleanly: true, poolName: "Bücher", ownerTerm: .max, ownerNode: NodeID(bytes: id(3)), fencingKey: 9,
      nonce: 10, committedNonce: 11, createdSeconds: 12, logicalSector: 512, physicalSector: 4096, layout: layout,
      epoch: MembershipEpoch(number: 8, id: EpochID(bytes: id(4)), predecessor: EpochID(bytes: id(5)), diskCount: 6, members: members))
  }

  static let rows: [RowRecord] = {
    let slabs = (0..<4).map {
      RowRecord.Slab(
        disk: DiskNumber(UInt32($0 + 1)), number: SlabNumber(UInt32.max - UInt32($0)),
        generation: SlabGeneration(FormatLimits.numberLimit - 1),
        state: .rebuilding, flags: 3, cursorByteCount: 1 << 30)
    }
    var row = RowRecord(
      id: RowID(5), owner: .data, resiliency: .mirror, columns: 2, copies: 2, referenceCount: 3, interleave: 1 << 18,
      virtualDisk: VirtualDiskNumber(7), slabs: slabs)
    row.keyID = 1
    row.birthSequence = 2
    row.transformID = 3
    row.trailing = [1, 2, 3]
    return [row]
  }()

  static func virtualDisk() -> VirtualDiskRecord {
    var record = VirtualDiskRecord(
      number: VirtualDiskNumber(3), id: VirtualDiskUUID(bytes: id(6)), name: "wal", byteCount: 1 << 40, logicalSector: 4096,
      provisioning: .thin, resiliency: .simple, columns: 8, copies: 1, interleave: 1 << 18, presenceChunkByteCount: 1 << 20,
      features: FeatureFlags(readOnlyCompatible: 5), createdSeconds: 4)
    record.parent = VirtualDiskNumber(1)
    record.parentMap = 2
    record.birthSequence = 3
    record.keyID = 4
    record.transformID = 5
    record.ioLimitPerSecond = 6
    record.byteLimitPerSecond = 7
    record.share = 8
    record.ownerNode = NodeID(bytes: id(9))
    record.trailing = [9]
    return record
  }

  static func disk() -> DiskRecord {
    var record = DiskRecord(
      number: DiskNumber(2), id: DiskID(bytes: id(7)), state: DiskRecord.State(rawValue: 200), usage: .hotspare, diskByteCount: 1,
      dataOffset: 2, slabsOffset: 3, slabCount: 4, logicalSector: 512, physicalSector: 4096, nonce: 5, epochNumber: 6,
      faultDomain: "rack1/node2", pathHint: "/dev/sdb")
    record.cacheDisk = DiskID(bytes: id(8))
    record.cacheNonce = 7
    record.trailing = [4, 5]
    return record
  }

  static func pool() -> PoolRecord {
    var record = PoolRecord(
      id: PoolID(bytes: id(1)), name: "tank", createdSeconds: 1, slabByteCount: 2, slabStride: 3, slabTrailerByteCount: 4,
      nextRow: RowID(5),
      nextGeneration: SlabGeneration(6), nextVirtualDisk: VirtualDiskNumber(7), nextDisk: DiskNumber(8), ownerNode: NodeID(bytes: id(9)),
      ownerTerm: 10, fencingKey: 11)
    record.defaultColumns = 12
    record.defaultInterleave = 13
    record.capacityAlertPercent = 70
    record.trailing = [14]
    return record
  }

  static func map() -> MapRecord {
    var record = MapRecord(virtualDisk: VirtualDiskNumber(1), index: .max, row: RowID(3), flags: 4, presence: [0xff, 0, 0x81])
    record.trailing = [1]
    return record
  }

  @Test func recordsComeBackAsTheyWere() throws {
    for row in Self.rows { #expect(try RowRecord(row.record) == row) }
    #expect(try VirtualDiskRecord(Self.virtualDisk().record) == Self.virtualDisk())
    #expect(try DiskRecord(Self.disk().record) == Self.disk())
    #expect(try PoolRecord(Self.pool().record) == Self.pool())
    #expect(try MapRecord(Self.map().record) == Self.map())
  }

  @Test func patchesHitTheFieldsTheyAreMeantFor() throws {
    func patched<Value: MetadataRecord>(_ value: Value, _ offset: Int, _ bytes: [UInt8]) throws -> Value {
      var record = value.record
      record.value.replaceSubrange(offset..<offset + bytes.count, with: bytes)
      return try Value(record)
    }
    #expect(try patched(Self.pool(), PoolRecord.Offset.nextRow, [99]).nextRow == RowID(99))
    #expect(try patched(Self.pool(), PoolRecord.Offset.nextGeneration, [99]).nextGeneration == SlabGeneration(99))
    #expect(try patched(Self.pool(), PoolRecord.Offset.nextVirtualDisk, [99]).nextVirtualDisk == VirtualDiskNumber(99))
    #expect(try patched(Self.pool(), PoolRecord.Offset.nextDisk, [99]).nextDisk == DiskNumber(99))
    #expect(try patched(Self.pool(), PoolRecord.Offset.ownerTerm, [99]).ownerTerm == 99)
    #expect(try patched(Self.disk(), DiskRecord.Offset.state, [2]).state == .evicted)
    #expect(try patched(Self.disk(), DiskRecord.Offset.usage, [4]).usage == .retired)
    #expect(try patched(Self.disk(), DiskRecord.Offset.nonce, [99]).nonce == 99)
    #expect(try patched(Self.disk(), DiskRecord.Offset.epochNumber, [99]).epochNumber == 99)
    #expect(try patched(Self.virtualDisk(), VirtualDiskRecord.Offset.state, [2]).state == .deleting)
    #expect(try patched(Self.virtualDisk(), VirtualDiskRecord.Offset.byteCount, [0, 16, 0, 0, 0, 0]).byteCount == 4096)
    #expect(try patched(Self.map(), MapRecord.Offset.row, [99]).row == RowID(99))
    #expect(try patched(Self.map(), MapRecord.Offset.presence + 1, [7]).presence == [0xff, 7, 0x81])
    let slab = RowRecord.Offset.slab(1)
    #expect(try patched(Self.rows[0], RowRecord.Offset.referenceCount, [99]).referenceCount == 99)
    #expect(try patched(Self.rows[0], slab + RowRecord.Offset.slabDisk, [99]).slabs[1].disk == DiskNumber(99))
    #expect(try patched(Self.rows[0], slab + RowRecord.Offset.slabState, [1]).slabs[1].state == .inSync)
    #expect(try patched(Self.rows[0], slab + RowRecord.Offset.slabCursor, [2, 0, 0, 0]).slabs[1].cursorByteCount == 8192)
    #expect(try patched(Self.rows[0], slab + RowRecord.Offset.slabNumber, [1, 0, 0, 0]).slabs[1].number == SlabNumber(1))
    #expect(
      try patched(Self.rows[0], slab + RowRecord.Offset.slabGeneration, [0]).slabs[1].generation
        == SlabGeneration((FormatLimits.numberLimit - 1) & ~0xff))
  }

  /// Numbers from which counting on would overflow are damage.
  @Test func numbersAtTheirLimitAreRefused() throws {
    let limit = FormatLimits.numberLimit
    var row = Self.rows[0]
    row.slabs[1].generation = SlabGeneration(limit)
    #expect(throws: FormatError.invalid("slab generation")) { try RowRecord(row.record) }
    row = Self.rows[0]
    row.id = RowID(limit)
    #expect(throws: FormatError.invalid("row id")) { try RowRecord(row.record) }
    var disk = Self.virtualDisk()
    disk.number = VirtualDiskNumber(.max)
    #expect(throws: FormatError.invalid("virtual disk number")) { try VirtualDiskRecord(disk.record) }
    var member = Self.disk()
    member.number = DiskNumber(.max)
    #expect(throws: FormatError.invalid("disk number")) { try DiskRecord(member.record) }
    for change in [{ $0.doneByteCount = .max }, { $0.totalByteCount = limit }] as [(inout JobRecord) -> Void] {
      var job = JobRecord(number: 1, kind: .resync, startedSeconds: 1)
      change(&job)
      #expect(throws: FormatError.invalid("progress of a job")) { try JobRecord(job.record) }
    }
    for change in [{ $0.nextRow = RowID(limit) }, { $0.nextGeneration = SlabGeneration(.max) }] as [(inout PoolRecord) -> Void] {
      var pool = Self.pool()
      change(&pool)
      #expect(throws: FormatError.invalid("next number")) { try PoolRecord(pool.record) }
    }
  }

  @Test func superblocksComeBackAsTheyWere() throws {
    let superblock = try Self.superblock()
    let block = MemoryBlock(byteCount: 4096)
    superblock.encode(block.bytes)
    #expect(try Superblock(block.bytes.readOnly) == superblock)
    // The text form of identifiers is that of their bytes.
    #expect("\(superblock.pool)" == superblock.pool.bytes.text)
    #expect(PoolID("\(superblock.pool)") == superblock.pool)
    #expect(PoolID("00112233-4455-6677-8899-AABBCCDDEEFF")?.bytes == UUIDBytes(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff))
    for wrong in ["", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFG", "0011223-34455-6677-8899-AABBCCDDEEFF0"] {
      #expect(PoolID(wrong) == nil)
    }
    block.bytes[300] ^= 1
    #expect(throws: FormatError.wrongChecksum) { try Superblock(block.bytes.readOnly) }
    block.bytes.zero()
    #expect(throws: FormatError.empty) { try Superblock(block.bytes.readOnly) }
  }

  @Test func layoutsFitTheirDisks() throws {
    for size in [64 << 20, 100 << 20, (1 << 30) + 12345, 10 << 30, 4 << 40, 100 << 40] as [UInt64] {
      for count in [1, 3, 20] {
        let choice = try LayoutChoice(diskByteCounts: Array(repeating: size, count: count))
        let layout = try choice.layout(diskByteCount: size)
        let slabs = UInt64(layout.slabCount * count)
        #expect(slabs <= LayoutLimits.slabCountAimed + 1 || choice.slabByteCount == FormatLimits.slabLargest)
        #expect(choice.slabByteCount == FormatLimits.slabSmallest || slabs > LayoutLimits.slabCountAimed / 2 - UInt64(count) * 80)
        #expect(choice.metadataByteCount >= LayoutLimits.metadataSmallest)
        #expect(choice.metadataByteCount <= max(size / 64, LayoutLimits.metadataSmallest) + (1 << 20))
        #expect(layout.dataEnd + FormatLimits.endReserveByteCount <= size)
        // What it holds is at least what the pool's slabs can need.
        #expect(UInt64(layout.pageCount * RecordPage.capacity) >= slabs * 160)
        // And it decodes: all regions in order and apart.
        let bytes = MemoryBlock(byteCount: 4096)
        layout.encode(bytes.bytes, at: 256)
        #expect(try DiskLayout(bytes.bytes.readOnly, at: 256) == layout)
      }
    }
    #expect(throws: MetadataError.self) { try LayoutChoice(diskByteCounts: [1 << 20]) }
    #expect(throws: MetadataError.self) { try LayoutChoice(diskByteCounts: []) }
    #expect(throws: MetadataError.self) { try LayoutChoice(diskByteCounts: [1 << 30], slabByteCount: 3 << 20) }
    #expect(throws: MetadataError.self) {
      try LayoutChoice(diskByteCounts: [64 << 20], slabByteCount: 1 << 30).layout(diskByteCount: 64 << 20)
    }
    // 1.6 million slabs in use, on a pool made with small slabs.
    let large = try LayoutChoice(diskByteCounts: Array(repeating: 400 << 30, count: 4), slabByteCount: 1 << 20).layout(
      diskByteCount: 400 << 30)
    #expect(large.pageCount * RecordPage.capacity > 1_600_000 * 150)
  }
}
