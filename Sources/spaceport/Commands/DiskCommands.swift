import ArgumentParser
import Management

struct DiskCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk", abstract: "Look at the physical disks of the pools.", subcommands: [DiskListCommand.self])
}

struct DiskListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List the disks of all pools, missing ones included.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let disks = try await client.storage().disks()
    try client.show(disks, as: ObjectTables.disks(disks))
  }
}
