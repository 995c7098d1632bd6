import Foundation
import TestSupport
import Testing

/// Volumes of the real server, as far as that can be seen where the kernel has no NBD client. Tests/Kernel has the rest.
@Suite(.serialized) struct VolumeTests {
  private struct Volume: Decodable {
    struct Content: Decodable {
      var type: String
      var label: String?
      var uuid: String?
      var usedBytes: UInt64?
      var freeBytes: UInt64?
    }
    struct Export: Decodable {
      var name: String
      var clientCount: Int
      var clientProcesses: [Int]
    }
    var export: Export
    var content: Content?
    var problem: String?
  }

  private func volumes(of server: SpaceportServer) async throws -> [Volume] {
    let text = try await server.succeed("volume", "list", "tank", "--json")
    return try JSONDecoder().decode([Volume].self, from: Data(text.utf8))
  }

  /// Makes a file system in a file and copies it to an export, as one that a guest has made.
  private func fill(_ export: String, of server: SpaceportServer, mebibytes: Int, _ command: String...) async throws {
    let image = try server.directory.sparseFile("image-\(UUID())", byteCount: UInt64(mebibytes) << 20)
    try await Program.succeed(command + [image])
    try await succeed("nbdcopy", "--flush", image, server.uri(export))
  }

  @Test func listShowsWhatOthersHaveMade() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await server.succeed("vdisk", "create", "tank/plain", "--size", "64MiB")
      try await server.succeed("vdisk", "create", "tank/empty", "--size", "64MiB")
      try await server.succeed("vdisk", "create", "tank/broken", "--size", "64MiB")
      try await server.succeed("partition", "init", "tank/disk")
      for size in ["64MiB", "320MiB", "128MiB", "32MiB"] { try await server.succeed("partition", "create", "tank/disk", "--size", size) }
      try await fill("tank/disk/1", of: server, mebibytes: 64, "mkfs.ext4", "-q", "-L", "first")
      try await fill("tank/disk/2", of: server, mebibytes: 320, "mkfs.xfs", "-q", "-L", "second")
      try await fill("tank/disk/3", of: server, mebibytes: 128, "mkfs.btrfs", "-q", "-L", "third")
      try await fill("tank/plain", of: server, mebibytes: 64, "mkfs.ext4", "-q", "-U", "11111111-2222-3333-4444-555555555555")
      // Garbage, and a table of which no copy is good.
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk/4"), "-c", "write -P 0x53 0 4M")
      try await server.succeed("partition", "init", "tank/broken")
      try await succeed(
        "qemu-io", "-f", "raw", server.uri("tank/broken"), "-c", "write -P 1 560 8", "-c", "write -P 1 67108400 8", "-c", "flush")
      let volumes = try await volumes(of: server)
      #expect(
        volumes.map(\.export.name) == [
          "tank/broken", "tank/disk/1", "tank/disk/2", "tank/disk/3", "tank/disk/4", "tank/empty", "tank/plain",
        ])
      let contents = volumes.map(\.content)
      #expect(contents.map(\.?.type) == [nil, "ext4", "xfs", "btrfs", nil, nil, "ext4"])
      #expect(contents.map(\.?.label) == [nil, "first", "second", "third", nil, nil, nil])
      #expect(contents[6]?.uuid == "11111111-2222-3333-4444-555555555555")
      #expect(volumes[0].problem?.contains("partition verify tank/broken") == true && volumes.dropFirst().allSatisfy { $0.problem == nil })
      for (content, size) in [(contents[1], UInt64(64)), (contents[2], 320), (contents[3], 128)] {
        #expect((content?.usedBytes ?? 0) + (content?.freeBytes ?? 0) == size << 20)
      }
      let table = try await server.succeed("volume", "list")
      #expect(table.contains("tank/disk/2") && table.contains("second") && table.contains("NAME"))
    }
  }

  /// An image was copied to the whole disk, and the backup of the older table survives behind its end.
  @Test func aLeftOverTableIsNotServedOverAFileSystem() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "128MiB")
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/1")) == "\(128 << 20)\n")
      try await fill("tank/disk", of: server, mebibytes: 64, "mkfs.ext4", "-q", "-L", "holiday")
      #expect(try await server.table("tank/disk").partitions.flatMap(\.exports) == [])
      #expect(try await Program.run(["nbdinfo", "--size", server.uri("tank/disk/1")]).succeeded == false)
      let volumes = try await volumes(of: server)
      #expect(volumes.map(\.export.name) == ["tank/disk"] && volumes.first?.content?.label == "holiday")
      try await server.refuse(["partition", "repair", "tank/disk", "--yes"], saying: ["Only the backup GPT", "--from backup"])
      for words in [["--yes"], ["--dry-run"]] {
        try await server.refuse(
          ["partition", "repair", "tank/disk", "--from", "backup"] + words, saying: ["holds ext4 \"holiday\" as a whole", "--force"])
      }
      let image = server.directory.file("after")
      try await succeed("nbdcopy", server.uri("tank/disk"), image)
      #expect(try await succeed("blkid", "-p", image).contains("holiday"), "nothing was written")
      try await server.succeed("partition", "repair", "tank/disk", "--from", "backup", "--yes", "--force")
      try await server.succeed("partition", "verify", "tank/disk")
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/1")) == "\(128 << 20)\n")
    }
  }

  @Test func noMorePartitionsAreLookedAtThanAreWorthIt() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB")
      let image = try server.directory.sparseFile("many", byteCount: 256 << 20)
      try await Program.succeed(["sgdisk", "-o", image])
      try await Program.succeed(["sgdisk", "-S", "256"] + (1...130).flatMap { ["-n", "\($0):0:+1M"] } + [image])
      try await succeed("nbdcopy", "--flush", image, server.uri("tank/disk"))
      let volumes = try await volumes(of: server)
      #expect(volumes.count == 130 && volumes.prefix(128).allSatisfy { $0.problem == nil })
      #expect(volumes.suffix(2).allSatisfy { $0.problem?.contains("only the first 128 partitions") == true })
    }
  }

  @Test func aGrownDiskWithoutATableNeedsNoneRepaired() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await fill("tank/disk", of: server, mebibytes: 64, "mkfs.fat", "-n", "HOLIDAY")
      #expect(try await server.succeed("partition", "verify", "tank/disk") == "tank/disk has no partition table.\n")
      let grown = try await server.succeed("vdisk", "resize", "tank/disk", "--size", "128MiB")
      #expect(grown.contains("grow its file system") && !grown.contains("partition verify"), "\(grown)")
      try await server.refuse(["partition", "init", "tank/disk"], saying: ["boot sector of a file system", "--yes"])
    }
  }

  @Test func listKnowsTheProcessesOfClients() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      let client = Process()
      client.executableURL = URL(fileURLWithPath: try #require(Program.find("qemu-io")))
      client.arguments = ["-f", "raw", server.uri("tank/disk")]
      let input = Pipe()
      client.standardInput = input
      client.standardOutput = FileHandle.nullDevice
      try client.runWithoutBlockedSignals()
      defer { client.terminate() }
      try await waitUntil("the client to be known") { try await volumes(of: server).first?.export.clientCount == 1 }
      #expect(try await volumes(of: server).first?.export.clientProcesses == [Int(client.processIdentifier)])
      try input.fileHandleForWriting.close()
      try await waitUntil("the client to be gone") { try await volumes(of: server).first?.export.clientCount == 0 }
    }
  }

  /// Without the kernel's part nothing is left of a volume that was begun.
  @Test(
    .enabled(if: !FileManager.default.fileExists(atPath: "/sys/block/nbd0"), "this kernel has nbd loaded"), arguments: ["ext4", "btrfs"])
  func aStepThatFailsIsUndone(fileSystem: String) async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      let isRoot = geteuid() == 0
      try await server.refuse(
        ["volume", "create", "tank/data", "--size", "256MiB", "--fs", fileSystem],
        saying: ["Virtual disk tank/data is deleted again."] + (isRoot ? ["modprobe nbd"] : ["as root"]))
      #expect(try await server.succeed("vdisk", "list", "--json").contains("data") == false)
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await server.refuse(["volume", "attach", "tank/disk"], saying: isRoot ? ["modprobe nbd", "tank/disk"] : ["as root"])
      try await server.refuse(["volume", "attach", "tank/disk/1"], saying: ["There is no volume tank/disk/1", "volume list tank"])
      // The sessions that were made for the kernel are closed again.
      try await waitUntil("the sessions to end") { try await volumes(of: server).first?.export.clientCount == 0 }
    }
  }

  /// Two that write to one file system destroy it.
  @Test(.enabled(if: geteuid() == 0, "attaching is root's"), arguments: ["tank/disk", "tank/disk/1"])
  func whatAnotherProgramHasOpenIsNotAttached(held: String) async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "100%")
      try await Self.holding(held, of: server) { process in
        for other in ["tank/disk", "tank/disk/1"] {
          try await server.refuse(["volume", "attach", other], saying: [held, "process \(process)", "--shared"])
        }
        try await server.refuse(["volume", "resize", "tank/disk", "--size", "128MiB"], saying: [held, "process \(process)", "--shared"])
        #expect(try await server.succeed("vdisk", "list", "--json").contains("\(64 << 20)"), "it has not grown")
        #expect(try await server.succeed("volume", "resize", "tank/disk", "--size", "128MiB", "--shared").contains("Partition 1 has"))
      }
    }
  }

  /// Runs `body` with the export open in a process, of which it is told the number.
  private static func holding(_ export: String, of server: SpaceportServer, _ body: (Int32) async throws -> Void) async throws {
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: try #require(Program.find("qemu-io")))
    holder.arguments = ["-f", "raw", server.uri(export)]
    let input = Pipe()
    holder.standardInput = input
    holder.standardOutput = FileHandle.nullDevice
    try holder.runWithoutBlockedSignals()
    defer { holder.terminate() }
    func isOpen() async throws -> Bool {
      let text = try await server.succeed("volume", "list", "tank", "--json")
      return text.contains("\(holder.processIdentifier)")
    }
    try await waitUntil("the client to be known") { try await isOpen() }
    try await body(holder.processIdentifier)
    try input.fileHandleForWriting.close()
    try await waitUntil("the client to be gone") { try await !isOpen() }
  }

  /// At boot the server and what attaches its volumes are started side by side.
  @Test func attachingWaitsForTheServer() async throws {
    let server = try SpaceportServer()
    try await server.refuse(["volume", "attach", "tank/disk", "--wait", "1"], saying: ["Waited 1 s in vain for tank/disk."])
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    try await server.stop()
    let begun = Process()
    begun.executableURL = URL(fileURLWithPath: SpaceportServer.binary)
    begun.arguments = ["volume", "attach", "tank/disk", "--wait", "60", "--control", server.controlSocket]
    let errors = Pipe()
    begun.standardError = errors
    begun.standardOutput = FileHandle.nullDevice
    try begun.runWithoutBlockedSignals()
    defer { begun.terminate() }
    // As long as there is no server it does not end.
    try await server.refuse(["volume", "attach", "tank/disk", "--wait", "1"], saying: ["Waited 1 s"])
    #expect(begun.isRunning)
    try await server.start()
    try await waitUntil("the command to end") { begun.hasEnded }
    // It has found the server and the disk; what comes then is root's, and the kernel's.
    let said = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
    #expect(!said.contains("in vain"))
    #expect(begun.terminationStatus == 0 || said.contains("modprobe nbd") || said.contains("as root"), "\(said)")
    if begun.terminationStatus == 0 { try await server.succeed("volume", "detach", "tank/disk") }
    try await server.refuse(["volume", "attach", "tank/none", "--wait", "1"], saying: ["Waited 1 s in vain for tank/none."])
    try await server.stop()
  }

  @Test func deletingSaysWhatWouldBeLostAndDoesIt() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await server.refuse(["volume", "delete", "tank/disk"], saying: ["Nothing was done", "--yes"])
      let holder = Process()
      holder.executableURL = URL(fileURLWithPath: try #require(Program.find("qemu-io")))
      holder.arguments = ["-f", "raw", server.uri("tank/disk")]
      let input = Pipe()
      holder.standardInput = input
      holder.standardOutput = FileHandle.nullDevice
      try holder.runWithoutBlockedSignals()
      defer { holder.terminate() }
      try await waitUntil("the client to be known") { try await volumes(of: server).first?.export.clientCount == 1 }
      try await server.refuse(["volume", "delete", "tank/disk", "--yes"], saying: ["process \(holder.processIdentifier)"])
      try input.fileHandleForWriting.close()
      try await waitUntil("the client to be gone") { try await volumes(of: server).first?.export.clientCount == 0 }
      #expect(try await server.succeed("volume", "delete", "tank/disk", "--yes").contains("is deleted"))
      #expect(try await volumes(of: server).isEmpty)
    }
  }

  @Test func resizingGrowsWhatIsThere() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "100%")
      try await fill("tank/disk/1", of: server, mebibytes: 32, "mkfs.ext4", "-q")
      try await server.refuse(["volume", "resize", "tank/disk", "--size", "32MiB"], saying: ["do not shrink"])
      let grown = try await server.succeed("volume", "resize", "tank/disk", "--size", "128MiB")
      for words in ["Virtual disk tank/disk has 128 MiB", "Partition 1 has", "attach and mount it"] {
        #expect(grown.contains(words), "\(grown)")
      }
      let size = UInt64(try await succeed("nbdinfo", "--size", server.uri("tank/disk/1")).prefix { $0.isNumber }) ?? 0
      #expect(size > 120 << 20)
      #expect(try await server.succeed("volume", "resize", "tank/disk", "--size", "128MiB").contains("Partition 1") == false)
    }
  }

  /// A partition that is open grows in place: its client reaches the new end through the connection it has.
  @Test func anOpenPartitionGrowsUnderItsClient() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "16MiB")
      let script = """
        import sys
        h.set_strict_mode(0)
        h.connect_uri("\(server.uri("tank/disk/1"))")
        def reaches(offset):
            try:
                h.pwrite(b"x" * 512, offset)
                return True
            except nbd.Error:
                return False
        assert reaches((16 << 20) - 512) and not reaches(16 << 20)
        import subprocess
        subprocess.run(\(["\(SpaceportServer.binary)", "partition", "resize", "tank/disk", "1", "--size", "32MiB", "--control", server.controlSocket]), check=True)
        assert reaches(16 << 20) and reaches((32 << 20) - 512) and not reaches(32 << 20)
        h.shutdown()
        """
      // nbdsh itself takes the first python3 of the PATH, which need not be the one that has its module.
      try await succeed("/usr/bin/python3", "-m", "nbd", "-c", script)
    }
  }

  /// Nobody but the server starts it, and it judges what it is given.
  @Test func theProbingProcessRefusesWhatItIsNotMadeFor() async throws {
    for arguments in [["probe-content"], ["probe-content", "x"], ["probe-content", "512", "1"], ["probe-content", "512"]] {
      let result = try await Program.run([SpaceportServer.binary] + arguments)
      #expect(result.status != 0 && result.output.isEmpty)
    }
  }
}
