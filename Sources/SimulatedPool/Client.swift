import BlockDevice
import Simulation

/// One client of a virtual disk: requests drawn from the seed, one after the other; several clients run at once, and may touch the same
/// sectors.
final class Client: @unchecked Sendable {  // reactor-confined
  private let powerOn: PowerOn
  private let open: OpenDisk
  private let name: String
  private var random: SeededRandom

  init(_ powerOn: PowerOn, _ open: OpenDisk, number: Int, _ random: SeededRandom) {
    self.powerOn = powerOn
    self.open = open
    name = "\(open.model.name)/client\(number)"
    self.random = random
  }

  /// Ends early when the disk leaves, the power goes, or something is wrong (which the power-on then knows).
  func run(operationCount: Int) async {
    for _ in 0..<operationCount {
      if open.isLeaving || powerOn.isOver { return }
      let choice = random.below(24)
      let coin = random.coin()
      let isDurable = random.below(5) == 0
      if choice > 21 && powerOn.machine.cachePageCount > 0 {
        await writeBesideRead()
        continue
      }
      // Of trims, every third takes whole rows away, so that their slabs are dealt again.
      let sectors = (9..<11).contains(choice) && random.below(3) == 0 ? wholeRow() : range()
      await powerOn.attempt(name, on: open, Client.operation(choice, isDurable: isDurable, coin), sectors)
    }
  }

  /// Writes a block while the one beside it is read: a page of the read cache that has both is written while it is filled. Then looks what the
  /// cache made of it.
  private func writeBesideRead() async {
    let pairSectorCount: UInt64 = 16  // two blocks of 4096 bytes, of which locks and partial blocks keep nothing of the other
    let count = min(open.shadowed.sectorCount, 512) / pairSectorCount
    guard count > 0, let reactor = powerOn.machine.reactor else { return }
    let start = random.below(count) * pairSectorCount
    let middle = start + pairSectorCount / 2
    let reading = reactor.spawn { [self] in await powerOn.attempt(name, on: open, .check, start..<middle) }
    await powerOn.attempt(name, on: open, .write, middle..<start + pairSectorCount)
    await reading.value
    if open.isLeaving || powerOn.isOver { return }
    await powerOn.attempt(name, on: open, .check, middle..<start + pairSectorCount)
  }

  private static func operation(_ choice: UInt64, isDurable: Bool, _ coin: Bool) -> ClientOperation {
    switch choice {
    case 0..<9: isDurable ? .writeDurable : .write
    case 9..<11: isDurable ? .trimDurable : .trim
    case 11..<13: isDurable ? .zeroDurable : coin ? .zeroKeepingSpace : .zero
    case 13..<16: .flush
    case 16: .clearDirtyRegions(evenTouched: coin)
    default: .check
    }
  }

  private func wholeRow() -> Range<UInt64> {
    let count = open.shadowed.sectorCount
    let row = open.disk.rowSectorCount
    let start = random.below((count + row - 1) / row) * row
    return start..<min(count, start + row)
  }

  /// Mostly short and within a hot spot; now and then whole chunks, or half the disk.
  private func range() -> Range<UInt64> {
    let unit = open.unit
    let count = open.shadowed.sectorCount / unit
    if random.below(40) == 0 {
      let half = max(1, count / 2)
      let start = random.below(count - half + 1)
      return start * unit..<(start + min(half, 4096 / unit)) * unit
    }
    let area = random.below(3) > 0 ? min(count, 512) : count
    let start = random.below(area)
    let length = random.below(6) == 0 ? SimulatedPoolLimits.requestSectorCount : 24
    return start * unit..<min(count, start + 1 + random.below(max(1, length / unit))) * unit
  }
}

enum ClientOperation: Sendable, Equatable {
  case write, writeDurable, trim, trimDurable, zero, zeroDurable, zeroKeepingSpace, flush, check
  case clearDirtyRegions(evenTouched: Bool)
}
