import Foundation
import Management
import TestSupport
import Testing

/// The built program against a real server with storage in memory.
struct CommandTests {
  /// The program lies beside the test bundle.
  private static let program: String? = {
    CommandLine.arguments.map { URL(fileURLWithPath: $0).deletingLastPathComponent().appendingPathComponent("spaceport").path }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }()

  private func run(_ server: ServerHarness?, _ arguments: String..., directory: String = "/") async throws -> ProgramResult {
    let program = try #require(Self.program, "the program is not beside the tests")
    return try await Program.run(
      [program] + arguments, environment: ["SPACEPORT_CONTROL": server?.socketPath ?? "/nonexistent/control.sock"], directory: directory)
  }

  @Test func aPoolIsCreatedUsedAndDestroyed() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      let created = try await run(server, "pool", "create", "tank", "a.img", "/b.img", "--slab-size", "64MiB", directory: "/tmp")
      #expect(created.status == 0, "\(created.errors)")
      #expect(created.output.contains("/tmp/a.img") && created.output.contains("/b.img") && created.output.contains("64 MiB"))

      let disk = try await run(server, "vdisk", "create", "tank/data", "--size", "10GiB", "--json")
      #expect(disk.status == 0)
      #expect(try JSON.decode(VirtualDiskInfo.self, from: disk.output.utf8).sizeBytes == 10 << 30)
      #expect(try await run(server, "vdisk", "resize", "tank/data", "--size", "20GiB").output.contains("20 GiB"))
      #expect(try await run(server, "vdisk", "list").output.contains("tank/data"))
      #expect(try await run(server, "pool", "list").output.contains("tank"))
      #expect(try await run(server, "disk", "list").output.contains("/tmp/a.img"))
      #expect(try await run(server, "stack", "tank/data").output.contains("└─ "))
      #expect(try await run(server, "status").output.contains("1 h 2 min"))

      let kept = try await run(server, "vdisk", "delete", "tank/data")
      #expect(kept.status == 1 && kept.output.isEmpty)
      #expect(kept.errors.hasPrefix("spaceport: Nothing was done: virtual disk tank/data of 20 GiB") && kept.errors.contains("--yes"))
      let keptPool = try await run(server, "pool", "destroy", "tank")
      #expect(keptPool.status == 1 && keptPool.errors.contains("data (20 GiB)"))

