import Foundation
import TestSupport
import Testing

/// Scrub on data that was really changed below the pool.
@Suite(.serialized) struct ScrubTests {
  private static let offset = 20 << 20

  /// Two copies: nobody knows which is right. It is said where, and nothing is changed: readers go on getting the same one.
  @Test func aDifferenceOfTwoCopiesIsReportedAndNotTouched() async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let mark = try await writeMark(server)
    let before = try await readMark(server)
    try flip(mark, in: disks[0])
    let seen = try await readMark(server)
    let files = try disks.map { try Data(contentsOf: URL(fileURLWithPath: $0)).range(of: Data(mark.utf8)) }
    let found = try await server.scrub()
    #expect(found.contains("1 place where copies differ"), "\(found)")
    let events = try await server.events()
    #expect(events.contains("tank/disk") && events.contains("at byte \(Self.offset)"), "\(events)")
    for disk in disks { #expect(events.contains(disk), "\(events)") }
    let status = try await server.succeed("status")
    #expect(status.contains("copies differ") && status.contains("Write"), "\(status)")
    // Unchanged, before and after a restart.
    #expect(try await readMark(server) == seen)
    try await server.stop()
    try await server.startQuick()
    #expect(try await readMark(server) == seen)
    #expect(try disks.map { try Data(contentsOf: URL(fileURLWithPath: $0)).range(of: Data(mark.utf8)) } == files)
    // What is said helps: writing the place again makes the copies agree.
    _ = try await writeMark(server)
    #expect(try await readMark(server) == before)
    try await server.expectCleanScrub()
    #expect(try await !server.succeed("status").contains("copies differ"))
    try await server.stop()
  }

  @Test func ofThreeCopiesTheMajorityIsRestored() async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror(copies: 3)
    let mark = try await writeMark(server)
    let before = try await readMark(server)
    try flip(mark, in: disks[1])
    let found = try await server.scrub()
    #expect(found.contains("1 place repaired"), "\(found)")
    let events = try await server.events()
    #expect(events.contains("at byte \(Self.offset)") && events.contains(disks[1]) && !events.contains(disks[2] + " differed"), "\(events)")
    #expect(try await readMark(server) == before)
    for disk in disks { #expect(try Data(contentsOf: URL(fileURLWithPath: disk)).range(of: Data(mark.utf8)) != nil) }
    try await server.expectCleanScrub()
    try await server.stop()
  }

  // MARK: Bytes

  /// A block with a text that is nowhere else, flushed; the text.
  private func writeMark(_ server: SpaceportServer) async throws -> String {
    let mark = "here lies a block that is watched"
    let block = server.directory.file("block")
    try (mark + String(repeating: ".", count: 4096 - mark.utf8.count)).write(toFile: block, atomically: true, encoding: .utf8)
    try await succeed(
      "qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -s \(block) \(Self.offset) 4k", "-c", "write -P 7 0 4M", "-c", "flush")
    return mark
  }

  private func readMark(_ server: SpaceportServer) async throws -> String {
    let text = try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -v \(Self.offset) 64")
    return text.split(separator: "\n").filter { $0.contains(":  ") }.joined(separator: "\n")
  }

  /// Changes a bit of the text, where it lies on the disk.
  private func flip(_ mark: String, in path: String) throws {
    let content = try Data(contentsOf: URL(fileURLWithPath: path))
    let place = try #require(content.range(of: Data(mark.utf8))).lowerBound
    let file = try #require(FileHandle(forUpdatingAtPath: path))
    try file.seek(toOffset: UInt64(place))
    try file.write(contentsOf: Data([content[place] ^ 1]))
    try file.close()
  }
}
