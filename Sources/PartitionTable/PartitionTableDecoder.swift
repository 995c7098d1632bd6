/// Finds out what a disk carries, step by step, from the bytes fetched so far. A step that is done is not done again: a guest chooses how much
/// there is to check.
struct PartitionTableDecoder {
  var source: ScanSource
  var scan: PartitionTableScan
  /// Where the backup is, by a primary header that is whole; its entries need not be.
  private var namedBackup: (header: LBA, lastUsable: LBA)?
  /// Bytes of entry arrays that were checked, which is what a scan costs.
  private(set) var checkedByteCount = 0

  // What is found out so far.
  private var sector: MBR.Sector?
  private var primary: Copy?
  private var backupAsNamed: Copy?
  private var backup: Copy?
  private var isClassified = false
  var chain: LogicalPartitionChain?

  init(source: ScanSource) {
    self.source = source
    scan = PartitionTableScan(sectorSize: source.sectorSize, diskByteCount: source.diskByteCount)
  }

  /// A copy of a GPT, as far as it could be read.
  enum Copy {
    case good(GPTHeader, [GPTPartition])
    case bad(GPTHeaderFault)

    /// Whether there was a header at all, good or bad.
    var isPresent: Bool {
      switch self {
      case .good: true
      case .bad(.signatureMissing), .bad(.unreadable): false
      case .bad: true
      }
    }

    /// The place was read, and no header is there.
    var isAbsent: Bool {
      if case .bad(.signatureMissing) = self { true } else { false }
    }
  }

  /// Begins, or goes on when what was needed is in `source`.
  mutating func run() throws(BytesNeeded) -> PartitionTableScan {
    guard source.sectorCount > 0 else { return scan }
    if sector == nil { sector = try decodeMBR() }
    if primary == nil { primary = try readCopy(.primary, at: 1) }
    if backup == nil { backup = try findBackup() }
    if !isClassified, let sector, let primary, let backup {
      try decodeGPT(primary: primary, backup: backup)
      classify(sector, hasTraces: primary.isPresent || backup.isPresent)
      let isReadable = !scan.findings.contains(.mbrUnreadable)
      scan.isWiped = isReadable && primary.isAbsent && backup.isAbsent && scan.mbr?.partitions.isEmpty ?? true
      isClassified = true
    }
    if scan.kind == .mbr || scan.kind == .mbrOverGPT || scan.kind == .hybrid {
      try decodeLogicalPartitions()
      checkMBRPartitions()
    }
    scan.consultedRanges = source.consulted
    scan.unreadableRange = source.unreadable
    return scan
  }

  private mutating func decodeMBR() throws(BytesNeeded) -> MBR.Sector {
    guard let bytes = try source.sectors(0) else {
      scan.findings.append(.mbrUnreadable)
      return .blank
    }
    let sector = MBR.decode(sector: bytes)
    if case .table(let mbr) = sector { scan.mbr = mbr }
    return sector
  }

  // MARK: GPT

  private mutating func readCopy(_ copy: GPTCopy, at lba: LBA) throws(BytesNeeded) -> Copy {
    if isMBRData(lba) { return .bad(.signatureMissing(lba)) }
    guard let sector = try source.sectors(lba) else { return .bad(.unreadable(lba)) }
    let header: GPTHeader
    switch GPTHeader.decode(sector: sector, at: lba) {
    case .success(let decoded): header = decoded
    case .failure(let fault): return .bad(fault.value)
    }
    if let fault = header.fault(copy: copy, sectorSize: source.sectorSize, sectorCount: source.sectorCount) { return .bad(fault) }
    if copy == .primary { namedBackup = (header.alternateLBA, header.lastUsableLBA) }
    let byteCount = header.entryArrayByteCount
    let arraySectors = GPT.arraySectorCount(Int(header.entryCount), Int(header.entryByteCount), source.sectorSize)
    guard let sectors = try source.sectors(header.entriesLBA, count: arraySectors) else {
      return .bad(.entryArrayUnreadable(header.entriesLBA))
    }
    let array = sectors.prefix(byteCount)
    checkedByteCount += byteCount
    let computed = CRC32.checksum(array)
    guard computed == header.entriesChecksum else {
      return .bad(.entryArrayChecksum(stored: header.entriesChecksum, computed: computed))
    }
    var partitions: [GPTPartition] = []
    let entryByteCount = Int(header.entryByteCount)
    for index in 0..<Int(header.entryCount) {
      let entry = array.part(index * entryByteCount, PartitionLimits.entryByteCount)
      if let partition = GPTPartition(number: index + 1, entry: entry) { partitions.append(partition) }
    }
    return .good(header, partitions)
  }

