import Foundation
import TestSupport
import Testing

/// The server is killed in the middle of writes; what was flushed must be there.
@Suite(.serialized) struct KillTests {
  @Test func twentyKillsLoseNothingThatWasFlushed() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let writer = FlushedWriter(server)
    for round in 1...20 {
      // Killed at another point each round.
      try await writer.start(round: round, lines: 40 + (round * 37) % 300)
      try await server.end(SIGKILL)
      try await writer.finish()
      try await server.start()
      try await writer.check(round: round)
    }
    #expect(writer.lineCount > 1000)
    try await server.stop()
  }
}
