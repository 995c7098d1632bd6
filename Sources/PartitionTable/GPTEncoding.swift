/// What becomes of sector 0 when a GPT is written.
public enum ProtectiveMBR: Hashable, Sendable {
  /// A protective MBR without boot code: for disks that held nothing to keep.
  case fresh
  /// A protective MBR behind this boot code (at most 446 bytes, the first of the sector): for disks that boot by BIOS.
  case keepingBootCode([UInt8])
  /// Sector 0 is not written: for hybrid tables, which belong to another tool.
  case untouched
}

extension GPT {
  /// The table as bytes to write, in the order that loses nothing in a crash: write those of the backup, flush, write those of the
  /// primary, flush. At any moment one copy on the disk is whole, provided one was before.
  /// - Throws: what `validate` finds; `bootCodeInvalid`.
  public func encode(protectiveMBR: ProtectiveMBR = .fresh) throws(GPTError) -> [DiskWrite] {
    try validate()
    let entries = encodeEntries()
    let checksum = CRC32.checksum(entries.prefix(entryCount * entryByteCount))
    let backup = DiskWrite(
      copy: .backup, offsetBytes: backupEntriesLBA.value * sectorSize.wide,
      bytes: entries + header(.backup, entriesChecksum: checksum).encode(sectorSize: sectorSize))
    var head = header(.primary, entriesChecksum: checksum).encode(sectorSize: sectorSize)
    var headLBA: UInt64 = 1
    if let sector = try mbrSector(protectiveMBR) {
      head = sector + head
      headLBA = 0
    }
    guard primaryEntriesLBA == 2 else {
      let array = DiskWrite(copy: .primary, offsetBytes: primaryEntriesLBA.value * sectorSize.wide, bytes: entries)
      return [backup, array, DiskWrite(copy: .primary, offsetBytes: headLBA * sectorSize.wide, bytes: head)]
    }
    return [backup, DiskWrite(copy: .primary, offsetBytes: headLBA * sectorSize.wide, bytes: head + entries)]
  }

  /// The same in steps: who writes a step and flushes before the next leaves, after a crash at any write, the old table or the new one in
  /// one of the copies. First the backup, then the primary, then sector 0, which decides for most systems whether there is a GPT at all.
  /// - Parameter first: the copy that goes first: the one that is bad, where the other is all there is.
  /// - Throws: what `validate` finds; `bootCodeInvalid`.
  public func encodeSteps(protectiveMBR: ProtectiveMBR, first: GPTCopy = .backup) throws(GPTError) -> [[DiskWrite]] {
    let copies = try encode(protectiveMBR: .untouched)
    var steps = [copies.filter { $0.copy == first }, copies.filter { $0.copy != first }]
    if let sector = try mbrSector(protectiveMBR) { steps.append([DiskWrite(copy: .primary, offsetBytes: 0, bytes: sector)]) }
    return steps
  }

  /// The entry array, filled up to whole sectors.
  private func encodeEntries() -> [UInt8] {
    var array = [UInt8](repeating: 0, count: Int(arraySectorCount) * sectorSize.byteCount)
    for partition in partitions {
      partition.encode(into: &array, at: (partition.number - 1) * entryByteCount)
    }
    return array
  }

  private func header(_ copy: GPTCopy, entriesChecksum: UInt32) -> GPTHeader {
    let isPrimary = copy == .primary
    return GPTHeader(
      myLBA: isPrimary ? 1 : backupHeaderLBA, alternateLBA: isPrimary ? backupHeaderLBA : 1, firstUsableLBA: firstUsableLBA,
      lastUsableLBA: lastUsableLBA, diskGUID: diskGUID, entriesLBA: isPrimary ? primaryEntriesLBA : backupEntriesLBA,
      entryCount: UInt32(entryCount), entryByteCount: UInt32(entryByteCount), entriesChecksum: entriesChecksum)
  }

  /// Sector 0 as it is to be; nil when it is to stay as it is.
  private func mbrSector(_ choice: ProtectiveMBR) throws(GPTError) -> [UInt8]? {
    var bootCode: [UInt8] = []
    switch choice {
    case .fresh: break
    case .untouched: return nil
    case .keepingBootCode(let code):
      guard code.count <= MBR.entriesOffset else { throw .bootCodeInvalid(byteCount: code.count) }
      bootCode = code
    }
    var sector = bootCode + [UInt8](repeating: 0, count: sectorSize.byteCount - bootCode.count)
    // One entry over the whole disk, of type 0xEE; cylinders are given up on, as every current tool does (UEFI 2.10, 5.2.3).
    sector.store([0x00, 0x00, 0x02, 0x00, MBR.protectiveType, 0xFF, 0xFF, 0xFF], at: MBR.entriesOffset)
    sector.store(UInt32(1), at: MBR.entriesOffset + 8)
    sector.store(UInt32(clamping: sectorCount - 1), at: MBR.entriesOffset + 12)
    sector.store(MBR.signature, at: MBR.signatureOffset)
    return sector
  }
}
