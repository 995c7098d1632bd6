import Foundation
import TestSupport
import Testing

/// The tests' own way to start programs: what every other test here trusts.
struct StartedProgramsTests {
  /// Programs that end at once, each started at the same moment as one that does not.
  @Test func theEndOfAProgramIsSeenThoughOthersGoOn() async throws {
    let lasting = try await withThrowingTaskGroup(of: Process?.self) { tasks in
      for index in 0..<2000 {
        tasks.addTask {
          let process = Process()
          process.executableURL = URL(fileURLWithPath: index % 2 == 0 ? "/bin/true" : "/bin/sleep")
          process.arguments = ["60"]
          try process.runWithoutBlockedSignals()
          if index % 2 == 1 { return process }
          try await waitUntil(timeoutSeconds: 20, "a program that ends at once") { !process.isRunning }
          return nil
        }
      }
      return try await tasks.reduce(into: [Process]()) { if let process = $1 { $0.append(process) } }
    }
    for process in lasting { process.terminate() }
  }
}
