import ArgumentParser
import Management

struct InspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Print and check the metadata on a disk, without a server.")

  @Argument(help: "A file or block device.")
  var disk: String

  @Flag(help: "List the records of the metadata too.")
  var records = false

  @Flag(help: "Print JSON, with the records.")
  var json = false

  func run() async throws {
    try await inspectDisk(path: Paths.absolute(disk), records: records, json: json)
  }
}
