extension PartitionTableScan {
  /// Reads and judges whatever table a disk carries. Never traps, whatever the bytes.
  /// - Parameters:
  ///   - diskByteCount: size of the disk in bytes; a last partial sector is ignored.
  ///   - read: the bytes of a range, which is sector-aligned, on the disk and at most 4 MiB; nil when they cannot be read. Called 2 to
  ///     about 270 times. What it throws ends the scan.
  public static func scan<Failure: Error>(
    diskByteCount: UInt64, sectorSize: SectorSize, read: (DiskByteRange) throws(Failure) -> [UInt8]?
  ) throws(Failure) -> PartitionTableScan {
    var source = ScanSource(diskByteCount: diskByteCount, sectorSize: sectorSize)
    for range in source.rangesAhead { source.addAhead(try read(range), at: range) }
    while true {
      switch attempt(source) {
      case .success(let scan): return scan
      case .failure(let needed): source.add(try read(needed.range), at: needed.range)
      }
    }
  }

  /// The same for reads that are awaited; runs where its caller runs.
  nonisolated(nonsending)
    public static func scan<Failure: Error>(
      diskByteCount: UInt64, sectorSize: SectorSize, readAsync: (DiskByteRange) async throws(Failure) -> [UInt8]?
    ) async throws(Failure) -> PartitionTableScan
  {
    var source = ScanSource(diskByteCount: diskByteCount, sectorSize: sectorSize)
    for range in source.rangesAhead { source.addAhead(try await readAsync(range), at: range) }
    while true {
      switch attempt(source) {
      case .success(let scan): return scan
      case .failure(let needed): source.add(try await readAsync(needed.range), at: needed.range)
      }
    }
  }

  /// The same from the first and the last bytes of the disk. 24 KiB and 20 KiB hold any table of standard size in its standard place;
  /// what lies between them counts as unreadable.
  public static func scan(
    head: [UInt8], tail: [UInt8], diskByteCount: UInt64, sectorSize: SectorSize
  ) -> PartitionTableScan {
    let tailOffset = diskByteCount - min(diskByteCount, UInt64(tail.count))
    return scan(diskByteCount: diskByteCount, sectorSize: sectorSize) { range in
      slice(head, from: 0, range) ?? slice(tail, from: tailOffset, range)
    }
  }

  private static func slice(_ bytes: [UInt8], from offsetBytes: UInt64, _ range: DiskByteRange) -> [UInt8]? {
    guard range.offsetBytes >= offsetBytes else { return nil }
    let start = range.offsetBytes - offsetBytes
    guard start <= UInt64(bytes.count), bytes.count - Int(start) >= range.byteCount else { return nil }
    return Array(bytes[Int(start)..<(Int(start) + range.byteCount)])
  }

  private static func attempt(_ source: ScanSource) -> Result<PartitionTableScan, BytesNeeded> {
    do throws(BytesNeeded) {
      return .success(try PartitionTableDecoder.decode(source))
    } catch {
      return .failure(error)
    }
  }
}
