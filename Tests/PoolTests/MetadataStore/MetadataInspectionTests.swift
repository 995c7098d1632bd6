import BlockDevice
import Reactor
import Testing

@testable import Pool

@Suite struct MetadataInspectionTests {
  private static func row(_ id: UInt64, disk: UInt32 = 1, slab: UInt32, generation: UInt64, references: UInt32 = 1) -> MetadataChange {
    .put(
      RowRecord(
        id: RowID(id), resiliency: .simple, columns: 1, copies: 1, referenceCount: references, interleave: 1 << 18,
        virtualDisk: VirtualDiskNumber(1),
        slabs: [RowRecord.Slab(disk: DiskNumber(disk), number: SlabNumber(slab), generation: SlabGeneration(generation))]))
  }

  private static func map(_ index: UInt64, row: UInt64) -> MetadataChange {
    .put(MapRecord(virtualDisk: VirtualDiskNumber(1), index: index, row: RowID(row), presence: [3]))
  }

  private static func virtualDisk(_ reactor: any Reactor) -> MetadataChange {
    .put(
      VirtualDiskRecord(
        number: VirtualDiskNumber(1), id: .random(reactor), name: "disk", byteCount: 1 << 20, logicalSector: 512, provisioning: .thin,
        resiliency: .simple, columns: 1, copies: 1, interleave: 1 << 18, presenceChunkByteCount: 1 << 16, createdSeconds: 1))
  }

  private static func counters(_ store: MetadataStore, rows: UInt64) throws -> MetadataChange {
    var record: PoolRecord = try #require(try store.value(for: PoolRecord.key))
    record.nextRow = RowID(rows)
    record.nextGeneration = SlabGeneration(rows)
    record.nextVirtualDisk = VirtualDiskNumber(2)
    return .put(record)
  }

  @Test func aSoundDiskHasNoFindings() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 2)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      try await store.commit([
        Self.virtualDisk(reactor), Self.row(1, slab: 0, generation: 1), Self.map(0, row: 1), Self.counters(store, rows: 2),
      ])
      // While it is open: the journal is part of the picture.
      let open = await MetadataInspection.inspect(disks[1])
      #expect(open.isSound)
      #expect(open.journal?.entries.count == 2)
      #expect(open.findings.map(\.severity) == [.note])
      #expect(open.recordCounts == ["pool": 1, "disk": 2, "row": 1, "map": 1, "virtual disk": 1])
      await store.close()
      let closed = await MetadataInspection.inspect(disks[0])
      #expect(closed.findings.isEmpty)
      #expect(closed.superblockPlaces.map(\.state) == ["good", "good", "good", "good"])
      #expect(closed.dataSignature == "good")
      #expect(closed.superblock?.poolName == "tank")
      #expect(closed.journal?.entries.isEmpty == true)
      #expect(closed.records.contains { $0.kind == "row" && $0.fields["slabs"] == "1:0#1/1" })
    }
  }

  @Test func recordsThatDisagreeAreFound() async throws {
    try await TestPool.run { reactor in
      let cases: [([MetadataChange], String)] = [
        (
          [Self.row(1, slab: 0, generation: 1), Self.row(2, slab: 0, generation: 2), Self.map(0, row: 1), Self.map(1, row: 2)], "used twice"
        ),
        ([Self.row(1, slab: 0, generation: 1)], "No map entry points at row 1"),
        ([Self.map(0, row: 1)], "row 1, which does not exist"),
        ([Self.row(1, slab: 0, generation: 1), Self.map(0, row: 1)], "virtual disk 1, which does not exist"),
        (
          [Self.row(1, slab: 0, generation: 1), Self.row(2, slab: 1, generation: 1), Self.map(0, row: 1), Self.map(1, row: 2)],
          "Two slabs have the generation 1"
        ),
        ([Self.row(1, slab: 999, generation: 1), Self.map(0, row: 1)], "slab 999 on disk 1"),
        ([Self.row(1, disk: 9, slab: 0, generation: 1), Self.map(0, row: 1)], "disk 9, which the pool does not know"),
        ([Self.row(5, slab: 0, generation: 1), Self.map(0, row: 5)], "Row 5 is not below"),
        ([Self.row(1, slab: 0, generation: 7), Self.map(0, row: 1)], "Slab generation 7"),
        ([Self.row(1, slab: 0, generation: 1, references: 2), Self.map(0, row: 1)], "counts 2 references"),
        ([.put(Record(key: RecordKey(.row, 1), version: 1, value: [1, 2]))], "cannot be read"),
        ([.put(Record(key: RecordKey(.row, 1), version: 9, value: [1, 2]))], "version 9"),
      ]
      for (changes, words) in cases {
        let pool = try await TestPool.make(reactor, disks: 1)
        let disks = pool.disks()
        let store = try await pool.open(disks)
        try await store.commit(changes + [Self.counters(store, rows: 4)])
        await store.close()
        let inspection = await MetadataInspection.inspect(disks[0])
        #expect(!inspection.isSound)
        #expect(inspection.findings.contains { $0.text.contains(words) }, "\(inspection.findings)")
      }
    }
  }

  @Test func damageIsShown() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 1)
      let superblock = try #require(await MetadataStore.probe(pool.disks()[0]).newest)
      let layout = superblock.layout
      let damages: [(UInt64, String)] = [
        (layout.metadataOffset + 100, "superblock copy"), (layout.dataSignatureOffset + 70, "signature"),
        (layout.rootOffsets[1] + 70, "root"), (layout.pageTableOffset + 70, "page table 0"), (layout.pagesOffset + 200, "page 0"),
      ]
      for (offset, words) in damages {
        var damaged = pool
        damaged.images[0].flip(at: offset)
        let inspection = await MetadataInspection.inspect(damaged.disks()[0])
        #expect(inspection.findings.contains { $0.text.contains(words) }, "\(words): \(inspection.findings)")
        let disks = pool.disks()
        disks[0].unreadable = [offset / 4096 * 4096]
        let unreadable = await MetadataInspection.inspect(disks[0])
        #expect(unreadable.findings.contains { $0.text.contains(words) }, "\(words): \(unreadable.findings)")
      }
      let blank = await MetadataInspection.inspect(CrashDisk(reactor: reactor, byteCount: 1 << 20, power: Power(), label: "blank"))
      #expect(!blank.isSound)
    }
  }
}
