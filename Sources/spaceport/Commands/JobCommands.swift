import ArgumentParser
import Management

struct JobCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "job", abstract: "Look at the pools' background work: repair, resync, retire, optimize, scrub.",
    subcommands: [JobListCommand.self, JobWatchCommand.self, JobCancelCommand.self])
}

struct JobListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List jobs, those that ended lately included.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool; else all.")
  var pool: String?

  func run() async throws {
    let jobs = try await client.storage().jobs(ofPool: pool)
    try client.show(jobs, as: JobTables.jobs(jobs))
  }
}

struct JobWatchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Show the progress of jobs until none is under way.",
    discussion: "A bar for each job on a terminal; else a line, with --json a list, whenever something changed.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool; else all.")
  var pool: String?

  func run() async throws {
    let jobs = try await JobWatcher(storage: try client.storage(), json: client.json).watch(pool: pool)
    if jobs.isEmpty { try client.show(jobs, as: "No job is under way.") }
  }
}

struct JobCancelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "End a job; what it has done stays.",
    discussion: "A disk whose retirement is cancelled stays in the pool. Resync and repair can't be cancelled.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool's name.")
  var pool: String

  @Argument(help: "The job's number.")
  var number: UInt64

  func run() async throws {
    try await client.storage().cancelJob(inPool: pool, number: number)
    try client.show(
      Done(action: "cancelled", kind: "job", name: "\(pool) \(number)"), as: Printable.text("Job \(number) of pool \(pool) is cancelled."))
  }
}

struct EventCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "event", abstract: "Look at what happened to the pools.", subcommands: [EventListCommand.self])
}

struct EventListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List what happened, the newest last. Each pool keeps its last 1000 events.")

  @OptionGroup var client: ClientOptions

  @Argument(help: "The pool; else all.")
  var pool: String?

  func run() async throws {
    let events = try await client.storage().events(ofPool: pool)
    try client.show(events, as: JobTables.events(events))
  }
}
