import ArgumentParser
import Management

/// The spellings of --usage for a disk that comes into a pool.
enum NewDiskUsage: String, ExpressibleByArgument, CaseIterable {
  case auto, hotspare, cache

  var value: DiskInfo.Usage { DiskInfo.Usage(rawValue: rawValue) }
}

struct PoolAddCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Add files or block devices to a pool.",
    discussion: "Nothing is moved onto them by itself: `pool optimize` does that. A disk that was evicted from this pool is taken back.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  @Argument(help: ArgumentHelp("The files and block devices to add.", valueName: "disk"))
  var disks: [String]

  @Option(
    help: """
      auto: they hold data; hotspare: they are kept for copies that lose their disk; cache: fast disks that keep what is read from the \
      others, and hold no data of their own.
      """)
  var usage: NewDiskUsage = .auto

  @Flag(help: "Wipe and use disks that carry a file system, a partition table or another signature.")
  var force = false

  func run() async throws {
    let request = AddDisks(disks: try Paths.absolute(disks), usage: usage.value, force: force)
    let pool = try await client.storage().addDisks(toPool: name, request)
    try client.show(pool, as: ObjectTables.pool(pool))
  }
}

struct PoolRemoveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Take a disk out of a pool: empty it, wait for that, and release it.",
    discussion: """
      Ctrl-C ends the waiting, not the work. A disk that is missing is given up: its copies are made anew on other disks. A cache disk has \
      nothing to be emptied of, and is released at once.
      """)

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  @Argument(help: ArgumentHelp("The disk: its path, its UUID or its number.", valueName: "disk"))
  var disk: String

  func run() async throws {
    let storage = try client.storage()
    let job = try await storage.retireDisk(DiskArgument.reference(disk, pool: name))
    let ended = try await JobWatcher(storage: storage, json: client.json).watch(pool: job.pool, number: job.number)
    guard ended.allSatisfy({ $0.state == .completed }) else {
      let message = ended.first?.message.map { ": \($0.hasSuffix(".") ? String($0.dropLast()) : $0)" } ?? ""
      throw APIError(
        .wrongState, "The disk \(disk) is not removed, its job is \(ended.first?.state.words ?? "gone")\(message)",
        remedy: "The job goes on by itself when it can. To keep the disk: spaceport disk set --pool \(name) \(disk) --usage auto")
    }
    if !client.json { try Terminal.write(Printable.text("Disk \(job.disk ?? disk) is removed from pool \(name).")) }
  }
}

struct PoolOptimizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "optimize", abstract: "Move data until the disks are equally full, with the least movement.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  func run() async throws { try await begin(.optimize, inPool: name, client) }
}

struct PoolScrubCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scrub", abstract: "Read everything, compare copies, and repair what can be repaired.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var name: String

  func run() async throws { try await begin(.scrub, inPool: name, client) }
}

private func begin(_ kind: JobInfo.Kind, inPool name: String, _ client: ClientOptions) async throws {
  let job = try await client.storage().startJob(inPool: name, StartJob(kind: kind))
  try client.show(job, as: JobTables.begun(job))
}
