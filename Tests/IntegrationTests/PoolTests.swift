import Foundation
import TestSupport
import Testing

/// Pools and virtual disks by the command line, on real files.
@Suite(.serialized) struct PoolTests {
  @Test func partitionToolsFindNoFaultWithPooledDisks() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 3)
      try await server.succeed("pool", "close", "tank")
      for disk in disks {
        #expect(try await succeed("sgdisk", "-v", disk).contains("No problems found"))
        let table = try await succeed("sfdisk", "--json", disk)
        #expect(table.components(separatedBy: "\"node\"").count == 3, "two partitions are expected: \(table)")
        #expect(table.contains("\"name\":\"tank\"") || table.contains("\"name\": \"tank\""))
        let report = try await Program.run([SpaceportServer.binary, "inspect", disk])
        #expect(report.succeeded && report.output.contains("tank"), "\(report.output)\(report.errors)")
        #expect(report.output.contains("No faults found.") && !report.output.contains("slabByteCount="), "\(report.output)")
        let records = try await Program.run([SpaceportServer.binary, "inspect", "--records", disk])
        #expect(records.output.contains("slabByteCount="), "\(records.output)")
      }
    }
  }

  @Test func aPoolOpensInAnyOrderAndUnderAnyPath() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 3)
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "100MiB")
      try await fill(server, pattern: "0x5a")
      try await server.succeed("pool", "close", "tank")
      try await server.refuse(["pool", "show", "tank"], saying: ["tank"])
      let moved = try FileManager.default.moved(disks, suffix: "-moved")
      try await server.refuse(["pool", "open", moved[0], moved[1]], saying: ["tank", "Missing", "disk3"])
      try await server.succeed("pool", "open", moved[2], moved[0], moved[1])
      try await check(server, pattern: "0x5a")
      try await server.succeed("pool", "close", "tank")
      try await server.refuse(["pool", "open", "--scan", "/nowhere"], saying: ["There is no directory /nowhere."])
      try await server.succeed("pool", "open", "--scan", server.directory.path)
      try await check(server, pattern: "0x5a")
    }
  }

  @Test func poolsComeBackByThemselvesWhenTheServerStartsAgain() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "100MiB")
    try await fill(server, pattern: "0x77")
    try await server.stop()
    try await server.start()
    try await check(server, pattern: "0x77")
    try await server.stop()
  }

  @Test func aDiskThatCarriesSomethingIsRefusedUnlessForced() async throws {
    try await SpaceportServer.run { server in
      let disk = try server.directory.sparseFile("full", byteCount: 256 << 20)
      try await succeed("mkfs.ext4", "-q", "-F", "-L", "precious", disk)
      try await server.refuse(["pool", "create", "tank", disk], saying: ["ext4", "precious", "--force"])
      // What is refused for another reason has wiped nothing, even with --force.
      let before = try await succeed("sha256sum", disk)
      try await server.refuse(["pool", "create", "tank", disk, "--force", "--slab-size", "3MiB"], saying: ["slab", "3145728"])
      let small = try server.directory.sparseFile("small", byteCount: 16 << 20)
      try await server.refuse(["pool", "create", "tank", disk, small, "--force"], saying: ["too small"])
      #expect(try await succeed("sha256sum", disk) == before)
      try await server.succeed("pool", "create", "tank", disk, "--force")
      let other = try server.directory.sparseFile("other", byteCount: 256 << 20)
      try await server.refuse(["pool", "create", "second", disk, other], saying: [disk])
      try await server.refuse(["pool", "create", "tank", other], saying: ["tank", "exists"])
      try await server.refuse(["pool", "create", "twice", other, other], saying: ["twice"])
    }
  }

  @Test func inspectSaysWhatADiskIsThatIsNoPools() async throws {
    let directory = try TemporaryDirectory()
    let disk = try directory.sparseFile("full", byteCount: 64 << 20)
    let empty = try await Program.run([SpaceportServer.binary, "inspect", disk])
    #expect(!empty.succeeded && empty.errors.contains("is not a disk of a pool: it carries nothing that is known"), "\(empty.errors)")
    try await succeed("mkfs.ext4", "-q", "-F", "-L", "precious", disk)
    let full = try await Program.run([SpaceportServer.binary, "inspect", disk])
    #expect(!full.succeeded && full.errors.contains("is not a disk of a pool: it carries ext4 file system \"precious\""), "\(full.errors)")
    #expect(!full.errors.contains("Keep the disk") && !full.output.contains("error:"))
  }

  @Test func aFileThatShrinksIsNoticedByItself() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 2)
    try await succeed("truncate", "-s", "100M", disks[1])
    try await waitUntil("the shrunken file to be noticed") {
      try await server.succeed("disk", "list").contains("shrank from")
    }
    try await waitUntil("the log to say so") { server.log.contains("Disk in trouble") }
    #expect(try await server.succeed("pool", "show", "tank", "--json").contains("\"degraded\""))
    try await server.end(SIGKILL)  // no flush of that disk is believed any more: it cannot stop in order
  }

  @Test func destroyingLeavesNothingThatToolsRecognise() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 2)
      try await server.refuse(["pool", "destroy", "tank"], saying: ["--yes"])
      try await server.succeed("pool", "destroy", "tank", "--yes")
      for disk in disks {
        let probe = try await Program.run(["wipefs", disk])
        #expect(probe.output.isEmpty, "wipefs still finds: \(probe.output)")
      }
      try await server.makePool(disks: 2)
    }
  }

  @Test func aSecondServerCannotHaveTheSameDisks() async throws {
    try await SpaceportServer.run { first in
      let disks = try await first.makePool(disks: 2)
      try await SpaceportServer.run { second in
        try await second.refuse(["pool", "open"] + disks, saying: ["in use"])
      }
    }
  }

  @Test func aFullPoolRefusesWritesAndKeepsServing() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool(disks: 2, diskByteCount: 128 << 20)
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await fill(server, pattern: "0x21", range: "0 64M")
      let full = try await qemuIO(server, "write -P 0x22 64M 512M")
      #expect(!full.succeeded && (full.output + full.errors).contains("No space left"), "\(full.output)\(full.errors)")
      try await check(server, pattern: "0x21", range: "0 64M")
      #expect(try await server.succeed("status").contains("The pool tank is nearly full: "))
      try await waitUntil("the log to say that it is nearly full") { server.log.contains("The pool tank is nearly full: ") }
      // Freeing makes room again.
      let again = try await qemuIO(server, "discard 0 1G", "flush", "write -P 0x23 900M 64M", "flush", "read -P 0x23 900M 64M")
      #expect(again.succeeded, "\(again.output)\(again.errors)")
    }
  }

  @Test func aStripeThatFindsNoRoomOnUnequalDisksIsExplained() async throws {
    try await SpaceportServer.run { server in
      let disks = [128, 1024].map { ("disk\($0)", UInt64($0) << 20) }
      let paths = try disks.map { try server.directory.sparseFile($0.0, byteCount: $0.1) }
      try await server.succeed(["pool", "create", "tank"] + paths)
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      #expect(try await !server.succeed("status").contains("can take no more space"))
      let full = try await qemuIO(server, "write -P 0x22 0 512M")
      #expect(!full.succeeded && full.text.contains("No space left"), "\(full.text)")
      let status = try await server.succeed("status")
      #expect(status.contains("The virtual disk tank/disk can take no more space, though ") && status.contains("on 2 disks"), "\(status)")
      #expect(!status.contains("nearly full"), "\(status)")
      try await waitUntil("the log to say it") { server.log.contains("The virtual disk tank/disk can take no more space") }
      // One column uses what is left.
      try await server.succeed("vdisk", "create", "tank/narrow", "--size", "256MiB", "--columns", "1", "--provisioning", "fixed")
    }
  }

  @Test func virtualDisksGrowAndAreDeleted() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "100MiB", "--columns", "2", "--interleave", "64KiB")
      try await fill(server, pattern: "0x44", range: "0 100M")
      try await server.refuse(["vdisk", "resize", "tank/disk", "--size", "50MiB"], saying: ["shrink"])
      try await server.succeed("vdisk", "resize", "tank/disk", "--size", "200MiB")
      try await check(server, pattern: "0x44", range: "0 100M")
      try await check(server, pattern: "0", range: "100M 100M")
      try await server.refuse(["vdisk", "delete", "tank/disk"], saying: ["--yes"])
      try await server.succeed("vdisk", "delete", "tank/disk", "--yes")
      try await server.refuse(["vdisk", "show", "tank/disk"], saying: ["tank/disk"])
      // Another virtual disk on the same slabs shows none of the old bytes.
      try await server.succeed("vdisk", "create", "tank/next", "--size", "400MiB", "--provisioning", "fixed")
      let read = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/next"), "-c", "read -P 0 0 400M"])
      #expect(read.succeeded && !read.output.contains("Pattern verification failed"), "\(read.output)")
    }
  }

  @Test func whatIsInUseIsNotTakenAway() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "100MiB")
      let client = Process()
      client.executableURL = URL(fileURLWithPath: Program.find("qemu-io") ?? "")
      client.arguments = ["-f", "raw", server.uri("tank/disk")]
      let input = Pipe()
      client.standardInput = input
      client.standardOutput = FileHandle.nullDevice
      try client.runWithoutBlockedSignals()
      try await waitUntil("the client to be connected") {
        try await server.succeed("vdisk", "show", "tank/disk", "--json").contains("\"clientCount\" : 1")
      }
      try await server.refuse(["vdisk", "delete", "tank/disk", "--yes"], saying: ["connected", "(1 NBD connection: uid "])
      try await server.refuse(["pool", "close", "tank"], saying: ["connected"])
      try await server.refuse(["pool", "destroy", "tank", "--yes"], saying: ["connected"])
      try input.fileHandleForWriting.close()
      try await waitUntil("the client to end") { !client.isRunning }
      try await waitUntil("the server to notice") {
        try await server.succeed("vdisk", "show", "tank/disk", "--json").contains("\"clientCount\" : 0")
      }
      try await server.succeed("pool", "destroy", "tank", "--yes")
    }
  }

  @Test func theStackShowsEveryLayerWithItsFigures() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "100MiB")
      try await fill(server, pattern: "0x31", range: "0 1M")
      let stack = try await server.succeed("stack", "tank/disk")
      for layer in ["Volume", "VirtualDisk", "Resiliency", "Pool", "StorageBus", "PhysicalDisk"] {
        #expect(stack.contains(layer), "\(layer) is not in: \(stack)")
      }
      #expect(try await server.succeed("stack", "--json").contains("\"layer\" : \"PhysicalDisk\""))
    }
  }

  @Test func idleMemoryStaysUnder64MiB() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      let status = try String(contentsOfFile: "/proc/\(server.processID)/status", encoding: .utf8)
      let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
      let kibibytes = try #require(Int(line.split(whereSeparator: { !$0.isNumber }).first ?? ""))
      #expect(kibibytes < 64 << 10, "the idle server has \(kibibytes) KiB resident")
    }
  }

  // MARK: Bytes

  private func qemuIO(_ server: SpaceportServer, _ commands: String...) async throws -> ProgramResult {
    var result = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/disk")] + commands.flatMap { ["-c", $0] })
    // qemu-io says so, but ends with 0, when a pattern differs.
    if result.output.contains("Pattern verification failed") { result.status = 1 }
    return result
  }

  private func fill(_ server: SpaceportServer, pattern: String, range: String = "1M 50M") async throws {
    let result = try await qemuIO(server, "write -P \(pattern) \(range)", "flush")
    try #require(result.succeeded, "\(result.output)\(result.errors)")
  }

  private func check(_ server: SpaceportServer, pattern: String, range: String = "1M 50M") async throws {
    let result = try await qemuIO(server, "read -P \(pattern) \(range)")
    #expect(result.succeeded, "\(result.output)\(result.errors)")
  }
}

extension FileManager {
  /// Renames the files; their new paths.
  func moved(_ paths: [String], suffix: String) throws -> [String] {
    try paths.map { path in
      try moveItem(atPath: path, toPath: path + suffix)
      return path + suffix
    }
  }
}
