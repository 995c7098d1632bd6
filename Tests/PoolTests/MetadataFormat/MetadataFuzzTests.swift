import BlockDevice
import Reactor
import Testing

@testable import Pool

/// Decoders get bytes that are nearly right, with checksums that fit: the deepest way in. None may trap; what decodes must encode again.
@Suite struct MetadataFuzzTests {
  private static func mutate(_ bytes: UnsafeMutableRawBufferPointer, _ random: inout SeededRandom) {
    let interesting: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let offset = Int.random(in: 0..<bytes.count, using: &random)
      let value = Bool.random(using: &random) ? UInt8.random(in: 0...255, using: &random) : interesting.randomElement(using: &random) ?? 0
      // Whole fields at a time find overflows.
      for index in offset..<min(bytes.count, offset + [1, 2, 4, 8][Int.random(in: 0..<4, using: &random)]) { bytes[index] = value }
    }
  }

  private static func reseal(_ bytes: UnsafeMutableRawBufferPointer) {
    let covered = min(Int(bytes.readOnly.little(UInt32.self, at: 56)), bytes.count)
    guard covered >= 64 else { return }
    bytes.setLittle(UInt32(0), at: 8)
    bytes.setLittle(crc32c(bytes.readOnly.part(from: 0, byteCount: covered)), at: 8)
  }

  @Test func recordsNeverTrap() {
    var random = SeededRandom(1)
    var decoded = 0
    func fuzz<Value: MetadataRecord>(_ value: Value) {
      for _ in 0..<2500 {
        var record = value.record
        if Int.random(in: 0..<4, using: &random) == 0 { record.value.removeLast(Int.random(in: 0...record.value.count, using: &random)) }
        if !record.value.isEmpty { record.value.withUnsafeMutableBytes { Self.mutate($0, &random) } }
        guard let again = try? Value(record) else { continue }
        decoded += 1
        #expect((try? Value(again.record)) == again)
      }
    }
    fuzz(MetadataFormatTests.rows[0])
    fuzz(MetadataFormatTests.virtualDisk())
    fuzz(MetadataFormatTests.disk())
    fuzz(MetadataFormatTests.pool())
    fuzz(MetadataFormatTests.map())
    #expect(decoded > 1000)
  }

  @Test func superblocksNeverTrap() throws {
    var random = SeededRandom(2)
    let superblock = try MetadataFormatTests.superblock()
    let block = MemoryBlock(byteCount: 4096)
    var decoded = 0
    for _ in 0..<6000 {
      superblock.encode(block.bytes)
      // Mostly in the part that has fields.
      Self.mutate(UnsafeMutableRawBufferPointer(rebasing: block.bytes[..<700]), &random)
      Self.reseal(block.bytes)
      guard let found = try? Superblock(block.bytes.readOnly) else { continue }
      decoded += 1
      #expect(found.layout.dataEnd <= found.layout.diskByteCount)
      #expect(found.layout.pagesOffset + UInt64(found.layout.pageCount * 32768) <= found.layout.dataOffset)
      #expect(found.layout.slabOffset(SlabNumber(UInt32(max(0, found.layout.slabCount - 1)))) <= found.layout.dataEnd)
    }
    #expect(decoded > 500)
  }

  /// Whole disks with hostile blocks whose checksums are right: probed, inspected, loaded, and opened where that goes.
  @Test func disksNeverTrap() async throws {
    try await TestPool.run { reactor in
      var pool = try await TestPool.make(reactor, disks: 1)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      for number in 1...30 {
        var row = MetadataFormatTests.rows[0]
        row = RowRecord(
          id: RowID(UInt64(number)), resiliency: .simple, columns: 1, copies: 1, interleave: 1 << 18, virtualDisk: VirtualDiskNumber(1),
          slabs: [RowRecord.Slab(disk: DiskNumber(1), number: SlabNumber(0), generation: SlabGeneration(UInt64(number)))])
        try await store.commit([
          .put(row), .put(MapRecord(virtualDisk: VirtualDiskNumber(1), index: UInt64(number), row: row.id, presence: [1])),
        ])
      }
      while store.isCheckpointing { await Task.yield() }
      let image = disks[0].image
      let blocks = image.blocks.filter { entry in entry.value.contains { $0 != 0 } }.keys.sorted()
      var random = SeededRandom(4)
      var loaded = 0
      for _ in 0..<600 {
        pool.images = [image]
        guard let block = blocks.randomElement(using: &random), var bytes = image.blocks[block] else { continue }
        bytes.withUnsafeMutableBytes {
          Self.mutate(Bool.random(using: &random) ? UnsafeMutableRawBufferPointer(rebasing: $0[..<512]) : $0, &random)
          Self.reseal($0)
        }
        pool.images[0].blocks[block] = bytes
        let inspection = await MetadataInspection.inspect(pool.disks()[0])
        #expect(!inspection.superblockPlaces.isEmpty)
        if (try? await MetadataStore.readOnlyLoad(devices: pool.disks(), reactor: reactor)) != nil { loaded += 1 }
        if let store = try? await pool.open(pool.disks()) { await store.close() }
      }
      #expect(loaded > 100)
      await store.close()
    }
  }
}
