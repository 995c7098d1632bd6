import ArgumentParser
import Glibc
import Management
import NBDServer

struct ExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Say which clients may open a virtual disk or a partition, and how.",
    subcommands: [ExportListCommand.self, ExportShowCommand.self, ExportSetCommand.self, ExportResetCommand.self])
}

struct ExportListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List the exports of all pools and who may open them.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let exports = try await client.storage().exports(ofPool: nil)
    try client.show(exports, as: ExportTables.exports(exports))
  }
}

struct ExportShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show who may open an export.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The export.", valueName: "pool/vdisk[/partition]"), transform: Parse.volume)
  var path: VolumePath

  func run() async throws {
    let export = try await client.storage().export(at: path.export)
    try client.show(export, as: ExportTables.export(export))
  }
}

/// The spellings of --read-only.
enum YesNo: String, ExpressibleByArgument, CaseIterable {
  case yes, no
}

/// The spellings of --clear.
enum AccessList: String, ExpressibleByArgument, CaseIterable {
  case users, peers, certificates
  case pskUsers = "psk-users"
}

struct ExportSetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Say who may open an export, and whether for reading only.",
    discussion: """
      A list that is given takes the old one's place; a list without names refuses nobody. Users and peers go together: a client must be one of \
      those users or come from one of those addresses. Certificates and users of pre-shared keys go together in the same way, and with the others: \
      who is asked for both must have both. It takes effect at once: the sessions of those who may not any more are ended.
      """)

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The export.", valueName: "pool/vdisk[/partition]"), transform: Parse.volume)
  var path: VolumePath

  @Option(help: "Whether clients can only read.")
  var readOnly: YesNo?

  @Option(
    help: ArgumentHelp("A user who may open it on a Unix socket, by name or number; may be repeated.", valueName: "user"),
    transform: Users.number)
  var allowUser: [UInt32] = []

  @Option(
    help: ArgumentHelp("An address or network (ADDRESS/BITS) that may open it over TCP; may be repeated.", valueName: "network"),
    transform: Parse.networkRange)
  var allowPeer: [NetworkRange] = []

  @Option(
    help: ArgumentHelp(
      "A TLS client's certificate: its common name, distinguished name or sha256:FINGERPRINT; may be repeated.", valueName: "name"))
  var allowCertificate: [String] = []

  @Option(help: ArgumentHelp("A user of a pre-shared key; may be repeated.", valueName: "user"))
  var allowPSKUser: [String] = []

  @Option(help: ArgumentHelp("A list to empty: users, peers, certificates or psk-users; may be repeated.", valueName: "list"))
  var clear: [AccessList] = []

  func validate() throws {
    if readOnly == nil && allowUser.isEmpty && allowPeer.isEmpty && allowCertificate.isEmpty && allowPSKUser.isEmpty && clear.isEmpty {
      throw ValidationError(
        "Nothing is to be set. Give --read-only, --allow-user, --allow-peer, --allow-certificate, --allow-psk-user or --clear.")
    }
    for (list, isGiven) in [
      (AccessList.users, !allowUser.isEmpty), (.peers, !allowPeer.isEmpty), (.certificates, !allowCertificate.isEmpty),
      (.pskUsers, !allowPSKUser.isEmpty),
    ] where isGiven && clear.contains(list) {
      throw ValidationError("The list \(list.rawValue) is both given and cleared. Do either.")
    }
  }

  /// nil for a list that stays.
  private func list<Value>(_ values: [Value], _ list: AccessList) -> [Value]? { values.isEmpty && !clear.contains(list) ? nil : values }

  var request: SetExportAccess {
    SetExportAccess(
      export: path.export, readOnly: readOnly.map { $0 == .yes }, allowUsers: list(allowUser, .users),
      allowPeers: list(allowPeer.map(\.description), .peers), allowCertificates: list(allowCertificate, .certificates),
      allowPSKUsers: list(allowPSKUser, .pskUsers))
  }

  func run() async throws {
    let export = try await client.storage().setExport(request)
    try client.show(export, as: ExportTables.export(export))
  }
}

struct ExportResetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset", abstract: "Take an export's own rule away.",
    discussion: "A virtual disk without a rule may be opened by everybody; a partition goes by its virtual disk's rule.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The export.", valueName: "pool/vdisk[/partition]"), transform: Parse.volume)
  var path: VolumePath

  func run() async throws {
    let export = try await client.storage().resetExport(ResetExportAccess(export: path.export))
    try client.show(export, as: ExportTables.export(export))
  }
}

extension VolumePath {
  var export: ExportPath { ExportPath(disk: disk, partition: partition) }
}

/// Unix users as they are typed. The server is only ever sent numbers: what a name stands for is looked up here, where that may take a while.
enum Users {
  static func number(_ text: String) throws -> UInt32 {
    // The highest number stands for nobody at all in system calls.
    if let number = UInt32(text), text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") }), number != .max { return number }
    guard let entry = getpwnam(text) else {
      throw ValidationError("There is no user \"\(text)\" on this machine. Give a name that `getent passwd` knows, or a number.")
    }
    return entry.pointee.pw_uid
  }
}
