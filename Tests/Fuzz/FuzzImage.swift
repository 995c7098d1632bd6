import BlockDevice
import Reactor

@testable import Pool

/// What a disk holds: bytes that many runs share, and the blocks of 4096 bytes that this one has changed.
struct FuzzImage: @unchecked Sendable {  // never used from two threads
  private static let blockByteCount = 4096
  private final class Base {
    let bytes: [UInt8]
    /// Blocks that hold something: those worth an edit.
    let used: [Int]

    init(_ bytes: [UInt8]) {
      self.bytes = bytes
      used = (0..<bytes.count / blockByteCount).filter { block in
        bytes.withUnsafeBytes { !UnsafeRawBufferPointer(rebasing: $0[block * blockByteCount..<(block + 1) * blockByteCount]).isAllZero }
      }
    }
  }

  private let base: Base
  private var changed: [Int: [UInt8]] = [:]

  init(base bytes: [UInt8]) { base = Base(bytes) }
  init(byteCount: Int) { base = Base([UInt8](repeating: 0, count: byteCount)) }

  var byteCount: Int { base.bytes.count }
  var flattened: [UInt8] { read(at: 0, byteCount: byteCount) }

  func read(at offset: Int, byteCount: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    bytes.withUnsafeMutableBytes { read(at: offset, into: $0) }
    return bytes
  }

