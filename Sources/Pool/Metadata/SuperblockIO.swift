import BlockDevice
import Reactor

/// What the superblock places of a disk hold.
public struct SuperblockReport: Sendable {
  public struct Place: Sendable {
    public var offset: UInt64
    /// Which of the two generations it is for.
    public var generation: Int
    public var outcome: Outcome
  }

  public enum Outcome: Sendable {
    case good(Superblock)
    case bad(FormatError)
    case unreadable(BlockError)
  }

  public var places: [Place] = []
  /// The newest that is whole.
  public var newest: Superblock?

  /// Places that hold something other than a good superblock or nothing.
  public var damagedOffsets: [UInt64] {
    places.compactMap { place in
      switch place.outcome {
      case .good, .bad(.empty): nil
      default: place.offset
      }
    }
  }
}

enum SuperblockIO {
  /// Reads all places. Finds them by the disk's size, and by the layout in the head's copies should the size have changed.
  static func read(_ device: BlockDevice) async -> SuperblockReport {
    var report = SuperblockReport()
    let size = device.geometry.byteCount
    let dataEnd = DiskLayout.dataEnd(diskByteCount: size)
    let smallest = FormatLimits.metadataOffset + FormatLimits.placeSpacingByteCount + UInt64(FormatLimits.blockByteCount)
    guard size >= smallest, dataEnd >= FormatLimits.metadataOffset + FormatLimits.dataMarginByteCount else { return report }
    for (generation, offsets) in DiskLayout.superblockOffsets(dataEnd: dataEnd).enumerated() {
      for offset in offsets { await readPlace(device, offset, generation, &report) }
    }
    if let layout = report.newest?.layout, layout.dataEnd != dataEnd, layout.dataEnd <= size {
      for (generation, offsets) in layout.superblockOffsets.enumerated() {
        await readPlace(device, offsets[1], generation, &report)
      }
    }
    return report
  }

  private static func readPlace(_ device: BlockDevice, _ offset: UInt64, _ generation: Int, _ report: inout SuperblockReport) async {
    var outcome: SuperblockReport.Outcome
    do throws(BlockError) {
      let block = try await MetadataIO.read(device, at: offset, byteCount: Superblock.byteCount)
      outcome = decode(block.bytes.readOnly, generation)
    } catch { outcome = .unreadable(error) }
    if case .good(let superblock) = outcome {
      if let newest = report.newest, (newest.pool, newest.disk) != (superblock.pool, superblock.disk) {
        // An earlier pool's copy, left behind where this pool's should be. The head's identity was found first and stands.
        outcome = .bad(newest.pool == superblock.pool ? .wrongDisk : .wrongPool)
      } else if superblock.sequence > report.newest?.sequence ?? 0 {
        report.newest = superblock
      }
    }
    report.places.append(SuperblockReport.Place(offset: offset, generation: generation, outcome: outcome))
  }

  private static func decode(_ bytes: UnsafeRawBufferPointer, _ generation: Int) -> SuperblockReport.Outcome {
    do throws(FormatError) {
      let superblock = try Superblock(bytes)
      return superblock.place == generation && superblock.sequence < FormatLimits.numberLimit ? .good(superblock) : .bad(.misplaced)
    } catch { return .bad(error) }
  }

  /// Writes both places of the superblock's generation, then flushes. The other generation stays whole meanwhile.
  static func write(_ superblock: Superblock, to device: BlockDevice) async throws(BlockError) {
    let buffer = await device.reactor.buffers.acquire(byteCount: Superblock.byteCount)
    defer { device.reactor.buffers.release(buffer.buffer) }
    try await write(superblock, to: device, through: buffer)
  }

  /// The same through a buffer that the caller holds.
  static func write(_ superblock: Superblock, to device: BlockDevice, through buffer: BufferSlice) async throws(BlockError) {
    superblock.encode(buffer.bytes)
    for offset in superblock.layout.superblockOffsets[superblock.place] {
      try await device.write(at: offset, from: buffer, MetadataIO.request)
    }
    try await device.flush(MetadataIO.request)
  }
}