  /// The backup is where the primary's header says; if it is not, or no primary is there to say, it is at the end of the disk.
  private mutating func findBackup() throws(BytesNeeded) -> Copy {
    let last = LBA(source.sectorCount - 1)
    if let namedBackup, namedBackup.header != last, namedBackup.header > namedBackup.lastUsable {
      if backupAsNamed == nil { backupAsNamed = try readCopy(.backup, at: namedBackup.header) }
      if let backupAsNamed, case .good = backupAsNamed { return backupAsNamed }
    }
    // Sector 1 being the last, a header there is the primary's.
    return last > 1 ? try readCopy(.backup, at: last) : .bad(.signatureMissing(last))
  }

  /// Under an MBR what lies inside of its partitions is theirs, whatever it looks like.
  private func isMBRData(_ lba: LBA) -> Bool {
    guard let mbr = scan.mbr, mbr.protectiveEntry == nil else { return false }
    return mbr.partitions.contains { $0.firstLBA <= lba && lba <= $0.lastLBA }
  }

  private mutating func decodeGPT(primary: Copy, backup: Copy) throws(BytesNeeded) {
    // All that needs bytes comes before anything is noted.
    let hasFileSystem = if case (.bad, .good) = (primary, backup) { try hasOtherSuperblock() } else { false }
    let otherSectorSize = if case (.bad, .bad) = (primary, backup) { try otherSectorSize() } else { SectorSize?.none }
    if case .good(let header, let partitions) = primary { scan.primary = table(header, partitions, from: .primary) }
    if case .good(let header, let partitions) = backup {
      scan.backup = table(header, partitions, from: .backup)
      let last = LBA(source.sectorCount - 1)
      if header.myLBA != last { scan.findings.append(.gptBackupNotAtEnd(found: header.myLBA, expected: last)) }
    }
    switch (primary, backup) {
    case (.good(let header, let partitions), .good(let otherHeader, let otherPartitions)):
      scan.gptSource = .primary
      let same =
        header.diskGUID == otherHeader.diskGUID && header.firstUsableLBA == otherHeader.firstUsableLBA
        && header.lastUsableLBA == otherHeader.lastUsableLBA && header.entryCount == otherHeader.entryCount
        && header.entryByteCount == otherHeader.entryByteCount && partitions == otherPartitions
        && header.alternateLBA == otherHeader.myLBA && otherHeader.alternateLBA == 1
      if !same { scan.findings.append(.gptCopiesDiffer) }
    case (.good, .bad(let fault)):
      scan.gptSource = .primary
      scan.findings.append(.gptCopyBad(.backup, fault))
    case (.bad(let fault), .good):
      scan.gptSource = .backup
      scan.findings.append(.gptCopyBad(.primary, fault))
      if hasFileSystem { scan.findings.append(.fileSystemOverGPT) }
    case (.bad(let fault), .bad(let otherFault)):
      if let otherSectorSize { scan.findings.append(.gptOfOtherSectorSize(otherSectorSize)) }
      // Where nothing hints at a GPT, its absence is no finding.
      guard primary.isPresent || backup.isPresent || scan.mbr?.protectiveEntry != nil else { return }
      scan.findings += [.gptCopyBad(.primary, fault), .gptCopyBad(.backup, otherFault)]
    }
    scan.findings += scan.gpt?.problems().map { .gptProblem($0) } ?? []
  }