      backend.setClients(1, of: VirtualDiskPath(pool: "tank", name: "data"))
      let busy = try await run(server, "pool", "destroy", "tank", "--yes")
      #expect(busy.status == 1 && busy.errors == "spaceport: Pool tank has connected clients. Disconnect them.\n")
      #expect(try await run(server, "vdisk", "delete", "tank/data", "--yes").status == 0)
      let destroyed = try await run(server, "pool", "destroy", "tank", "--yes", "--json")
      #expect(destroyed.status == 0 && destroyed.output.contains("\"destroyed\""))
      #expect(try await run(server, "pool", "list", "--json").output == "[\n\n]\n")
    }
  }

  @Test func disksAreAddedReplacedAndRemoved() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      _ = try await backend.createPool(CreatePool(name: "tank", disks: ["/a", "/b"]))
      let added = try await run(server, "pool", "add", "tank", "c.img", "--usage", "hotspare", directory: "/tmp")
      #expect(added.status == 0 && added.output.contains("/tmp/c.img") && added.output.contains("hotspare"), "\(added.errors)")
      let replaced = try await run(server, "disk", "replace", "/a", "new.img", directory: "/tmp")
      #expect(
        replaced.output == "Job 1 of pool tank (retire of /a) is running. Watch it with: spaceport job watch tank\n", "\(replaced.errors)")
      #expect(backend.replaceRequests == [ReplaceDisk(old: DiskReference("/a"), new: "/tmp/new.img")])
      let removed = try await run(server, "pool", "remove", "tank", "/b")
      #expect(removed.status == 0 && removed.output.hasSuffix("Disk /b is removed from pool tank.\n"), "\(removed.errors)")
      #expect(removed.output.contains("tank 2 retire of /b running 0%\n") && removed.output.contains("completed 100%"))
      #expect(try await run(server, "disk", "set", "/b", "--usage", "auto").output.contains("auto"))
      #expect(try await run(server, "disk", "retire", "/nowhere").errors.contains("There is no disk /nowhere"))
    }
  }

  @Test func partitionsAreChangedOnlyWhenThatIsMeant() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      _ = try await backend.createPool(CreatePool(name: "tank", disks: ["/a"]))
      _ = try await backend.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 30))
      let list = try await run(server, "partition", "list", "tank/data")
      #expect(list.output.contains("esp") && list.output.contains("required,5") && list.output.contains("4 GiB"), "\(list.text)")
      #expect(try await run(server, "partition", "verify", "tank/data").status == 0)
      // What would be lost says the server, which knows what is meant.
      let kept = try await run(server, "partition", "delete", "tank/data", "esp", "7")
      #expect(kept.status == 1 && kept.errors.contains("would be lost. Repeat the command with --yes"), "\(kept.errors)")
      let table = try await backend.partitionTable(of: VirtualDiskPath(pool: "tank", name: "data"))
      var written = table
      written.isBeingWritten = true
      backend.setPartitionTable(written)
      let unsure = try await run(server, "partition", "verify", "tank/data")
      #expect(unsure.status == 1 && unsure.errors.contains("is writing its partition table. Try again") && unsure.output.isEmpty)
      backend.setPartitionTable(nil)
      #expect(try await run(server, "partition", "delete", "tank/data", "esp", "--yes").status == 0)
      let plan = try await run(server, "partition", "repair", "tank/data")
      #expect(plan.status == 1 && plan.errors.contains("would write the primary GPT; write the MBR. Repeat the command with --yes"))
      let dry = try await run(server, "partition", "repair", "tank/data", "--dry-run")
      #expect(dry.status == 0 && dry.output.hasSuffix("would:\n  write the primary GPT\n  write the MBR\n"))
      #expect(try await run(server, "partition", "repair", "tank/data", "--yes").output.contains("is repaired"))
      #expect(
        backend.partitionRequests == [
          .delete(DeletePartitions(partitions: ["esp", "7"])), .delete(DeletePartitions(partitions: ["esp"], acceptLoss: true)),
          .repair(RepairPartitionTable()), .repair(RepairPartitionTable()),
          .repair(RepairPartitionTable(apply: true)),
        ])
    }
  }

  @Test func jobsAreWatchedToTheirEnd() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      _ = try await backend.createPool(CreatePool(name: "tank", disks: ["/a"]))
      #expect(try await run(server, "job", "watch").output == "No job is under way.\n")
      #expect(try await run(server, "pool", "scrub", "tank").output.contains("(scrub) is running"))
      let watched = try await run(server, "job", "watch", "tank")
      #expect(watched.status == 0 && watched.output.contains("tank 1 scrub running 50%\n"), "\(watched.output)\(watched.errors)")
      #expect(watched.output.hasSuffix("tank 1 scrub completed 100%\n"))
      #expect(try await run(server, "pool", "optimize", "tank", "--json").output.contains("\"optimize\""))
      #expect(try await run(server, "job", "cancel", "tank", "2").output == "Job 2 of pool tank is cancelled.\n")
      #expect(try await run(server, "job", "list").output.contains("cancelled"))
    }
  }

  @Test func aPoolThatWaitsIsListedButNotOpened() async throws {
    let backend = FakeBackend()
    backend.setPool(Samples.pool("cold", disks: ["/a"], state: .starting).with { $0.nextStep = "Bring back /b" })
    try await ServerHarness.run(backend) { (server) async throws in
      let list = try await run(server, "pool", "list")
      #expect(list.status == 0 && list.output.contains("starting"))
      let virtualDisks = try await run(server, "vdisk", "list")
      #expect(virtualDisks.status == 0 && virtualDisks.output == "No virtual disks are served.\ncold: Bring back /b\n")
      let open = try await run(server, "pool", "open", "x", directory: "/tmp")
      #expect(open.status == 1 && open.errors == "spaceport: Not open yet: cold. Bring back /b.\n")
      #expect(backend.openRequests == [OpenPools(disks: ["/tmp/x"])])
      #expect(try await run(server, "pool", "open", "--scan", ".", directory: "/tmp").status == 1)
      #expect(backend.openRequests.last == OpenPools(disks: [], scanDirectory: "/tmp"))
    }
  }

  @Test func everyListHasJSON() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      _ = try await backend.createPool(CreatePool(name: "tank", disks: ["/a"]))
      _ = try await backend.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1))
      let lines = [
        ["status"], ["disk", "list"], ["pool", "list"], ["pool", "show", "tank"], ["vdisk", "list"], ["vdisk", "show", "tank/data"],
        ["stack"], ["stack", "tank/data"], ["pool", "open", "/a"], ["job", "list"], ["job", "watch"], ["event", "list"],
        ["event", "list", "tank"], ["disk", "retire", "/a"], ["pool", "scrub", "tank"], ["pool", "close", "tank"],
      ]
      for line in lines {
        let words = line + ["--json"]
        let outcome = try await run(
          server, words[0], words[1], words.count > 2 ? words[2] : "--json", words.count > 3 ? words[3] : "--json")
        #expect(outcome.status == 0, "\(line): \(outcome.errors)")
        #expect(throws: Never.self, "\(line)") { try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) }
      }
    }
  }

  @Test func failuresGoToStandardErrorWithAStatus() async throws {
    let unreachable = try await run(nil, "pool", "list")
    #expect(unreachable.status == 1 && unreachable.output.isEmpty)
    #expect(unreachable.errors.hasPrefix("spaceport: No server answers at the control socket /nonexistent/control.sock. Start one"))
    let misspelled = try await run(nil, "vdisk", "create", "tank/x", "--size", "1G")
    #expect(misspelled.status == 64 && misspelled.output.isEmpty)
    #expect(misspelled.errors.hasPrefix("spaceport: ") && misspelled.errors.contains("TiB"))
    let chosen = try await run(nil, "pool", "list", "--control", "/elsewhere")
    #expect(chosen.errors.contains("/elsewhere"))
    let early = try await run(nil, "--control", "/elsewhere", "pool", "list")
    #expect(early.status == 1 && early.errors.contains("/elsewhere"))
    let unknown = try await run(nil, "vdisks", "list")
    #expect(unknown.status == 64 && unknown.errors.hasPrefix("spaceport: There is no command 'vdisks'; there are: serve, "))
    let version = try await run(nil, "--version")
    #expect(version.status == 0 && version.output == "spaceport \(spaceportVersion)\n")
  }
}
