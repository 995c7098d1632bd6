import ArgumentParser
import Management

struct DiskCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk", abstract: "Look at the physical disks of the pools, retire and replace them.",
    subcommands: [DiskListCommand.self, DiskScanCommand.self, DiskSetCommand.self, DiskRetireCommand.self, DiskReplaceCommand.self])
}

struct DiskListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List the disks of all pools, missing ones included.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let disks = try await client.storage().disks()
    try client.show(disks, as: ObjectTables.disks(disks))
  }
}

struct DiskScanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scan", abstract: "Show which disks could be pooled, and why the others cannot.", discussion: "Nothing is changed.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "Look at the files and devices in this directory instead of the machine's block devices.")
  var directory: String?

  func run() async throws {
    let request = ScanDisks(directory: try directory.map { (text) throws(APIError) in try Paths.absolute(text) })
    let candidates = try await client.storage().scanDisks(request)
    try client.show(candidates, as: ObjectTables.candidates(candidates))
  }
}

/// A disk that the server knows, as it is typed.
struct DiskArgument: ParsableArguments {
  @Argument(help: ArgumentHelp("The disk: its path, its UUID, or with --pool its number.", valueName: "disk"))
  var disk: String

  @Option(help: ArgumentHelp("The disk's pool.", valueName: "pool"))
  var pool: String?

  func reference() throws(APIError) -> DiskReference { try Self.reference(disk, pool: pool) }

  /// A path is made absolute; numbers and UUIDs stay as they are.
  static func reference(_ text: String, pool: String?) throws(APIError) -> DiskReference {
    let isNumber = pool != nil && !text.isEmpty && text.utf8.allSatisfy(ByteSize.isDigit)
    return DiskReference(isNumber || isUUID(text) ? text : try Paths.absolute(text), pool: pool)
  }

  static func isUUID(_ text: String) -> Bool {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    return parts.map(\.utf8.count) == [8, 4, 4, 4, 12] && parts.allSatisfy { $0.allSatisfy(\.isHexDigit) }
  }
}

/// The spellings of --usage for a disk that a pool has.
enum UsageArgument: String, ExpressibleByArgument, CaseIterable {
  case auto, hotspare, retired, cache

  /// A disk is never made a cache disk this way: the word is read for the answer that says how it is done.
  static let allValueStrings = [Self.auto, .hotspare, .retired].map(\.rawValue)

  var value: DiskInfo.Usage { DiskInfo.Usage(rawValue: rawValue) }
}

struct DiskSetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "set", abstract: "Say what a disk is for.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var disk: DiskArgument

  @Option(
    help: """
      auto: it holds data; hotspare: it is kept for copies that lose their disk; retired: it is emptied and released. Cache disks are \
      added with pool add, and stay cache disks.
      """)
  var usage: UsageArgument

  func run() async throws {
    let disk = try await client.storage().setUsage(SetDiskUsage(disk: disk.reference(), usage: usage.value))
    try client.show(disk, as: ObjectTables.disks([disk]))
  }
}

struct DiskRetireCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retire", abstract: "Empty a disk onto the others, and release it when nothing is left on it.",
    discussion: "The data stays available throughout. A disk that is missing is given up: its copies are made anew on other disks.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var disk: DiskArgument

  func run() async throws {
    let job = try await client.storage().retireDisk(disk.reference())
    try client.show(job, as: JobTables.begun(job))
  }
}

struct DiskReplaceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replace", abstract: "Put a new disk in the place of an old one, which is released at the end.",
    discussion: "The old one may be missing: then its copies are made anew on the new one.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var disk: DiskArgument

  @Argument(help: ArgumentHelp("The new file or block device, or a disk of the same pool.", valueName: "new"))
  var new: String

  @Flag(help: "Wipe and use a new disk that carries a file system, a partition table or another signature.")
  var force = false

  func run() async throws {
    let request = ReplaceDisk(old: try disk.reference(), new: try Paths.absolute(new), force: force)
    let job = try await client.storage().replaceDisk(request)
    try client.show(job, as: JobTables.begun(job))
  }
}
