import ArgumentParser
import Management

struct PartitionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "partition", abstract: "Partition virtual disks, check and repair their partition tables.",
    subcommands: [
      PartitionInitCommand.self, PartitionListCommand.self, PartitionCreateCommand.self, PartitionDeleteCommand.self,
      PartitionResizeCommand.self, PartitionSetCommand.self, PartitionVerifyCommand.self, PartitionRepairCommand.self,
    ])
}

/// What every command on a partition table understands.
struct PartitionTableOptions: ParsableArguments {
  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The virtual disk.", valueName: "pool/vdisk"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  func show(_ table: PartitionTableInfo, _ remark: String? = nil) throws(APIError) {
    try client.show(table, as: PartitionOutput.table(table, remarks: [remark].compactMap { $0 }))
  }
}

struct PartitionInitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "init", abstract: "Write an empty GPT.")

  @OptionGroup var table: PartitionTableOptions

  @Flag(help: "Do it though the virtual disk holds something, which is lost.")
  var yes = false

  @Flag(help: "Send clients away that have partitions open.")
  var force = false

  func run() async throws {
    let request = InitPartitionTable(acceptLoss: yes, force: force)
    try table.show(try await table.client.storage().initPartitionTable(of: table.path, request))
  }
}

struct PartitionListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "Show a virtual disk's partition table.")

  @OptionGroup var table: PartitionTableOptions

  func run() async throws { try table.show(try await table.client.storage().partitionTable(of: table.path)) }
}

struct PartitionCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Add a partition.",
    discussion: "It begins at the first free place that is long enough, at a multiple of the virtual disk's stripe and of 1 MiB.")

  @OptionGroup var table: PartitionTableOptions

  @Option(
    help: ArgumentHelp(
      "A size, or a share: 25% of the disk, 50%FREE of the largest free range; 100% is all of that range.", valueName: "size"),
    transform: Parse.partitionSize)
  var size: PartitionSize?

  @Flag(help: "Take all of the largest free range.")
  var largestFree = false

  @Option(help: "What it is for: a GUID, or a name such as linux, swap, efi, lvm, raid, home, msdata; else linux.")
  var type: String?

  @Option(help: "Its name in the table, which is also an export's: at most 36 characters.")
  var label: String?

  @Option(
    name: .customLong("attribute"),
    help:
      "May be repeated: required, no-block-io, legacy-boot, grow-file-system, read-only, shadow-copy, hidden, no-auto, or a bit from 0 to 63."
  )
  var attributes: [String] = []

  @Option(help: ArgumentHelp("Its number; else the lowest that is free.", valueName: "n"))
  var number: Int?

  @Option(help: ArgumentHelp("What its start is a multiple of.", valueName: "size"), transform: Parse.size)
  var alignment: ByteSize?

  func validate() throws {
    if (size == nil) != largestFree { throw ValidationError("Give either --size SIZE or --largest-free.") }
  }

  func run() async throws {
    let request = CreatePartition(
      size: size ?? PartitionSize(), type: type, label: label, attributes: attributes.isEmpty ? nil : attributes, number: number,
      alignmentBytes: alignment?.byteCount)
    try table.show(try await table.client.storage().createPartition(on: table.path, request))
  }
}

struct PartitionDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "delete", abstract: "Remove partitions; what they hold is lost to view.")

  @OptionGroup var table: PartitionTableOptions

  @Argument(help: ArgumentHelp("Their numbers, labels or unique GUIDs.", valueName: "partition"))
  var partitions: [String]

  @Flag(help: "Do it; without this the command only says what would be lost.")
  var yes = false

  @Flag(help: "Send clients away that have them open.")
  var force = false

  func run() async throws {
    let request = DeletePartitions(partitions: partitions, acceptLoss: yes, force: force)
    try table.show(try await table.client.storage().deletePartitions(of: table.path, request))
  }
}

