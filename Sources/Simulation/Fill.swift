import CLinux

/// What a test writes: a number that can be read back from every 16 bytes of a sector, with the sector's place, so that a torn, stale or
/// misplaced sector says what it is. 0 is zeros.
public struct Fill: Hashable, Sendable, CustomStringConvertible {
  public let number: UInt64

  public init(_ number: UInt64) { self.number = number }

  public static let zeros = Fill(0)

  public var description: String { number == 0 ? "zeros" : "fill \(number)" }

  /// Fills whole sectors, the first of which is number `firstSector` of its disk.
  public func write(to bytes: UnsafeMutableRawBufferPointer, firstSector: UInt64, sectorByteCount: Int = 512) {
    guard let base = bytes.baseAddress else { return }
    for index in 0..<bytes.count / sectorByteCount {
      let sector = base + index * sectorByteCount
      sector.storeBytes(of: number, as: UInt64.self)
      sector.storeBytes(of: mark(of: firstSector + UInt64(index)), toByteOffset: 8, as: UInt64.self)
      var filled = 16
      while filled < sectorByteCount {  // doubling: a loop over words is slow without the optimiser
        let part = min(filled, sectorByteCount - filled)
        memcpy(sector + filled, sector, part)
        filled += part
      }
    }
  }

  private func mark(of sector: UInt64) -> UInt64 { number == 0 ? 0 : SeededRandom.mix(number ^ SeededRandom.mix(sector &+ 1)) }

  /// What one sector holds; nil when it is no fill of this place.
  public static func read(_ sector: UnsafeRawBufferPointer, number sectorNumber: UInt64) -> Fill? {
    guard let base = sector.baseAddress, sector.count >= 16 else { return nil }
    let fill = Fill(base.loadUnaligned(as: UInt64.self))
    guard base.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == fill.mark(of: sectorNumber) else { return nil }
    return memcmp(base, base + 16, sector.count - 16) == 0 ? fill : nil
  }
}
