import BlockDevice
import Foundation
import TestSupport
import Testing

/// The program itself, as a stranger uses it. Planted bugs are put in by it alone: they change every layer of their process.
@Suite(.serialized) struct ProgramTests {
  /// `SPACEPORT_SIMULATOR`, which `make sim` builds and is many times as fast; else the debug build's.
  static let program = ProcessInfo.processInfo.environment["SPACEPORT_SIMULATOR"] ?? Program.built("spaceport-sim")

  private static func run(_ arguments: [String], timeoutSeconds: Double = 300) async throws -> ProgramResult {
    try await Program.run([program] + arguments, timeoutSeconds: timeoutSeconds)
  }

  private static func digest(_ result: ProgramResult) -> Substring? {
    result.output.split(separator: "\n").first { $0.hasPrefix("seed ") }?.split(separator: " ").last
  }

  @Test func aSeedIsTheSameInTwoProcesses() async throws {
    for seed in ["1", "17"] {
      let first = try await ProgramTests.run(["--seed", seed])
      let second = try await ProgramTests.run(["--seed", seed])
      try #require(first.succeeded, "\(first.text)")
      #expect(ProgramTests.digest(first) != nil && ProgramTests.digest(first) == ProgramTests.digest(second))
    }
  }

  @Test func jobsChangeNothing() async throws {
    let one = try await ProgramTests.run(["--seeds", "1..6", "--ops", "40"])
    let three = try await ProgramTests.run(["--seeds", "1..6", "--ops", "40", "--jobs", "3"])
    let digests = [one, three].map { $0.output.split(separator: "\n").first?.split(separator: " ").last }
    #expect(one.succeeded && digests[0] == digests[1], "\(one.text)\(three.text)")
  }

  /// A short workload, crashed at every write.
  @Test func exhaustiveModeFindsNothing() async throws {
    let result = try await ProgramTests.run(["--exhaustive", "--seed", "1", "--ops", "6"], timeoutSeconds: 600)
    #expect(result.succeeded, "\(result.text)")
    print(result.output.prefix { $0 != "\n" })
  }

  @Test(arguments: [
    [], ["--seed"], ["--seed", "x"], ["--seeds", "5..1"], ["--ops", "0", "--seed", "1"], ["--plant", "nothing", "--seed", "1"],
    ["--seed", "1", "--seeds", "1..2"], ["--frobnicate"],
  ]) func wrongCommandLinesAreExplained(arguments: [String]) async throws {
    let result = try await ProgramTests.run(arguments)
    #expect(result.status == 2 && result.errors.hasPrefix("spaceport-sim: ") && result.errors.contains("--help"), "\(result.text)")
  }

  @Test func helpNamesEveryOption() async throws {
    let result = try await ProgramTests.run(["--help"])
    #expect(result.succeeded)
    for option in ["--seed ", "--seeds", "--seconds", "--exhaustive", "--ops", "--jobs", "--plant", "--list-bugs", "--trace"] {
      #expect(result.output.contains(option), "\(option)")
    }
    let bugs = try await ProgramTests.run(["--list-bugs"])
    #expect(bugs.output.split(separator: "\n").map(String.init) == PlantedBug.allCases.map(\.rawValue))
  }

  // MARK: Planted bugs

  /// Seeds within which each bug must be found. What only few seeds meet is begun near one that does, so that it takes no minutes.
  private static func seeds(_ bug: PlantedBug) -> ClosedRange<Int> {
    switch bug {
    // Needs a cache disk that was away while the pool was open.
    case .cacheOldGenerationAccepted: 41...440
    // Needs a read, before it was settled, of a region whose copies a crash has left different.
    case .readFromUnsettledRegion: 101...400
    // Needs a crash in the few operations between the answer and the eviction's commit.
    case .writeAcknowledgedBeforeEviction: 1061...1460
    default: 1...200
    }
  }

  @Test(arguments: PlantedBug.allCases) func plantedBugsAreFound(bug: PlantedBug) async throws {
    let seeds = ProgramTests.seeds(bug)
    let result = try await ProgramTests.run(
      ["--seeds", "\(seeds.lowerBound)..\(seeds.upperBound)", "--jobs", "2", "--plant", bug.rawValue], timeoutSeconds: 900)
    #expect(result.status == 1, "\(bug) was not found by the seeds \(seeds):\n\(result.text)")
    let line = result.output.split(separator: "\n").first { $0.hasPrefix("FAILED: seed") } ?? "?"
    print("planted bug \(bug.rawValue): \(line.prefix(160))")
    #expect(result.output.contains("spaceport-sim --seed ") && result.output.contains("--plant \(bug.rawValue)"))
  }
}