  private func table(_ header: GPTHeader, _ partitions: [GPTPartition], from copy: GPTCopy) -> PartitionTableScan.FoundCopy {
    // A backup does not say where the primary's entries were; the standard place is free in every table that passed the checks.
    let gpt = GPT(
      sectorSize: source.sectorSize, sectorCount: source.sectorCount, diskGUID: header.diskGUID, entryCount: Int(header.entryCount),
      entryByteCount: Int(header.entryByteCount), primaryEntriesLBA: copy == .primary ? header.entriesLBA : 2,
      firstUsableLBA: header.firstUsableLBA, lastUsableLBA: header.lastUsableLBA, partitions: partitions)
    return PartitionTableScan.FoundCopy(gpt: gpt, headerLBA: header.myLBA, alternateLBA: header.alternateLBA)
  }

  /// A table written under the other sector size has its header at that many bytes, well within the head.
  private mutating func otherSectorSize() throws(BytesNeeded) -> SectorSize? {
    let other = source.sectorSize.other
    let lba = LBA(UInt64(other.byteCount / source.sectorSize.byteCount))
    guard !isMBRData(lba), let sector = try source.sectors(lba) else { return nil }
    let offset = other.byteCount % source.sectorSize.byteCount
    return sector.uint64(at: offset) == GPTHeader.signature ? other : nil
  }

  /// Of those that leave sector 0 as it is, and may leave the primary header, ext2, ext3, ext4 and swap have their superblock where the header or
  /// its entries lie.
  private mutating func hasOtherSuperblock() throws(BytesNeeded) -> Bool { try hasExtSuperblock() ? true : hasSwapSignature() }

  /// Linux, Documentation/filesystems/ext4/super.rst. The magic number alone is too short to go by.
  private mutating func hasExtSuperblock() throws(BytesNeeded) -> Bool {
    let place = LBA(1024 / source.sectorSize.wide)
    guard let sector = try source.sectors(place) else { return false }
    let start = 1024 % source.sectorSize.byteCount
    let (logBlock, revision) = (sector.uint32(at: start + 0x18), sector.uint32(at: start + 0x4C))
    return sector.uint16(at: start + 0x38) == 0xEF53 && logBlock <= 6 && revision <= 1
      && sector.uint32(at: start) > 0 && sector.uint32(at: start + 4) > 0
  }

  /// The last ten bytes of a page of 4 KiB (Linux, include/linux/swap.h: union swap_header).
  private mutating func hasSwapSignature() throws(BytesNeeded) -> Bool {
    let signature = Array("SWAPSPACE2".utf8)
    let place = 4096 - signature.count
    guard let sector = try source.sectors(LBA(UInt64(place) / source.sectorSize.wide)) else { return false }
    return Array(sector.part(place % source.sectorSize.byteCount, signature.count)) == signature
  }

  // MARK: what it all amounts to

  private mutating func classify(_ sector: MBR.Sector, hasTraces: Bool) {
    let hasProtectiveEntry = scan.mbr?.protectiveEntry != nil
    let hasOtherEntries = scan.mbr?.partitions.contains { $0.type != MBR.protectiveType } ?? false
    guard scan.gpt != nil else {
      if hasProtectiveEntry || (hasTraces && !hasOtherEntries) {
        scan.kind = .damagedGPT
      } else {
        switch sector {
        case .blank: scan.kind = .none
        case .bootSector: scan.kind = .bootSector
        case .table: scan.kind = .mbr
        }
      }
      return
    }
    switch (hasProtectiveEntry, hasOtherEntries) {
    case (true, true): scan.kind = .hybrid
    case (false, true):
      scan.kind = .mbrOverGPT
      scan.findings.append(.mbrWithoutProtectiveEntry)
    case (true, false):
      scan.kind = .gpt
      checkProtectiveEntry()
    case (false, false):
      scan.kind = .gpt
      scan.findings.append(sector == .bootSector ? .bootSectorOverGPT : .protectiveMBRMissing)
    }
  }

  private mutating func checkProtectiveEntry() {
    guard let mbr = scan.mbr, mbr.isProtective, let entry = mbr.protectiveEntry else {
      scan.findings.append(.protectiveMBRMissing)
      return
    }
    // 0xFFFFFFFF is right for disks too large for 32 bits, and some tools write it always.
    let expected = min(source.sectorCount - 1, UInt64(UInt32.max))
    if entry.sectorCount != expected, entry.sectorCount != UInt64(UInt32.max) {
      scan.findings.append(.protectiveMBRSize(foundSectors: entry.sectorCount, expectedSectors: expected))
    }
  }
}
