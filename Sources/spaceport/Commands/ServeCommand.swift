import ArgumentParser
import Logging
import Management
import NBDServer

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// What the server is told at its start. All paths are absolute.
struct ServeConfiguration: Sendable, Equatable {
  var stateDirectory: String
  var controlSocket: String
  var listeners: [ListenAddress]
  var logLevel: Logger.Level
}

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the server in the foreground until SIGTERM or SIGINT.")

  @Option(help: ArgumentHelp("Where the server remembers its pools; made if it is missing.", valueName: "dir"))
  var stateDir: String?

  @Option(help: ArgumentHelp("The control socket; else the variable SPACEPORT_CONTROL, else the default.", valueName: "socket"))
  var control: String?

  @Option(
    help: ArgumentHelp("Where to serve NBD, unix:PATH or tcp:HOST:PORT; may be repeated.", valueName: "address"),
    transform: Parse.listenAddress)
  var listen: [ListenAddress] = []

  @Option(help: "The least important messages that are logged.")
  var logLevel: Logger.Level = .info

  func run() async throws {
    let paths = DefaultPaths.current
    let configuration = try resolve(paths)
    // Only the default place is made; a directory that was named and doesn't exist is more likely a slip.
    if usesRuntimeDirectory(configuration, paths) { try paths.prepareRuntimeDirectory() }
    try Directories.create(configuration.stateDirectory, mode: 0o700)
    try await runServer(configuration: configuration)
  }

  /// The options with the defaults filled in.
  func resolve(_ paths: DefaultPaths) throws(APIError) -> ServeConfiguration {
    var listeners: [ListenAddress] = []
    for address in listen {
      if case .unix(let path) = address {
        listeners.append(.unix(path: try Paths.absolute(path)))
      } else {
        listeners.append(address)
      }
    }
    let stateDirectory = if let stateDir { stateDir } else { try paths.stateDirectory() }
    return ServeConfiguration(
      stateDirectory: try Paths.absolute(stateDirectory),
      controlSocket: try Paths.absolute(paths.controlSocket(option: control)),
      listeners: listeners.isEmpty ? [.unix(path: paths.nbdSocket)] : listeners, logLevel: logLevel)
  }

  private func usesRuntimeDirectory(_ configuration: ServeConfiguration, _ paths: DefaultPaths) -> Bool {
    configuration.controlSocket == paths.controlSocket || configuration.listeners.contains(.unix(path: paths.nbdSocket))
  }
}
