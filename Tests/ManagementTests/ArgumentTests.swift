import ArgumentParser
import Management
import NBDServer
import Service
import Testing

@testable import spaceport

/// Every spelling of the command line that others rely on.
struct ArgumentTests {
  private func parse<Command: ParsableCommand>(_ line: String, as type: Command.Type) throws -> Command {
    try #require(try Spaceport.parseAsRoot(line.split(separator: " ").map(String.init)) as? Command)
  }

  @Test func serve() throws {
    let command = try parse(
      "serve --state-dir /s --control /c.sock --listen unix:/n.sock --listen tcp:[::1]:10809 --log-level debug", as: ServeCommand.self)
    let configuration = try command.resolve(DefaultPaths(userID: 0, environment: [:]))
    #expect(
      configuration
        == ServeConfiguration(
          stateDirectory: "/s", controlSocket: "/c.sock", listeners: [.unix(path: "/n.sock"), .tcp(host: "::1", port: 10809)],
          logLevel: .debug))
  }

  @Test func serveHasDefaults() throws {
    let configuration = try parse("serve", as: ServeCommand.self).resolve(DefaultPaths(userID: 0, environment: [:]))
    #expect(
      configuration
        == ServeConfiguration(
          stateDirectory: "/var/lib/spaceport", controlSocket: "/run/spaceport/control.sock",
          listeners: [.unix(path: "/run/spaceport/nbd.sock")], logLevel: .info))
  }

  private func configuration(_ line: String) throws -> ServeConfiguration {
    try parse("serve --state-dir /s " + line, as: ServeCommand.self).resolve(DefaultPaths(userID: 0, environment: [:]))
  }

  @Test func serveWithTLS() throws {
    #expect(try configuration("").tls == nil)
    #expect(try configuration("--tls off").tls == nil)
    #expect(try configuration("--tls-psk /k").tls == TLSConfiguration(isRequired: true, pskFile: "/k"))
    #expect(
      try configuration("--tls offer --tls-certificates /t --tls-verify-peer --tls-psk /k").tls
        == TLSConfiguration(isRequired: false, certificateDirectory: "/t", pskFile: "/k", verifiesPeer: true))
    #expect(try configuration("--tls-certificates t").tls?.certificateDirectory?.hasSuffix("/t") == true)
    for wrong in ["--tls require", "--tls offer", "--tls off --tls-psk /k", "--tls-verify-peer --tls-psk /k", "--tls maybe"] {
      #expect(throws: (any Error).self) { try configuration(wrong) }
    }
  }

  @Test func serveForOneClient() throws {
    let inetd = try configuration("--inetd")
    #expect(inetd.clientDescriptor == 0 && inetd.listeners.isEmpty && inetd.controlSocket == nil)
    #expect(try configuration("--inetd --fd 5 --control /c").clientDescriptor == 5)
    #expect(try configuration("--inetd --control /c").controlSocket == "/c")
    let thrown = try parse("serve --throw-away 64MiB", as: ServeCommand.self).resolve(DefaultPaths(userID: 0, environment: [:]))
    #expect(thrown.throwAwayByteCount == 64 << 20 && thrown.listeners.isEmpty && thrown.controlSocket == nil)
    for wrong in ["--throw-away 64MiB", "--fd 5", "--inetd --fd -1"] {
      #expect(throws: (any Error).self) { try configuration(wrong) }
    }
    #expect(throws: (any Error).self) { try parse("serve --throw-away 1", as: ServeCommand.self) }
    #expect(try configuration("--control-group disk").controlGroup == "disk")
    #expect(try configuration("--listen-group disk").listenGroup == "disk")
  }

  /// A server that nobody can reach is told of at once, and so is an option that would do nothing.
  @Test func serveWithoutASocketForItIsRefused() throws {
    func refusal(_ line: String, inherited: Int = 0) throws -> String? {
      let configuration = try parse("serve " + line, as: ServeCommand.self).resolve(DefaultPaths(userID: 0, environment: [:]))
      do { try configuration.checkSockets(inheritedCount: inherited) } catch { return error.description }
      return nil
    }
    #expect(try refusal("--throw-away 64MiB")?.contains("--listen ADDRESS or --inetd") == true)
    #expect(try refusal("--throw-away 64MiB --control /c")?.contains("--listen ADDRESS or --inetd") == true)
    #expect(try refusal("--throw-away 64MiB", inherited: 1) == nil)
    #expect(try refusal("--throw-away 64MiB --inetd") == nil)
    #expect(try refusal("--throw-away 64MiB --listen unix:/n --listen-group 7") == nil)
    #expect(try refusal("--inetd --control-group 7")?.contains("--control SOCKET") == true)
    #expect(try refusal("--inetd --control /c --control-group 7") == nil)
    #expect(try refusal("--control-group 7 --listen-group 7") == nil)
    #expect(try refusal("--listen tcp:[::1]:0 --listen-group 7")?.contains("--listen unix:PATH") == true)
  }

  @Test func exports() throws {
    #expect(try parse("export list --json", as: ExportListCommand.self).client.json)
    #expect(try parse("export show tank/data/1", as: ExportShowCommand.self).path.partition == "1")
    #expect(try parse("export reset tank/data", as: ExportResetCommand.self).path.partition == nil)
    let full = try parse(
      "export set tank/data/boot --read-only yes --allow-user root --allow-user 1000 --allow-peer ::ffff:10.0.0.0/104 --allow-certificate a "
        + "--allow-psk-user b", as: ExportSetCommand.self)
    let path = ExportPath(disk: VirtualDiskPath(pool: "tank", name: "data"), partition: "boot")
    #expect(
      full.request
        == SetExportAccess(
          export: path, readOnly: true, allowUsers: [0, 1000], allowPeers: ["10.0.0.0/8"], allowCertificates: ["a"], allowPSKUsers: ["b"]))
    let clearing = try parse("export set tank/data --clear users --clear psk-users", as: ExportSetCommand.self)
    #expect(
      clearing.request
        == SetExportAccess(
          export: ExportPath(disk: VirtualDiskPath(pool: "tank", name: "data")), allowUsers: [], allowPSKUsers: []))
    for wrong in [
      "", "--read-only maybe", "--allow-user no-such-user-here", "--allow-user -1", "--allow-user 4294967295", "--allow-peer 10.0.0.1/8",
      "--allow-peer host", "--clear everything", "--clear users --allow-user root",
    ] { #expect(throws: (any Error).self) { try parse("export set tank/data " + wrong, as: ExportSetCommand.self) } }
  }

  @Test func serveMakesPathsAbsolute() throws {
    let configuration = try parse("serve --state-dir s --control c --listen unix:n", as: ServeCommand.self)
      .resolve(DefaultPaths(userID: 0, environment: [:]))
    #expect(configuration.stateDirectory.hasPrefix("/") && configuration.stateDirectory.hasSuffix("/s"))
    #expect(configuration.controlSocket?.hasPrefix("/") == true && configuration.controlSocket?.hasSuffix("/c") == true)
    guard case .unix(let path) = configuration.listeners.first else {
      Issue.record("no Unix listener")
      return
    }
    #expect(path.hasPrefix("/") && path.hasSuffix("/n"))
  }

  @Test func diskListAndStatus() throws {
    #expect(try parse("disk list --json", as: DiskListCommand.self).client.json)
    #expect(try parse("status --control /c", as: StatusCommand.self).client.control == "/c")
  }

  @Test func poolCreate() throws {
    let plain = try parse("pool create tank /a /b", as: PoolCreateCommand.self)
    #expect(plain.name == "tank" && plain.disks == ["/a", "/b"] && plain.slabSize == nil && !plain.force)
    let full = try parse("pool create tank /a b --slab-size 64MiB --force --json --control /c", as: PoolCreateCommand.self)
    #expect(full.slabSize?.byteCount == 64 << 20 && full.force && full.client.json && full.client.control == "/c")
    #expect(full.disks == ["/a", "b"])
  }

  @Test func poolOthers() throws {
    #expect(try !parse("pool list", as: PoolListCommand.self).client.json)
    #expect(try parse("pool show tank", as: PoolShowCommand.self).name == "tank")
    #expect(try parse("pool close tank", as: PoolCloseCommand.self).name == "tank")
    #expect(try parse("pool destroy tank --yes", as: PoolDestroyCommand.self).yes)
    #expect(try !parse("pool destroy tank", as: PoolDestroyCommand.self).yes)
    #expect(try parse("pool open /a /b", as: PoolOpenCommand.self).disks == ["/a", "/b"])
    #expect(try parse("pool open --scan /d", as: PoolOpenCommand.self).scan == "/d")
  }

  @Test func virtualDiskCreate() throws {
    let plain = try parse("vdisk create tank/data --size 10GiB", as: VirtualDiskCreateCommand.self)
    #expect(plain.plan.path == VirtualDiskPath(pool: "tank", name: "data") && plain.plan.size.byteCount == 10 << 30)
    #expect(plain.plan.provisioning == .thin && plain.plan.resiliency == .simple)
    #expect(plain.plan.columns == nil && plain.plan.interleave == nil && plain.plan.sectorSize == nil)
    let full = try parse(
      "vdisk create tank/data --size 4096 --provisioning fixed --resiliency simple --columns 3 --interleave 64KiB --sector-size 4096",
      as: VirtualDiskCreateCommand.self)
    #expect(
      full.plan.provisioning == .fixed && full.plan.columns == 3 && full.plan.interleave?.byteCount == 65536 && full.plan.sectorSize == 4096
    )
  }

  @Test func virtualDiskOthers() throws {
    #expect(try parse("vdisk list --json", as: VirtualDiskListCommand.self).client.json)
    #expect(try parse("vdisk show tank/data", as: VirtualDiskShowCommand.self).path.name == "data")
    #expect(try parse("vdisk resize tank/data --size 2TiB", as: VirtualDiskResizeCommand.self).size.byteCount == 2 << 40)
    #expect(try parse("vdisk delete tank/data --yes", as: VirtualDiskDeleteCommand.self).deletion.yes)
  }

  @Test func mirrors() throws {
    let command = try parse("vdisk create tank/m --size 1GiB --resiliency mirror --copies 3 --columns 2", as: VirtualDiskCreateCommand.self)
    #expect(command.plan.resiliency.value == .mirror && command.plan.copies == 3 && command.plan.columns == 2)
    #expect(try parse("vdisk create tank/m --size 1GiB --resiliency mirror", as: VirtualDiskCreateCommand.self).plan.copies == nil)
  }

  @Test func disksOfAPool() throws {
    let add = try parse("pool add tank /a /b --usage hotspare --force", as: PoolAddCommand.self)
    #expect(add.name == "tank" && add.disks == ["/a", "/b"] && add.usage == .hotspare && add.force)
    #expect(try parse("pool remove tank 3", as: PoolRemoveCommand.self).disk == "3")
    #expect(try parse("pool optimize tank", as: PoolOptimizeCommand.self).name == "tank")
    #expect(try parse("pool scrub tank", as: PoolScrubCommand.self).name == "tank")
    let open = try parse("pool open /a /b --accept-loss 3 /c", as: PoolOpenCommand.self)
    #expect(open.disks == ["/a", "/b"] && open.acceptLoss == ["3", "/c"])
    let replace = try parse("disk replace --pool tank 2 /new --force", as: DiskReplaceCommand.self)
    #expect(try replace.disk.reference() == DiskReference("2", pool: "tank") && replace.new == "/new" && replace.force)
    #expect(try parse("disk retire /a", as: DiskRetireCommand.self).disk.reference() == DiskReference("/a"))
    let uuid = "0F0E0d0c-0b0a-4908-8706-050403020100"
    #expect(try parse("disk set \(uuid) --usage auto", as: DiskSetCommand.self).disk.reference() == DiskReference(uuid))
    // Without a pool a number is a file's name.
    #expect(try DiskArgument.reference("2", pool: nil).disk.hasSuffix("/2"))
  }

  @Test func partitions() throws {
    let path = VirtualDiskPath(pool: "tank", name: "data")
    let initialize = try parse("partition init tank/data --yes --force --json", as: PartitionInitCommand.self)
    #expect(initialize.table.path == path && initialize.yes && initialize.force && initialize.table.client.json)
    #expect(try parse("partition list tank/data", as: PartitionListCommand.self).table.path == path)
    let plain = try parse("partition create tank/data --size 10GiB", as: PartitionCreateCommand.self)
    #expect(plain.size == PartitionSize(bytes: 10 << 30) && plain.type == nil && plain.attributes == [] && plain.number == nil)
    let full = try parse(
      "partition create tank/data --largest-free --type efi --label esp --attribute hidden --attribute 5 --number 3 --alignment 4KiB",
      as: PartitionCreateCommand.self)
    #expect(full.size == nil && full.type == "efi" && full.label == "esp" && full.attributes == ["hidden", "5"] && full.number == 3)
    #expect(full.alignment?.byteCount == 4096)
    let delete = try parse("partition delete tank/data 1 esp --yes --force", as: PartitionDeleteCommand.self)
    #expect(delete.partitions == ["1", "esp"] && delete.yes && delete.force)
    let resize = try parse("partition resize tank/data esp --size 50%FREE", as: PartitionResizeCommand.self)
    #expect(resize.partition == "esp" && resize.size == PartitionSize(percentOfFree: 50) && !resize.yes)
    #expect(try parse("partition resize tank/data 1", as: PartitionResizeCommand.self).size == nil)
    let set = try parse("partition set tank/data 1 --label x --clear hidden --attribute 60", as: PartitionSetCommand.self)
    #expect(set.label == "x" && set.cleared == ["hidden"] && set.attributes == ["60"] && set.type == nil)
    #expect(try parse("partition verify tank/data", as: PartitionVerifyCommand.self).table.path == path)
    let repair = try parse("partition repair tank/data --from backup --dry-run", as: PartitionRepairCommand.self)
    #expect(repair.from == .backup && repair.dryRun && !repair.yes)
  }

  @Test(arguments: [
    ("100%", PartitionSize(percentOfDisk: 100)), ("1%", PartitionSize(percentOfDisk: 1)), ("50%free", PartitionSize(percentOfFree: 50)),
    ("3MiB", PartitionSize(bytes: 3 << 20)),
  ])
  func partitionSizes(text: String, size: PartitionSize) throws {
    #expect(try PartitionSize(parsing: text) == size)
  }

  @Test(arguments: ["0%", "101%", "-1%", "%", "1.5%", "50%DISK", "%FREE", "1000%", "50 %", "ten"])
  func noPartitionSizes(text: String) {
    #expect(throws: APIError.self) { try PartitionSize(parsing: text) }
  }

  @Test func jobsAndEvents() throws {
    #expect(try parse("job list tank --json", as: JobListCommand.self).pool == "tank")
    #expect(try parse("job watch", as: JobWatchCommand.self).pool == nil)
    #expect(try parse("job cancel tank 7", as: JobCancelCommand.self).number == 7)
    #expect(try parse("event list", as: EventListCommand.self).pool == nil)
  }

  @Test func serveIsTuned() throws {
    let configuration = try parse("serve --disk-wait 2 --repair-delay 5 --job-share 50", as: ServeCommand.self)
      .resolve(DefaultPaths(userID: 0, environment: [:]))
    #expect(
      configuration.tuning == ServiceTuning(diskWaitMilliseconds: 2000, repairDelayMilliseconds: 5000, jobSharePercent: 50))
  }

  @Test func stackAndInspect() throws {
    #expect(try parse("stack", as: StackCommand.self).path == nil)
    #expect(try parse("stack tank/data --json", as: StackCommand.self).path == VirtualDiskPath(pool: "tank", name: "data"))
    #expect(try parse("inspect /dev/sdb --json", as: InspectCommand.self).disk == "/dev/sdb")
    #expect(try !parse("inspect /dev/sdb", as: InspectCommand.self).records)
    #expect(try parse("inspect --records /dev/sdb", as: InspectCommand.self).records)
  }

  private func arranged(_ line: String) throws -> String {
    try CommandWords.arranged(line.split(separator: " ").map(String.init), of: Spaceport.self).joined(separator: " ")
  }

  @Test(arguments: [
    ("--control /c status", "status --control /c"), ("--control=/c --json pool list", "pool list --control=/c --json"),
    ("pool --json show tank", "pool show --json tank"), ("--json pool create tank -- -a", "pool create --json tank -- -a"),
    ("pool --help", "pool --help"), ("help pool", "help pool"), ("--version", "--version"), ("status --control /c", "status --control /c"),
    ("stack tank/data", "stack tank/data"), ("pool", "pool"), ("--control", "--control"), ("", ""),
    ("--control /c pool", "pool --control /c"),
  ])
  func optionsMayStandBeforeTheCommand(line: String, arranged: String) throws {
    #expect(try self.arranged(line) == arranged)
  }

  @Test(arguments: [
    (
      "vdisks list",
      "There is no command 'vdisks'; there are: serve, status, disk, pool, vdisk, partition, volume, export, job, event, stack, inspect, cache."
    ),
    ("--control /c vdisk lst", "There is no command 'vdisk lst'; there are: vdisk create, vdisk list, "),
  ])
  func anUnknownCommandIsToldWhichThereAre(line: String, text: String) {
    do {
      Issue.record("\(line) was taken for \(try arranged(line))")
    } catch {
      #expect(Spaceport.usageText(for: error).hasPrefix("spaceport: \(text)"), "\(Spaceport.usageText(for: error))")
      #expect(Spaceport.exitCode(for: error) == .validationFailure)
    }
  }

  @Test(arguments: [
    "pool open", "pool open /a --scan /d", "pool create tank", "vdisk create tank --size 1GiB", "vdisk create tank/data",
    "vdisk create tank/data --size 10G", "vdisk create tank/data --size 0", "vdisk create tank/data --size 1GiB --resiliency raid0",
    "vdisk create tank/data --size 1GiB --columns 0", "vdisk create tank/data --size 1GiB --sector-size 1024", "serve --listen 10809",
    "vdisk create tank/m --size 1GiB --copies 2", "vdisk create tank/m --size 1GiB --resiliency mirror --copies 4",
    "pool add tank", "pool add tank /a --usage retired", "disk set /a", "disk replace /a", "job cancel tank x", "serve --job-share 0",
    "partition create tank/data", "partition create tank/data --size 1GiB --largest-free", "partition create tank/data --size 120%",
    "partition delete tank/data", "partition set tank/data 1", "partition repair tank/data --yes --dry-run",
    "partition repair tank/data --from both", "partition list tank", "stack tank", "frobnicate", "pool",
    "pool create tank /a --slab-size lots",
  ])
  func refuses(line: String) {
    do {
      var command = try Spaceport.parseAsRoot(line.split(separator: " ").map(String.init))
      // A group without a command asks for help when it is run.
      try command.run()
      Issue.record("\(line) was accepted")
    } catch {
      let text = Spaceport.usageText(for: error)
      #expect(text.hasPrefix("spaceport: ") || line == "pool")
      #expect(text.contains("spaceport"))
    }
  }

  @Test func versionIsPrinted() {
    do {
      _ = try Spaceport.parseAsRoot(["--version"])
      Issue.record("--version was taken for a command")
    } catch {
      #expect(Spaceport.exitCode(for: error) == .success)
      #expect(Spaceport.fullMessage(for: error) == "spaceport \(spaceportVersion)")
    }
  }
}
