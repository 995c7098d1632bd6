import BlockDevice
import SimulatedPool

/// What the command line asks for.
struct Arguments {
  enum Mode: Equatable {
    case help, listBugs
    case seeds(ClosedRange<UInt64>)
    /// Seed after seed from the first on, for so many seconds; nil for a first seed drawn at random.
    case soak(seconds: UInt64, first: UInt64?)
    case exhaustive(seed: UInt64)
  }

  var mode = Mode.help
  var operationCount: Int?
  var bug: PlantedBug?
  var isTracing = false
  /// Seeds that run at the same time.
  var jobCount = 1

  struct UsageError: Error, CustomStringConvertible { let description: String }

  init(_ words: [String]) throws(UsageError) {
    var seed: UInt64?
    var seeds: ClosedRange<UInt64>?
    var seconds: UInt64?
    var isExhaustive = false
    var rest = words[...]
    if words.isEmpty { throw UsageError(description: "say what to run: --seed, --seeds, --seconds or --exhaustive") }
    while let word = rest.popFirst() {
      switch word {
      case "--help", "-h": return
      case "--list-bugs":
        mode = .listBugs
        return
      case "--seed": seed = try Arguments.number(word, rest.popFirst())
      case "--seeds": seeds = try Arguments.range(rest.popFirst())
      case "--seconds": seconds = try Arguments.number(word, rest.popFirst())
      case "--ops": operationCount = try Arguments.operationCount(rest.popFirst())
      case "--plant": bug = try Arguments.bug(rest.popFirst())
      case "--jobs": jobCount = try Arguments.jobCount(rest.popFirst())
      case "--exhaustive": isExhaustive = true
      case "--trace": isTracing = true
      default: throw UsageError(description: "\(word) is no option of this program")
      }
    }
    mode = try Arguments.mode(seed, seeds, seconds, isExhaustive)
  }

  private static func mode(
    _ seed: UInt64?, _ seeds: ClosedRange<UInt64>?, _ seconds: UInt64?, _ isExhaustive: Bool
  ) throws(UsageError) -> Mode {
    if isExhaustive {
      if seeds != nil || seconds != nil { throw UsageError(description: "--exhaustive takes one --seed") }
      return .exhaustive(seed: seed ?? 1)
    }
    if let seconds {
      if seeds != nil { throw UsageError(description: "--seconds goes with --seed, the first to run, not with --seeds") }
      return .soak(seconds: seconds, first: seed)
    }
    if let seeds {
      if seed != nil { throw UsageError(description: "give --seed or --seeds, not both") }
      return .seeds(seeds)
    }
    guard let seed else { throw UsageError(description: "say what to run: --seed, --seeds, --seconds or --exhaustive") }
    return .seeds(seed...seed)
  }

  private static func number(_ option: String, _ text: String?) throws(UsageError) -> UInt64 {
    guard let text, let number = UInt64(text) else {
      throw UsageError(description: "\(option) takes a whole number from 0 to \(UInt64.max), not \(text ?? "nothing")")
    }
    return number
  }

  private static func range(_ text: String?) throws(UsageError) -> ClosedRange<UInt64> {
    let message = "--seeds takes a range like 1..2000, not \(text ?? "nothing")"
    guard let text, let dots = text.firstRange(of: "..") else { throw UsageError(description: message) }
    guard let first = UInt64(text[..<dots.lowerBound]), let last = UInt64(text[dots.upperBound...]), first <= last else {
      throw UsageError(description: message)
    }
    return first...last
  }

  private static func operationCount(_ text: String?) throws(UsageError) -> Int {
    let most = SimulatedPoolLimits.largestOperationCount
    guard let text, let count = Int(text), (1...most).contains(count) else {
      throw UsageError(description: "--ops takes a number from 1 to \(most), not \(text ?? "nothing")")
    }
    return count
  }

  private static let mostJobs = 256

  private static func jobCount(_ text: String?) throws(UsageError) -> Int {
    guard let text, let count = Int(text), (1...mostJobs).contains(count) else {
      throw UsageError(description: "--jobs takes a number from 1 to \(mostJobs), not \(text ?? "nothing")")
    }
    return count
  }

  private static func bug(_ text: String?) throws(UsageError) -> PlantedBug {
    guard let text, let bug = PlantedBug(rawValue: text) else {
      throw UsageError(description: "--plant takes the name of a bug, not \(text ?? "nothing"); --list-bugs prints the names")
    }
    guard PlantedBug.canBePlanted else {
      throw UsageError(description: "this build has no bugs to plant: use a debug build, or that of make sim")
    }
    return bug
  }

  static let help = """
    spaceport-sim: runs the storage layers of spaceport, unmodified, on a simulated machine, and tries to lose data.

    Usage:
      spaceport-sim --seed N [--ops M] [--trace]    one seed
      spaceport-sim --seeds A..B [--ops M]          all seeds from A to B
      spaceport-sim --seconds S [--seed N]          seed after seed, from N or a random one on, for S seconds; 0: until stopped
      spaceport-sim --exhaustive [--seed N]         a short workload, crashed at every single disk write
      spaceport-sim --list-bugs                     the bugs that --plant knows
      spaceport-sim --help

    Options:
      --ops M       requests of all clients in one seed together (\(SimulatedPoolLimits.operationCount); --exhaustive: \
    \(SimulatedPoolLimits.exhaustiveOperationCount))
      --jobs N      so many seeds at the same time, each in a process of its own (1)
      --plant BUG   puts a known bug into the layers, which the seeds should find (debug builds only)
      --trace       prints every event of the machine

    A seed makes a machine with disks, a pool and virtual disks on it, clients that use them, and what goes wrong: crashes at any write,
    torn and lost sectors, disks that fail. It always makes the same: two runs of a seed with the same --ops print the same digest. A model
    in memory checks every read, and everything after each start.

    At the end the faults are listed, with how often each could have happened (offered) and did (fired). In a run of 1,000 seeds or more it
    is a failure when one never did.

    Exit status: 0 no seed failed; 1 one did: its number, what was wrong, the command that repeats it, and the last events are printed;
    2 the command line was wrong.
    """
}
