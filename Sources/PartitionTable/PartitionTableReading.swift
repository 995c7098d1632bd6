extension PartitionTableScan {
  /// Reads and judges whatever table a disk carries. Never traps, whatever the bytes.
  /// - Parameters:
  ///   - diskByteCount: size of the disk in bytes; a last partial sector is ignored.
  ///   - read: the bytes of a range, which is sector-aligned, on the disk and at most 4 MiB; nil when they cannot be read. Called 2 to
  ///     about 270 times. What it throws ends the scan.
  public static func scan<Failure: Error>(
    diskByteCount: UInt64, sectorSize: SectorSize, read: (DiskByteRange) throws(Failure) -> [UInt8]?
  ) throws(Failure) -> PartitionTableScan {
    var decoder = PartitionTableDecoder(source: ScanSource(diskByteCount: diskByteCount, sectorSize: sectorSize))
    for range in decoder.source.rangesAhead { decoder.source.addAhead(try read(range), at: range) }
    while true {
      switch decoder.attempt() {
      case .success(let scan): return scan
      case .failure(let needed): decoder.source.add(try read(needed.range), at: needed.range)
      }
    }
  }

  /// The same for reads that are awaited; runs where its caller runs.
  nonisolated(nonsending)
    public static func scan<Failure: Error>(
      diskByteCount: UInt64, sectorSize: SectorSize, readAsync: (DiskByteRange) async throws(Failure) -> [UInt8]?
    ) async throws(Failure) -> PartitionTableScan
  {
    var decoder = PartitionTableDecoder(source: ScanSource(diskByteCount: diskByteCount, sectorSize: sectorSize))
    for range in decoder.source.rangesAhead { decoder.source.addAhead(try await readAsync(range), at: range) }
    while true {
      switch decoder.attempt() {
      case .success(let scan): return scan
      case .failure(let needed): decoder.source.add(try await readAsync(needed.range), at: needed.range)
      }
    }
  }
}

extension PartitionTableDecoder {
  mutating func attempt() -> Result<PartitionTableScan, BytesNeeded> {
    do throws(BytesNeeded) { return .success(try run()) } catch { return .failure(error) }
  }
}