  func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) {
    memory.copyBytes(from: base.bytes[offset..<offset + memory.count])
    guard !changed.isEmpty else { return }
    let unit = FuzzImage.blockByteCount
    for (block, content) in changed where (block + 1) * unit > offset && block * unit < offset + memory.count {
      let start = max(offset, block * unit)
      let end = min(offset + memory.count, (block + 1) * unit)
      memory[start - offset..<end - offset].copyBytes(from: content[start - block * unit..<end - block * unit])
    }
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    let unit = FuzzImage.blockByteCount
    var done = 0
    while done < bytes.count {
      let (block, inside) = (offset + done).quotientAndRemainder(dividingBy: unit)
      let count = min(bytes.count - done, unit - inside)
      var content = changed[block] ?? Array(base.bytes[block * unit..<(block + 1) * unit])
      content.replaceSubrange(inside..<inside + count, with: bytes[done..<done + count])
      changed[block] = content
      done += count
    }
  }

  // MARK: What the fuzzer does to it

  /// Edits, each: which of the used blocks UInt8, where in it UInt16, how many bytes UInt8, the bytes.
  mutating func edit(_ input: inout FuzzBytes) {
    while !input.isAtEnd {
      let block = base.used[Int(input.byte()) % base.used.count]
      let place = input.short() % FuzzImage.blockByteCount
      let bytes = input.take(min(Int(input.byte()), FuzzImage.blockByteCount - place))
      bytes.withUnsafeBytes { write($0, at: block * FuzzImage.blockByteCount + place) }
    }
  }

  /// Makes the checksum right of a structure with a pool's header, over what it says it covers.
  static func reseal(_ bytes: UnsafeMutableRawBufferPointer) {
    let covered = Int(bytes.readOnly.little(UInt32.self, at: 56))
    guard covered >= StructureHeader.byteCount, covered <= bytes.count else { return }
    bytes.setLittle(UInt32(0), at: 8)
    bytes.setLittle(crc32c(bytes.readOnly.part(from: 0, byteCount: covered)), at: 8)
  }

  private mutating func update(at offset: Int, byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
    var bytes = read(at: offset, byteCount: byteCount)
    bytes.withUnsafeMutableBytes { body($0) }
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  /// Of every structure that an edit has hit and that begins with a block.
  mutating func fixAll(headerByteCount: Int = blockByteCount) {
    for block in changed.keys.sorted() {
      let offset = block * FuzzImage.blockByteCount
      update(at: offset, byteCount: min(headerByteCount, byteCount - offset)) { FuzzImage.reseal($0) }
    }
  }

  /// Of all structures of a pool's disk, and what else says that one belongs to the other: the checksums in references to pages, and the chain
  /// of the journal's entries.
  mutating func fixPool() {
    let original = FuzzImage(sharing: base)
    guard let superblock = original.superblock else { fatalError("the image to begin with is broken") }
    let layout = superblock.layout
    fixAll()
    let roots = layout.rootOffsets.enumerated().compactMap { place, offset -> (offset: Int, root: CheckpointRoot)? in
      let bytes = original.read(at: Int(offset), byteCount: 4096)
      let root = bytes.withUnsafeBytes { try? CheckpointRoot($0, owner: superblock.owner, layout: layout, place: place) }
      return root.map { (Int(offset), $0) }
    }
    guard let newest = roots.max(by: { $0.root.sequence < $1.root.sequence }) else { return }
    for (index, table) in newest.root.tables.enumerated() where !table.isNone {
      fixPages(layout, original, newest.offset, index, table)
    }
    update(at: newest.offset, byteCount: 4096) { FuzzImage.reseal($0) }
    fixChain(layout, original, newest.root, superblock.owner)
  }

  private init(sharing base: Base) { self.base = base }

  private var superblock: Superblock? {
    read(at: Int(FormatLimits.metadataOffset), byteCount: 4096).withUnsafeBytes { try? Superblock($0) }
  }

  private mutating func fixPages(_ layout: DiskLayout, _ original: FuzzImage, _ root: Int, _ index: Int, _ table: PageReference) {
    let tableOffset = Int(layout.pageTableOffset(index, slot: Int(table.slot)))
    let entries = original.read(at: tableOffset, byteCount: 4096)
    for entry in 0..<min(FormatLimits.entriesPerPageTable, layout.pageCount) {
      let place = StructureHeader.byteCount + entry * PageReference.byteCount
      let found = entries.withUnsafeBytes { try? PageReference($0, at: place) }
      guard let reference = found, !reference.isNone else { continue }
      var checksum: UInt32 = 0
      update(at: Int(layout.pageOffset(entry, slot: Int(reference.slot))), byteCount: FormatLimits.pageByteCount) {
        FuzzImage.reseal($0)
        checksum = $0.readOnly.little(UInt32.self, at: 8)
      }
      update(at: tableOffset, byteCount: 4096) { $0.setLittle(checksum, at: place + 8) }
    }
    var checksum: UInt32 = 0
    update(at: tableOffset, byteCount: 4096) {
      FuzzImage.reseal($0)
      checksum = $0.readOnly.little(UInt32.self, at: 8)
    }
    update(at: root, byteCount: 4096) { $0.setLittle(checksum, at: CheckpointRoot.Offset.tables + index * PageReference.byteCount + 8) }
  }

  private mutating func fixChain(_ layout: DiskLayout, _ original: FuzzImage, _ root: CheckpointRoot, _ owner: StructureOwner) {
    let ring = original.read(at: Int(layout.journalOffset), byteCount: Int(layout.journalByteCount))
    let entries = ring.withUnsafeBytes { JournalScan($0, root: root, owner: owner).entries }
    var chain = root.chain
    for entry in entries {
      let offset = Int(layout.journalOffset + entry.header.position)
      let room = Int(layout.journalByteCount - entry.header.position)
      update(at: offset, byteCount: min(room, FormatLimits.journalEntryByteCount)) { bytes in
        bytes.setLittle(chain, at: JournalEntryHeader.Offset.chainBefore)
        FuzzImage.reseal(bytes)
        let header = try? JournalEntryHeader(bytes.readOnly, owner: owner, position: entry.header.position)
        guard let header else { return }
        chain = header.chainAfter(changes: bytes.readOnly.part(from: JournalEntryHeader.byteCount, byteCount: header.changesByteCount))
      }
    }
  }
}

/// A disk with such an image, in memory.
final class FuzzDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  var image: FuzzImage

  init(_ reactor: any Reactor, _ image: FuzzImage, _ label: String) {
    self.image = image
    super.init(reactor: reactor, layerName: "Fuzz", label: label)
  }

  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: UInt64(image.byteCount), logicalSector: 512, physicalSector: 4096)
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    image.read(at: Int(offset), into: slice.bytes)
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    image.write(slice.bytes.readOnly, at: Int(offset))
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { FlushToken(number: 1) }
}
