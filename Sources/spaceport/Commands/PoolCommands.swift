import ArgumentParser
import Management

struct PoolCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pool", abstract: "Create, open, look at and remove pools, and change their disks.",
    subcommands: [
      PoolCreateCommand.self, PoolListCommand.self, PoolShowCommand.self, PoolOpenCommand.self, PoolCloseCommand.self,
      PoolDestroyCommand.self, PoolAddCommand.self, PoolRemoveCommand.self, PoolOptimizeCommand.self, PoolScrubCommand.self,
      PoolCheckCommand.self,
    ])
}

struct PoolCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "create", abstract: "Create a pool on files or block devices.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The new pool's name.")
  var name: String

  @Argument(help: ArgumentHelp("The files and block devices to pool.", valueName: "disk"))
  var disks: [String]

  @Option(
    help: ArgumentHelp("The unit of allocation, a power of two from 1MiB to 1GiB; else chosen by capacity.", valueName: "size"),
    transform: Parse.size)
  var slabSize: ByteSize?

  @Flag(help: "Wipe and use disks that carry a file system, a partition table or another signature.")
  var force = false

  func run() async throws {
    let request = CreatePool(name: name, disks: try Paths.absolute(disks), slabBytes: slabSize?.byteCount, force: force)
    let pool = try await client.storage().createPool(request)
    try client.show(pool, as: ObjectTables.pool(pool))
  }
}

struct PoolListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List the pools, those that wait for disks included.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let pools = try await client.storage().pools()
    try client.show(pools, as: ObjectTables.pools(pools))
  }
}

struct PoolShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show a pool with its disks.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  func run() async throws {
    let pool = try await client.storage().pool(named: name)
    try client.show(pool, as: ObjectTables.pool(pool))
  }
}

struct PoolOpenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "open", abstract: "Open pools that exist on disks, named in any order or looked for in a directory.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The pool's disks.", valueName: "disk"))
  var disks: [String] = []

  @Option(help: ArgumentHelp("Open every pool whose disks lie in this directory.", valueName: "dir"))
  var scan: String?

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Go on without these disks for good: paths where they were last, numbers or UUIDs. What they held alone is lost.", valueName: "disk"))
  var acceptLoss: [String] = []

  @Flag(
    help:
      "Write nothing, and do without any disk that is missing: what can be proven good is served read-only, and what cannot is said.")
  var readOnly = false

  func validate() throws {
    guard !readOnly || acceptLoss.isEmpty else {
      throw ValidationError("Either go on without disks for good (--accept-loss) or only read what is there (--read-only).")
    }
    guard disks.isEmpty != (scan == nil) else {
      throw ValidationError("Either name the pool's disks or give a directory with --scan.")
    }
  }

  func run() async throws {
    var directory: String?
    if let scan { directory = try Paths.absolute(scan) }
    var losses: [String] = []
    // With a pool's name a number is no path; which pool it is shows when the disks are looked at.
    for disk in acceptLoss { losses.append(try DiskArgument.reference(disk, pool: "").disk) }
    let request = OpenPools(
      disks: try Paths.absolute(disks), scanDirectory: directory, acceptLosses: losses.isEmpty ? nil : losses,
      readOnly: readOnly ? true : nil)
    let pools = try await client.storage().openPools(request)
    guard !pools.isEmpty else {
      throw APIError(
        .notFound, "No pool was found \(directory.map { "in \($0)" } ?? "on those disks")", remedy: "Look at a disk with spaceport inspect")
    }
    try client.show(pools, as: ObjectTables.pools(pools))
    let waiting = pools.filter(\.isWaiting)
    guard waiting.isEmpty else {
      throw APIError(
        .wrongState, "Not open yet: \(waiting.map(\.name).joined(separator: ", "))",
        remedy: waiting.compactMap(\.nextStep).first ?? "Look at spaceport pool list")
    }
  }
}

struct PoolCheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Check a pool's metadata on all of its disks, and say how much of the data is there.",
    discussion: """
      Nothing is changed, and no data is read: that is what 'pool scrub' does. The command ends with status 1 when something is wrong. \
      With --offline it needs no server: the disks are named, and no server may have the pool open for writing.
      """)

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String?

  @Option(
    parsing: .upToNextOption, help: ArgumentHelp("Check the pool on these disks, without a server.", valueName: "disk"))
  var offline: [String] = []

  func validate() throws {
    guard (name == nil) != offline.isEmpty else {
      throw ValidationError("Either name an open pool, or its disks with --offline.")
    }
  }

  func run() async throws {
    let check: PoolCheckInfo
    if let name {
      check = try await client.storage().checkPool(named: name)
    } else {
      check = try await checkPool(onDisks: Paths.absolute(offline))
    }
    try client.show(check, as: PoolCheckReport.text(check))
    guard check.isSound else {
      throw APIError(
        .ioError, "The pool \(check.pool) is not sound: see the errors above",
        remedy: "What can be proven good can be read: spaceport pool open DISK... --read-only")
    }
  }
}

struct PoolCloseCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "close", abstract: "Stop serving a pool and forget it; its disks stay as they are.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  func run() async throws {
    try await client.storage().closePool(named: name)
    try client.show(Done(action: "closed", kind: "pool", name: name), as: Printable.text("Pool \(name) is closed."))
  }
}

struct PoolDestroyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "destroy", abstract: "Remove a pool with all its virtual disks and their data, and wipe its disks' signatures.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  @Flag(help: "Do it; without this the command only says what would be lost.")
  var yes = false

  func run() async throws {
    let storage = try client.storage()
    guard yes else { throw Loss.ofPool(try await storage.pool(named: name), try await storage.virtualDisks(ofPool: name)) }
    try await storage.destroyPool(named: name)
    try client.show(Done(action: "destroyed", kind: "pool", name: name), as: Printable.text("Pool \(name) is destroyed."))
  }
}