struct PartitionResizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize", abstract: "Make a partition longer or shorter; its start stays.",
    discussion: "Grow the file system afterwards; shrink it before.")

  @OptionGroup var table: PartitionTableOptions

  @Argument(help: ArgumentHelp("Its number, label or unique GUID.", valueName: "partition"))
  var partition: String

  @Option(
    help: ArgumentHelp(
      "The new size, or a share: 25% of the disk, 50%FREE of the room behind it; else all of that room.", valueName: "size"),
    transform: Parse.partitionSize)
  var size: PartitionSize?

  @Flag(help: "Do it though it gets shorter; what lies behind the new end is lost.")
  var yes = false

  @Flag(help: "Send clients away that have it open, where it gets shorter.")
  var force = false

  func run() async throws {
    let request = ResizePartition(partition: partition, size: size ?? PartitionSize(), acceptLoss: yes, force: force)
    let storage = try table.client.storage()
    let before = try await storage.partitionTable(of: table.path)
    let changed = try await storage.resizePartition(of: table.path, request)
    try table.show(changed, PartitionOutput.remark(onResizing: before, to: changed))
  }
}

struct PartitionSetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "set", abstract: "Change a partition's type, label or attributes.")

  @OptionGroup var table: PartitionTableOptions

  @Argument(help: ArgumentHelp("Its number, label or unique GUID.", valueName: "partition"))
  var partition: String

  @Option(help: "What it is for: a GUID or a name, as for create.")
  var type: String?

  @Option(help: "Its name in the table; empty for none.")
  var label: String?

  @Option(name: .customLong("attribute"), help: "An attribute to set, as for create; may be repeated.")
  var attributes: [String] = []

  @Option(name: .customLong("clear"), help: ArgumentHelp("An attribute to clear; may be repeated.", valueName: "attribute"))
  var cleared: [String] = []

  func validate() throws {
    if type == nil && label == nil && attributes.isEmpty && cleared.isEmpty {
      throw ValidationError("Nothing is to be set. Give --type, --label, --attribute or --clear.")
    }
  }

  func run() async throws {
    let request = SetPartition(
      partition: partition, type: type, label: label, set: attributes.isEmpty ? nil : attributes, clear: cleared.isEmpty ? nil : cleared)
    try table.show(try await table.client.storage().setPartition(of: table.path, request))
  }
}

struct PartitionVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check a virtual disk's partition table.",
    discussion: "Nothing is changed. The command ends with status 1 when something is wrong.")

  @OptionGroup var table: PartitionTableOptions

  func run() async throws {
    let info = try await table.client.storage().partitionTable(of: table.path)
    if info.isBeingWritten {
      throw APIError(.busy, "A client of \(table.path) is writing its partition table", remedy: "Try again when that has ended")
    }
    try table.client.show(info, as: PartitionOutput.verification(info))
    guard info.findings.isEmpty else {
      throw APIError(
        .ioError, "The partition table of \(table.path) is not sound: see above",
        remedy: "See what a repair would write: spaceport partition repair \(table.path) --dry-run")
    }
  }
}

/// The copies of a GPT.
enum CopyArgument: String, ExpressibleByArgument, CaseIterable {
  case primary, backup
}

struct PartitionRepairCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair", abstract: "Repair a GPT from its good copy.",
    discussion: """
      Only what is wrong is written. Refused where neither copy is good, and where a file system on the whole disk might be destroyed.
      """)

  @OptionGroup var table: PartitionTableOptions

  @Option(
    help: """
      Which copy is believed: where both are whole and differ, else the primary; and where the backup is left over behind what is no table any more.
      """)
  var from: CopyArgument?

  @Flag(help: "Say what would be written, and write nothing.")
  var dryRun = false

  @Flag(help: "Do it; without this the command only says what would be written.")
  var yes = false

  @Flag(
    help: "Send clients away that have partitions open which the repaired table does not have; write over a file system on the whole disk.")
  var force = false

  func validate() throws {
    if dryRun && yes { throw ValidationError("Give either --dry-run or --yes.") }
  }

  func run() async throws {
    let storage = try table.client.storage()
    let request = RepairPartitionTable(source: from?.rawValue, apply: yes, force: force)
    let repair = try await storage.repairPartitionTable(of: table.path, request)
    guard yes || dryRun || repair.actions.isEmpty else { throw Loss.ofRepair(repair, of: table.path) }
    try table.client.show(repair, as: PartitionOutput.repair(repair, of: table.path))
  }
}
