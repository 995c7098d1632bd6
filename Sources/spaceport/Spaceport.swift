import ArgumentParser
import Management
import Volume

@main
struct Spaceport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "spaceport",
    abstract: "A storage pool server: pools files and disks, cuts virtual disks from them, and serves those over NBD.",
    discussion: """
      The server is started with 'spaceport serve'; every other command but 'inspect', 'pool check --offline' and 'cache simulate' talks to it through its \
      control socket, which --control or the variable SPACEPORT_CONTROL choose. Sizes are whole bytes or carry KiB, MiB, GiB, TiB or PiB.
      """,
    version: "spaceport \(spaceportVersion)",
    subcommands: [
      ServeCommand.self, StatusCommand.self, DiskCommand.self, PoolCommand.self, VirtualDiskCommand.self, PartitionCommand.self,
      VolumeCommand.self, ExportCommand.self, JobCommand.self, EventCommand.self, StackCommand.self, InspectCommand.self, CacheCommand.self,
    ])

  /// Like the library's own, but errors come out as `spaceport: WHAT. REMEDY`.
  static func main() async {
    let words = CommandLine.arguments
    if words.dropFirst().first == ContentProbe.command { ContentProbeProcess.main(Array(words.dropFirst(2))) }
    do {
      var command = try parseAsRoot(CommandWords.arranged(Array(CommandLine.arguments.dropFirst()), of: Spaceport.self))
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch {
      leave(with: error)
    }
  }

  /// Ends the process: status 1 for what failed, 64 (EX_USAGE) for a command line that can't be read, 0 for help and version.
  private static func leave(with error: any Error) -> Never {
    if let error = error as? APIError {
      Terminal.writeError("spaceport: \(Printable.text("\(error)"))")
      exit(withError: ExitCode.failure)
    }
    let code = exitCode(for: error)
    // Help and version are no errors, and exit codes have been explained by whoever threw them.
    if code.isSuccess || error is ExitCode { exit(withError: error) }
    Terminal.writeError(usageText(for: error))
    exit(withError: code)
  }

  /// What is wrong with a command line, and how it is spelled.
  static func usageText(for error: any Error) -> String {
    let text = fullMessage(for: error)
    return text.hasPrefix("Error: ") ? "spaceport: \(text.dropFirst("Error: ".count))" : "spaceport: \(text)"
  }
}
