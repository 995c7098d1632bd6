import BlockDevice
import PartitionTable
import Reactor

/// The bytes of a partition, or of a whole disk, by which its content is recognised. All else counts as zeros.
///
/// Signatures lie at fixed places near one of the two ends: of those libblkid knows the farthest from the start is VMFS's at 2 MiB and a second
/// LUKS2 header at 4 MiB, the farthest from the end that of a Promise RAID, 1.5 MiB before it. NTFS, FAT32 and exFAT keep the label, and NTFS
/// something without which it is not recognised, in a table that their boot sector points at: so that is read too.
public struct ContentSample: Sendable {
  struct Piece: Sendable {
    var offset: UInt64
    var bytes: [UInt8]
  }

  /// Bytes of the partition or disk.
  public let byteCount: UInt64
  let logicalSector: Int
  /// What is not zeros, without overlaps.
  private(set) var pieces: [Piece] = []

  /// Of content that is in memory, for who has it there.
  init(byteCount: UInt64, logicalSector: Int = 512) {
    self.byteCount = byteCount
    self.logicalSector = logicalSector
  }

  /// - Parameter range: on the disk, a multiple of its sectors.
  static func read(_ range: Range<UInt64>, of device: BlockDevice, _ request: IORequest) async throws(BlockError) -> ContentSample {
    let byteCount = range.upperBound - range.lowerBound
    var sample = ContentSample(byteCount: byteCount, logicalSector: device.geometry.logicalSector)
    var done: [Range<UInt64>] = []
    for wanted in endRanges(of: byteCount) {
      try await sample.add(wanted, at: range.lowerBound, of: device, request)
      done.append(wanted)
    }
    let alignment = UInt64(VolumeLimits.contentPieceByteCount)
    for wanted in BootSectorPointers.ranges(sample.bytes(at: 0, count: 512), byteCount: byteCount) {
      // Whole pieces, and none twice.
      let start = wanted.lowerBound / alignment * alignment
      for offset in stride(from: start, to: wanted.upperBound, by: Int(alignment)) {
        let piece = offset..<min(offset + alignment, byteCount)
        if done.contains(where: { $0.overlaps(piece) }) { continue }
        try await sample.add(piece, at: range.lowerBound, of: device, request)
        done.append(piece)
      }
    }
    return sample
  }

  /// The head and the tail.
  static func endRanges(of byteCount: UInt64) -> [Range<UInt64>] {
    let headEnd = min(byteCount, VolumeLimits.contentHeadByteCount)
    let alignment = UInt64(VolumeLimits.contentPieceByteCount)
    let tail = byteCount - min(byteCount, VolumeLimits.contentTailByteCount)
    let tailStart = max(headEnd, tail / alignment * alignment)
    return tailStart < byteCount ? [0..<headEnd, tailStart..<byteCount] : [0..<headEnd]
  }

  private mutating func add(
    _ range: Range<UInt64>, at base: UInt64, of device: BlockDevice, _ request: IORequest
  ) async throws(BlockError) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(range.upperBound - offset, UInt64(VolumeLimits.contentPieceByteCount)))
      var bytes: [UInt8] = []
      try await PartitionTableIO.readPiece(at: base + offset, byteCount: count, of: device, request, into: &bytes)
      add(bytes, at: offset)
      offset += UInt64(count)
    }
  }

  mutating func add(_ bytes: [UInt8], at offset: UInt64) {
    if bytes.contains(where: { $0 != 0 }) { pieces.append(Piece(offset: offset, bytes: bytes)) }
  }

  /// Zeros where nothing is known, also behind the end.
  func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
    if overflow { return result }
    for piece in pieces {
      let start = max(offset, piece.offset)
      let stop = min(end, piece.offset + UInt64(piece.bytes.count))
      guard start < stop else { continue }
      let from = Int(start - piece.offset)
      result.replaceSubrange(Int(start - offset)..<Int(stop - offset), with: piece.bytes[from..<(from + Int(stop - start))])
    }
    return result
  }
}
