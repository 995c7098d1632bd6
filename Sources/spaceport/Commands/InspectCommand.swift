import ArgumentParser
import Management

struct InspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Print and check the metadata on a disk, without a server.")

  @Argument(help: "A file or block device.")
  var disk: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    try await inspectDisk(path: Paths.absolute(disk), json: json)
  }
}
