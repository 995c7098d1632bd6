import ArgumentParser
import Management

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "status", abstract: "Show the server, its listeners and its pools.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let status = try await client.storage().status()
    try client.show(status, as: ObjectTables.status(status))
  }
}
