import Foundation
import TestSupport
import Testing

/// What the tests look at of `pool show --json`.
struct PoolState: Decodable {
  struct Disk: Decodable {
    var path: String
    var number: Int
    var state: String
    var health: String
    var usage: String
    var allocatedBytes: UInt64
    var reason: String?
    var nextStep: String?
    var cachedBy: String?
  }
  var state: String
  var health: String
  var reason: String?
  var nextStep: String?
  var disks: [Disk]
  var capacityBytes: UInt64
  var warnings: [String]

  init?(_ text: String) throws {
    if text.isEmpty { return nil }
    self = try JSONDecoder().decode(PoolState.self, from: Data(text.utf8))
  }

  func disk(_ path: String) -> Disk? { disks.first { $0.path == path } }
}

/// The pool `tank` with a mirror `tank/disk`, as the tests of lost disks have it.
extension SpaceportServer {
  /// A server with short waits, so that the tests are quick; all else as in real life.
  static func startedQuick(repairDelay: Int = 1) async throws -> SpaceportServer {
    let server = try SpaceportServer()
    try await server.startQuick(repairDelay: repairDelay)
    return server
  }

  func startQuick(repairDelay: Int = 1, diskWait: Int = 2) async throws {
    try await start(extraArguments: ["--disk-wait", "\(diskWait)", "--repair-delay", "\(repairDelay)"])
  }

  func createMirror(copies: Int = 2, size: String = "64MiB") async throws {
    try await succeed("vdisk", "create", "tank/disk", "--size", size, "--resiliency", "mirror", "--copies", "\(copies)")
  }

  func pool() async throws -> PoolState { try #require(try PoolState(try await succeed("pool", "show", "tank", "--json"))) }

  func waitForPool(_ state: String, health: String, timeoutSeconds: Double = 60) async throws {
    try await waitForPool("to be \(state), \(health)", timeoutSeconds: timeoutSeconds) { $0.state == state && $0.health == health }
  }

  /// Each look runs a program: a few a second are enough.
  func waitForPool(_ what: String, timeoutSeconds: Double = 60, _ condition: (PoolState) -> Bool) async throws {
    var last = ""
    do {
      try await waitUntil(timeoutSeconds: timeoutSeconds, "the pool \(what)") {
        last = try await self.spaceport("pool", "show", "tank", "--json").output
        if let pool = try PoolState(last), condition(pool) { return true }
        try await Task.sleep(for: .milliseconds(200))
        return false
      }
    } catch { throw ProgramFailure(description: "\(error). It is: \(last)\nThe server's log: \(log)") }
  }

  /// A scrub from its start to its end; what it found.
  func scrub(sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
    struct Job: Decodable {
      var number: Int
      var state: String
      var message: String?
    }
    let begun = try await succeed("pool", "scrub", "tank", "--json", sourceLocation: sourceLocation)
    let number = try JSONDecoder().decode(Job.self, from: Data(begun.utf8)).number
    var message = ""
    try await waitUntil(timeoutSeconds: 120, "the scrub to end") {
      let jobs = try JSONDecoder().decode([Job].self, from: Data(try await self.succeed("job", "list", "tank", "--json").utf8))
      guard let job = jobs.first(where: { $0.number == number }), job.state == "completed" else { return false }
      message = job.message ?? ""
      return true
    }
    return message
  }

  /// A scrub finds that the copies agree.
  func expectCleanScrub(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let found = try await scrub(sourceLocation: sourceLocation)
    #expect(found == "No damage found.", sourceLocation: sourceLocation)
  }

  func events() async throws -> String { try await succeed("event", "list", "tank") }
}
