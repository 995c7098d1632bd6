import Foundation
import TestSupport
import Testing

/// Copies of disks: from an older time, beside their original, and the two halves of a mirror that went on apart. None is ever a source.
@Suite(.serialized) struct CloneTests {
  @Test func anOlderCopyInThePlaceOfADiskIsNeverASource() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    let writer = FlushedWriter(server)
    try await writer.write(round: 1, thenEndBy: SIGTERM)
    try await copy(disks[1], to: disks[1] + "-old")
    try await server.startQuick(repairDelay: 300)
    try await writer.check(round: 1)
    try await writer.write(round: 2, thenEndBy: SIGKILL)
    try replace(disks[1], by: disks[1] + "-old")
    try await server.startQuick(repairDelay: 300)
    try await server.waitForPool("degraded", health: "warning")
    #expect(server.log.contains("\(disks[1]) is from the past or a copy"), "\(server.log)")
    let reason = try await server.pool().reason ?? ""
    #expect(reason.contains("goes on without \(disks[1])") && !reason.contains("failed requests"), "\(reason)")
    try await writer.check(round: 2)
    // Not by hand either, but as a new disk.
    try await server.refuse(["pool", "add", "tank", disks[1]], saying: [disks[1], "--force"])
    try await server.succeed("disk", "replace", "--pool", "tank", "2", disks[1], "--force")
    try await server.succeed("job", "watch", "tank")
    try await server.waitForPool("ok", health: "healthy")
    try await server.expectCleanScrub()
    try await writer.check(round: 3)
    try await server.stop()
  }

  @Test func anOlderCopyOfADiskThatIsAwayIsNotTakenBack() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let writer = FlushedWriter(server)
    try await writer.write(round: 1, thenEndBy: SIGTERM)
    try await copy(disks[1], to: disks[1] + "-old")
    try await server.startQuick(repairDelay: 300)
    try await writer.check(round: 1)
    try await writer.write(round: 2, thenEndBy: SIGKILL)
    try FileManager.default.moveItem(atPath: disks[1], toPath: disks[1] + "-away")
    try await server.startQuick(repairDelay: 300)
    try await server.waitForPool("degraded", health: "warning")
    // The pool goes on; what comes to the disk's place has another past than the one that left.
    try FileManager.default.moveItem(atPath: disks[1] + "-old", toPath: disks[1])
    try await server.waitForPool("to say why it does not take the copy") { pool in
      pool.disks.contains { $0.path == disks[1] && $0.reason?.contains("not disk 2 as pool tank last knew it") == true }
    }
    try await server.refuse(["pool", "add", "tank", disks[1]], saying: ["not disk 2 as pool tank last knew it"])
    try await writer.check(round: 2)
    // The right one is.
    try FileManager.default.removeItem(atPath: disks[1])
    try await server.succeed("pool", "add", "tank", disks[1] + "-away")
    try await server.waitForPool("ok", health: "healthy")
    try await server.expectCleanScrub()
    try await writer.check(round: 3)
    try await server.stop()
  }

  /// With the witness one disk of two is enough, but not a copy of it: neither one from before the last start, nor one made while it was used.
  @Test func anOlderCopyAloneIsRefusedAndCanBeRead() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let writer = FlushedWriter(server)
    try await writer.write(round: 1, thenEndBy: SIGTERM)
    let (old, used) = (disks[1] + "-old", disks[1] + "-used")
    try await copy(disks[1], to: old)
    for (round, signal) in [(2, SIGKILL), (3, SIGTERM)] {
      try await server.startQuick(repairDelay: 300)
      try await server.waitForPool("ok", health: "healthy")
      // What was in flight when the server ended is settled first.
      try await writer.check(round: round - 1)
      try await writer.start(round: round, lines: 100)
      if signal == SIGTERM { try await copy(disks[1], to: used) }
      try await server.end(signal)
      try await writer.finish()
      for disk in disks { try FileManager.default.moveItem(atPath: disk, toPath: disk + "-away") }
      try await copy(signal == SIGTERM ? used : old, to: disks[1])
      try await server.startQuick(repairDelay: 300)
      try await server.waitForPool("to say why it does not open") { pool in
        pool.state == "incomplete" && pool.reason?.contains("\(disks[1]) is from the past, or a copy made then") == true
      }
      let words = ["\(disks[1]) is from the past", "The witness knows", "Attach the disks", "pool open \(disks[1]) --read-only"]
      try await server.refuse(["pool", "open", disks[1]], saying: words)
      try await server.refuse(["pool", "open", disks[1], "--accept-loss", disks[0]], saying: words)
      try await server.succeed("pool", "open", disks[1], "--read-only")
      let text = try await server.succeed("pool", "show", "tank")
      #expect(text.contains("from the past") && text.contains("Nothing proves that it is the newest"), "\(text)")
      try await server.succeed("pool", "close", "tank")
      for disk in disks {
        if FileManager.default.fileExists(atPath: disk) { try FileManager.default.removeItem(atPath: disk) }
        try FileManager.default.moveItem(atPath: disk + "-away", toPath: disk)
      }
      try await server.waitForPool("ok", health: "healthy")
      try await writer.check(round: round)
      try await server.end(SIGTERM)
    }
    // Who has nothing but the copy may go back to it, knowing that.
    try FileManager.default.removeItem(atPath: disks[0])
    try replace(disks[1], by: old)
    try await server.startQuick(repairDelay: 300)
    try await server.waitForPool("to say why it does not open") { $0.nextStep?.contains("pool close tank") == true }
    try await server.succeed("pool", "close", "tank")
    try await server.succeed("pool", "open", disks[1], "--accept-loss", disks[0])
    try await server.waitForPool("degraded", health: "warning")
    try await server.stop()
  }

  @Test func aCopyBesideItsOriginalIsRefused() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
      try await server.createMirror()
      try await server.succeed("pool", "close", "tank")
      let clone = server.directory.file("clone")
      try await copy(disks[1], to: clone)
      // Nobody can tell them apart; whichever way they are named.
      for arguments in [disks + [clone], [clone] + disks, ["--scan", server.directory.path]] {
        try await server.refuse(["pool", "open"] + arguments, saying: ["same disk", disks[1], clone, "Take the copy away"])
      }
      // Either will do alone; then the other one is from the past.
      try await server.succeed("pool", "open", disks[0], clone)
      try await server.succeed("pool", "close", "tank")
      try await server.refuse(["pool", "open"] + disks, saying: ["from the past or a copy", disks[1]])
      try await server.succeed(["pool", "open", clone] + disks)
      #expect(try await server.pool().disks.filter { $0.state == "ok" }.map(\.path) == [disks[0], clone])
      #expect(try await server.pool().disks.contains { $0.path == disks[1] && $0.state == "staleMetadata" })
      #expect(try await server.pool().state == "ok")
    }
  }

  /// Each half was told to go on without the other: there is no way back to one pool, and none is tried.
  @Test func halvesThatWentOnApartAreNeverMerged() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    try await server.succeed("pool", "close", "tank")
    for (here, away) in [(disks[0], disks[1]), (disks[1], disks[0])] {
      try await server.succeed("pool", "open", here, "--accept-loss", away)
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 7 0 1M", "-c", "flush")
      try await server.succeed("pool", "close", "tank")
    }
    for order in [disks, disks.reversed()] {
      try await server.refuse(["pool", "open"] + order, saying: disks + ["went on without each other"])
    }
    // One of them is chosen; the other comes back as a new disk.
    try await server.succeed("pool", "open", disks[1])
    try await server.refuse(["pool", "add", "tank", disks[0]], saying: [disks[0], "--force"])
    try await server.succeed("disk", "replace", "--pool", "tank", "1", disks[0], "--force")
    try await server.succeed("job", "watch", "tank")
    try await server.waitForPool("ok", health: "healthy")
    try await server.expectCleanScrub()
    try await server.stop()
  }

  private func copy(_ disk: String, to copy: String) async throws { try await succeed("cp", "--sparse=always", disk, copy) }

  private func replace(_ path: String, by other: String) throws {
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: other, toPath: path)
  }
}
