import Foundation
import Testing

/// Page reads and writes of a known kind, always the same.
struct SyntheticTrace: Sendable, CustomTestStringConvertible {
  var name: String
  var accesses: [Access]

  struct Access: Sendable {
    var page: UInt64
    var isWrite = false
  }

  var testDescription: String { name }

  /// Traces and caches are so many times smaller than in the long form: without the optimiser that takes minutes. `make bench` runs it
  /// (SPACEPORT_LONG_TRACES=1).
  static let scale = ProcessInfo.processInfo.environment["SPACEPORT_LONG_TRACES"] == nil ? 8 : 1

  static let all: [SyntheticTrace] = [
    SyntheticTrace(name: "zipf 0.99", accesses: zipf(200_000, pages: 20_000, exponent: 0.99, seed: 1)),
    SyntheticTrace(name: "scan + zipf", accesses: scanAndZipf()),
    SyntheticTrace(name: "loop", accesses: (0..<200_000 / scale).map { Access(page: UInt64($0 % (5000 / scale))) }),
    SyntheticTrace(name: "shifting working set", accesses: shifting()),
    SyntheticTrace(name: "mixed writes", accesses: mixedWrites()),
    SyntheticTrace(name: "correlated bursts", accesses: bursts()),
    SyntheticTrace(name: "phases", accesses: phases(withLoop: true)),
    SyntheticTrace(name: "phases, a short lead", accesses: phases(withLoop: false)),
  ]

  /// As the long form has it.
  private static func zipf(_ count: Int, pages: Int, exponent: Double, seed: UInt64, from first: UInt64 = 0) -> [Access] {
    let distribution = Zipf(pages: pages / scale, exponent: exponent)
    var random = TestRandom(seed: seed)
    return (0..<count / scale).map { _ in Access(page: first + distribution.page(&random)) }
  }

  private static func scanAndZipf() -> [Access] {
    var accesses: [Access] = []
    for round in 0..<8 as Range<UInt64> {
      accesses += zipf(20_000, pages: 20_000, exponent: 0.99, seed: round + 2)
      for page in 0..<UInt64(8000 / scale) { accesses.append(Access(page: 100_000 + round * 8000 + page)) }
    }
    return accesses
  }

  private static func shifting() -> [Access] {
    var accesses: [Access] = []
    for round in 0..<8 as Range<UInt64> {
      accesses += zipf(25_000, pages: 5000, exponent: 0.9, seed: round + 20, from: round * UInt64(3500 / scale))
    }
    return accesses
  }

  private static func mixedWrites() -> [Access] {
    var random = TestRandom(seed: 3)
    return zipf(200_000, pages: 20_000, exponent: 0.99, seed: 4).map { Access(page: $0.page, isWrite: random.below(10) < 4) }
  }

  private static func bursts() -> [Access] {
    var random = TestRandom(seed: 5)
    return zipf(100_000, pages: 20_000, exponent: 0.9, seed: 6).flatMap { Array(repeating: $0, count: 1 + Int(random.below(3))) }
  }

  /// Three times: a scan, a working set that is read part after part, what LRU does better for a while, a longer scan. Who follows LRU there
  /// lets the working set go. That is a loop larger than the cache, or a few pages that are read again after many others: a lead so short that it
  /// is not worth a change.
  private static func phases(withLoop: Bool) -> [Access] {
    var accesses: [Access] = []
    func scan(_ first: UInt64, _ count: Int) {
      for page in first..<first + UInt64(count / scale) {
        accesses.append(Access(page: page))
        // Requests of four pages and a bit, each beginning where another ended.
        if page % 4 == 0 { accesses.append(Access(page: page)) }
      }
    }
    func readOnce(_ first: UInt64, _ count: Int) { accesses += (first..<first + UInt64(count / scale)).map { Access(page: $0) } }
    let part = UInt64(500 / scale)
    for round in 0..<3 as Range<UInt64> {
      scan(100_000, 12_000)
      for first in stride(from: 0, to: 7 * part, by: Int(part)) {
        for _ in 0..<4 { accesses += (first..<first + part).map { Access(page: $0) } }
      }
      if withLoop {
        for _ in 0..<2 { scan(200_000, 6000) }
      } else {
        readOnce(400_000 + round * 2000, 1200)
        readOnce(400_000 + round * 2000, 100)
      }
      scan(300_000, 20_000)
    }
    return accesses
  }
}

/// Pages by popularity: the nth is asked for in proportion to 1 / n^exponent.
struct Zipf {
  private var sums: [Double] = []

  init(pages: Int, exponent: Double) {
    var sum = 0.0
    for rank in 1...pages {
      sum += pow(Double(rank), -exponent)
      sums.append(sum)
    }
  }

  func page(_ random: inout TestRandom) -> UInt64 {
    let point = Double(random.next() >> 11) / Double(1 << 53) * sums[sums.count - 1]
    var (low, high) = (0, sums.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if sums[middle] < point { low = middle + 1 } else { high = middle }
    }
    // Popular pages do not lie side by side.
    return UInt64(low) * 7919 % UInt64(sums.count)
  }
}

/// The same numbers for the same seed.
struct TestRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
}
