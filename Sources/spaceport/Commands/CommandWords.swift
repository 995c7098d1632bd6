import ArgumentParser

/// The words of a command line up to the command they name, before the library reads them.
enum CommandWords {
  /// Options of all commands that talk to the server, which may also stand before the command: they are moved behind it.
  private static let optionWithValue = "--control"
  private static let flag = "--json"

  /// - Throws: `ValidationError` that names the commands there are, for a word that is none.
  static func arranged(_ arguments: [String], of root: any ParsableCommand.Type) throws -> [String] {
    var command = root
    var names: [String] = []
    var options: [String] = []
    var rest = arguments[...]
    while !command.configuration.subcommands.isEmpty, let word = rest.first {
      if word == optionWithValue, rest.count > 1 {
        options += rest.prefix(2)
        rest = rest.dropFirst(2)
      } else if word == flag || word.hasPrefix(optionWithValue + "=") {
        options.append(word)
        rest = rest.dropFirst()
      } else if word.hasPrefix("-") || (names.isEmpty && word == "help") {
        break  // help, the version, or the library says what is wrong with it
      } else {
        command = try subcommand(word, of: command, named: names)
        names.append(word)
        rest = rest.dropFirst()
      }
    }
    return names + options + rest
  }

  private static func subcommand(
    _ word: String, of command: any ParsableCommand.Type, named names: [String]
  ) throws -> any ParsableCommand.Type {
    let commands = command.configuration.subcommands
    if let found = commands.first(where: { $0.configuration.commandName == word }) { return found }
    let known = commands.map { (names + [$0.configuration.commandName ?? ""]).joined(separator: " ") }
    throw ValidationError("There is no command '\((names + [word]).joined(separator: " "))'; there are: \(known.joined(separator: ", ")).")
  }
}
