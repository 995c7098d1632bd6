/// Where the boot sectors of file systems say that their labels lie.
enum BootSectorPointers {
  /// Ranges within `byteCount`, each at most the limit's length. A boot sector may say anything: what makes no sense gives none.
  static func ranges(_ sector: [UInt8], byteCount: UInt64) -> [Range<UInt64>] {
    guard sector.count >= 512, sector[510] == 0x55, sector[511] == 0xAA else { return [] }
    let (name, block) = (Array(sector[3..<11]), SuperblockBytes(sector))
    let place =
      if name == Array("NTFS    ".utf8) {
        ntfsTable(block)
      } else if name == Array("EXFAT   ".utf8) {
        exFATRoot(block)
      } else if Array(sector[82..<87]) == Array("FAT32".utf8) {
        fat32Root(block)
      } else {
        UInt64?.none
      }
    guard let place, place < byteCount else { return [] }
    return [place..<min(byteCount, place + VolumeLimits.contentTableByteCount)]
  }

  /// The master file table.
  private static func ntfsTable(_ sector: SuperblockBytes) -> UInt64? {
    // Sectors a cluster; from 0x80 on it is a negative power of two.
    let code = sector.little(13, 1)
    let sectors: UInt64 = code < 0x80 ? code : 1 << ((256 - code) & 31)
    return product(sector.little(48, 8), sectors, sector.little(11, 2))
  }

  private static func exFATRoot(_ sector: SuperblockBytes) -> UInt64? {
    let (sectorShift, clusterShift) = (sector.little(108, 1), sector.little(109, 1))
    guard sectorShift <= 12, clusterShift <= 25 else { return nil }
    return clusterPlace(
      sector.little(96, 4), heap: sector.little(88, 4), sectorByteCount: 1 << sectorShift, sectors: 1 << clusterShift)
  }

  private static func fat32Root(_ sector: SuperblockBytes) -> UInt64? {
    let (tables, overflow) = sector.little(36, 4).multipliedReportingOverflow(by: sector.little(16, 1))
    if overflow { return nil }
    return clusterPlace(
      sector.little(44, 4), heap: sector.little(14, 2) + tables, sectorByteCount: sector.little(11, 2), sectors: sector.little(13, 1))
  }

  /// Clusters are counted from 2, where the heap begins.
  private static func clusterPlace(_ cluster: UInt64, heap: UInt64, sectorByteCount: UInt64, sectors: UInt64) -> UInt64? {
    guard cluster >= 2, let place = product(cluster - 2, sectors, sectorByteCount), let start = product(heap, sectorByteCount, 1) else {
      return nil
    }
    let (sum, overflow) = place.addingReportingOverflow(start)
    return overflow ? nil : sum
  }

  private static func product(_ first: UInt64, _ second: UInt64, _ third: UInt64) -> UInt64? {
    let (part, overflow) = first.multipliedReportingOverflow(by: second)
    let (whole, overflowToo) = part.multipliedReportingOverflow(by: third)
    return overflow || overflowToo ? nil : whole
  }
}
