/// Decides what becomes of the unflushed operations of one disk when the power goes. Each one drawn for itself would hardly ever lose many
/// and keep the last, which is what a missing flush needs to show; so there are styles.
struct CrashLottery {
  private enum Style { case allLost, allKept, oldestKept, newestKept, mixed }

  private var random: SeededRandom
  private let style: Style
  /// Of the ordered styles: the operations from here on fare the other way.
  private var hasTurned = false

  init(_ random: SeededRandom) {
    self.random = random
    style = [.allLost, .allKept, .oldestKept, .newestKept, .mixed, .mixed, .mixed, .mixed][self.random.index(below: 8)]
  }

  mutating func coin() -> Bool { random.coin() }

  /// Of the next operation, in the order of their completion.
  mutating func fate(_ coverage: inout Coverage) -> Medium.Fate {
    let fate = drawn()
    switch fate {
    case .lost: coverage.count(.unflushedLost)
    case .kept: coverage.count(.unflushedKept)
    case .torn: coverage.count(.unflushedTorn)
    }
    return fate
  }

  private mutating func drawn() -> Medium.Fate {
    if random.below(3) == 0 { hasTurned = true }
    switch style {
    case .allLost: return .lost
    case .allKept: return .kept
    case .oldestKept: return hasTurned ? .lost : .kept
    case .newestKept: return hasTurned ? .kept : .lost
    case .mixed: return [.lost, .kept, .torn][random.index(below: 3)]
    }
  }
}
