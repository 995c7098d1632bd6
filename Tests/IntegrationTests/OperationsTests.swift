import Foundation
import TestSupport
import Testing

/// What the operator types, and what the pool does by itself.
@Suite(.serialized) struct OperationsTests {
  @Test func aHotSpareTakesOverByItself() async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 2)
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    let spare = try server.directory.sparseFile("spare", byteCount: 256 << 20)
    try await server.succeed("pool", "add", "tank", spare, "--usage", "hotspare")
    let writer = FlushedWriter(server)
    try await writer.start(round: 1, lines: 200)
    #expect(try await server.pool().disk(spare)?.allocatedBytes == 0)
    try FileManager.default.removeItem(atPath: disks[0])
    try await server.waitForPool("to have put the spare to use") { $0.disk(spare)?.usage == "auto" }
    try await waitUntil("the repair to be done") { try await server.events().contains("Job repair is done.") }
    let events = try await server.events()
    #expect(events.contains("The copies on disk 1 (\(disks[0])) are made anew on other disks."), "\(events)")
    #expect(events.contains("The hot spare, disk 3 (\(spare)), takes copies"), "\(events)")
    // What is new has its two copies from the start.
    let before = writer.lineCount
    try await waitUntil("the writer to go on") { writer.lineCount > before + 200 }
    #expect(try await server.succeed("vdisk", "show", "tank/disk").contains("healthy"))
    try await server.end(SIGKILL)
    try await writer.finish()
    try await server.startQuick()
    try await writer.check(round: 1)
    let removed = try await server.succeed("pool", "remove", "tank", "1")
    #expect(removed.contains("is removed from pool tank."))
    try await server.waitForPool("ok", health: "healthy")
    try await server.expectCleanScrub()
    try await server.stop()
  }

  @Test func aDiskThatCannotBeEmptiedSaysWhatWouldHelp() async throws {
    let server = try await SpaceportServer.startedQuick()
    let disks = try await server.makePool(disks: 2, diskByteCount: 256 << 20)
    try await server.createMirror()
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 7 0 8M", "-c", "flush")
    let retired = try await server.succeed("disk", "retire", disks[0])
    #expect(retired.contains("retire of \(disks[0])") && retired.contains("spaceport job watch tank"), "\(retired)")
    try await waitUntil("the job to be stuck") { try await server.succeed("job", "list").contains("suspended") }
    let help = ["8 copies find no room", "spaceport pool add tank DISK", "--usage auto"]
    let list = try await server.succeed("disk", "list")
    for word in help { #expect(list.contains(word), "\(word) is not in: \(list)") }
    try await server.refuse(["pool", "remove", "tank", disks[0]], saying: help)
    #expect(try await server.events().contains("Job retire waits. 8 copies find no room"))
    // What it says helps, and nothing needs to be typed again.
    try await server.succeed("pool", "add", "tank", try server.directory.sparseFile("more", byteCount: 256 << 20))
    try await server.waitForPool("to have let the disk go") { $0.disk(disks[0]) == nil }
    let gone = try await server.events()
    #expect(gone.components(separatedBy: "disk 1 (\(disks[0])) is being emptied".capitalizedFirst).count == 2, "\(gone)")
    #expect(gone.contains("Disk 1 (\(disks[0])) was released"))
    try await server.expectCleanScrub()
    try await server.stop()
  }

  @Test func aScanSaysWhyADiskCannotBePooled() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 1, diskByteCount: 256 << 20)
      let free = try server.directory.sparseFile("free", byteCount: 256 << 20)
      let precious = try server.directory.sparseFile("precious", byteCount: 256 << 20)
      try await succeed("mkfs.ext4", "-q", "-F", "-L", "precious", precious)
      let small = try server.directory.sparseFile("small", byteCount: 1 << 20)
      let shown = try await server.succeed("disk", "scan", server.directory.path)
      let wanted = [
        (free, ["yes"]), (disks[0], ["no. In a pool: tank"]), (precious, ["no. Carries data: ext4", "--force"]),
        (small, ["no. Insufficient capacity: 1048576 bytes"]),
      ]
      for (path, words) in wanted {
        let line = shown.split(separator: "\n").first { $0.hasPrefix(path + " ") } ?? ""
        for word in words { #expect(line.contains(word), "\(path): \(word) is not in: \(shown)") }
        #expect(!line.contains("In use"), "\(line)")
      }
      // What it calls free can be pooled.
      try await server.succeed("pool", "create", "second", free)
      try await server.refuse(["disk", "scan", server.directory.file("none")], saying: ["There is no directory"])
      // The machine's disks, whatever it has.
      try await server.succeed("disk", "scan")
      try await server.succeed("pool", "destroy", "second", "--yes")
    }
  }

  @Test func jobWatchShowsABarOnATerminal() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool(disks: 2, diskByteCount: 256 << 20)
      try await server.createMirror()
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 7 0 48M", "-c", "flush")
      #expect(try await server.scrub() == "No damage found.")
      // One that stays, so that there is something to look at.
      try await server.succeed("disk", "retire", "--pool", "tank", "1")
      let watch = "\(SpaceportServer.binary) job watch tank --control \(server.controlSocket)"
      let shown = try await succeed("script", "--quiet", "--return", "--command", watch, "/dev/null")
      // The last of the bars, in the line of those before it.
      #expect(shown.contains("\r\u{1b}[Ktank 2 retire [------------------------]   0.0% suspended: 48 copies"), "\(shown)")
      // Without a terminal: lines, and nothing else.
      let plain = try await server.succeed("job", "watch", "tank")
      #expect(plain.hasPrefix("tank 2 retire of ") && plain.contains(" suspended 0%: 48 copies find no room"), "\(plain)")
      #expect(!plain.contains("\u{1b}"))
      let jobs = try await server.succeed("job", "list", "tank")
      #expect(jobs.contains("scrub") && jobs.contains("completed") && jobs.contains("96 MiB"), "\(jobs)")
      try await server.refuse(["job", "cancel", "tank", "1"], saying: ["completed already"])
      // Before anything on the disk is touched, and with the size that `pool create` tells of.
      let small = try server.directory.sparseFile("small", byteCount: 40 << 20)
      try await server.refuse(["pool", "add", "tank", small], saying: [small, "at least 64 MiB"])
    }
  }
}

extension String {
  fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
