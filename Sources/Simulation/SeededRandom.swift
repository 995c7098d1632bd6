/// xoshiro256** (Blackman and Vigna), seeded by SplitMix64: written out here so that a seed means the same on every machine and with
/// every version of the standard library.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  public init(seed: UInt64) {
    var split = seed
    state = (SeededRandom.split(&split), SeededRandom.split(&split), SeededRandom.split(&split), SeededRandom.split(&split))
  }

  /// A generator for one use (`stream`) of a run, so that what one use draws does not shift another's numbers.
  public init(seed: UInt64, stream: UInt64) { self.init(seed: SeededRandom.mix(seed &+ SeededRandom.mix(stream &+ 1))) }

  public mutating func next() -> UInt64 {
    let result = SeededRandom.rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = SeededRandom.rotate(state.3, 45)
    return result
  }

  /// 0 ..< `bound`, by multiplication (the bias of 2^-64 times `bound` does not matter here); 0 for a bound of 0.
  public mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }

  public mutating func index(below count: Int) -> Int { Int(below(UInt64(count))) }

  /// True `perMillion` times in a million.
  public mutating func chance(perMillion: UInt32) -> Bool { perMillion > 0 && below(1_000_000) < UInt64(perMillion) }

  public mutating func coin() -> Bool { next() & (1 << 40) != 0 }

  /// A value of the closed range.
  public mutating func value(in range: ClosedRange<UInt64>) -> UInt64 {
    let width = range.upperBound - range.lowerBound
    return width == .max ? next() : range.lowerBound + below(width + 1)
  }

  private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 { (value << count) | (value >> (64 - count)) }

  private static func split(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return mix(state)
  }

  /// SplitMix64's finisher: every bit of `value` moves every bit of the result.
  public static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
