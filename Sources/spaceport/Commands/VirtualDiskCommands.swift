import ArgumentParser
import Management

struct VirtualDiskCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdisk", abstract: "Create, look at, resize and remove virtual disks.",
    subcommands: [
      VirtualDiskCreateCommand.self, VirtualDiskListCommand.self, VirtualDiskShowCommand.self, VirtualDiskResizeCommand.self,
      VirtualDiskSetCommand.self, VirtualDiskDeleteCommand.self,
    ])
}

/// The spellings of --provisioning.
enum ProvisioningArgument: String, ExpressibleByArgument, CaseIterable {
  case thin
  case fixed

  var value: VirtualDiskInfo.Provisioning { self == .thin ? .thin : .fixed }
}

/// The spellings of --resiliency.
enum ResiliencyArgument: String, ExpressibleByArgument, CaseIterable {
  case simple, mirror

  var value: VirtualDiskInfo.Resiliency { VirtualDiskInfo.Resiliency(rawValue: rawValue) }
}

/// A new virtual disk's name, and how it is to be.
struct VirtualDiskPlanOptions: ParsableArguments {
  @Argument(help: ArgumentHelp("The new virtual disk; also its NBD export name.", valueName: "pool/name"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  @Option(help: ArgumentHelp("The size its clients see.", valueName: "size"), transform: Parse.size)
  var size: ByteSize

  @Option(help: "Take space at the first write (thin) or now (fixed).")
  var provisioning: ProvisioningArgument = .thin

  @Option(help: "How losses of disks are survived: simple, not at all; mirror, by copies on different disks.")
  var resiliency: ResiliencyArgument = .simple

  @Option(help: ArgumentHelp("How many copies a mirror has, 2 or 3; else 2.", valueName: "n"))
  var copies: Int?

  @Option(help: ArgumentHelp("How many disks a stripe spans, copies not counted; else as many as there are, up to 8.", valueName: "n"))
  var columns: Int?

  @Option(
    help: ArgumentHelp("How much of a stripe lies on one disk before the next follows; else 256KiB.", valueName: "size"),
    transform: Parse.size)
  var interleave: ByteSize?

  @Option(help: ArgumentHelp("The size of the sectors its clients see, 512 or 4096; else 512.", valueName: "n"))
  var sectorSize: Int?

  @OptionGroup var settings: VirtualDiskSettings

  func validate() throws {
    if let copies {
      if resiliency == .simple && copies != 1 {
        throw ValidationError("--copies \(copies) goes with --resiliency mirror. A simple virtual disk has one copy.")
      }
      if resiliency == .mirror && !(2...3).contains(copies) {
        throw ValidationError("--copies \(copies) is out of range. Give 2 or 3 for a mirror.")
      }
    }
    if let columns, columns < 1 { throw ValidationError("--columns \(columns) is out of range. Give at least 1.") }
    if let sectorSize, sectorSize != 512, sectorSize != 4096 {
      throw ValidationError("--sector-size \(sectorSize) is not a sector size. Give 512 or 4096.")
    }
    if size.byteCount == 0 { throw ValidationError("--size 0 is out of range. Give at least one sector.") }
  }

  var request: CreateVirtualDisk {
    CreateVirtualDisk(
      pool: path.pool, name: path.name, sizeBytes: size.byteCount, provisioning: provisioning.value, resiliency: resiliency.value,
      copies: copies, columns: columns, interleaveBytes: interleave?.byteCount, logicalSectorBytes: sectorSize, share: settings.share)
  }
}

struct VirtualDiskCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "create", abstract: "Create a virtual disk.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var plan: VirtualDiskPlanOptions

  func run() async throws {
    let disk = try await client.storage().createVirtualDisk(plan.request)
    try client.show(disk, as: ObjectTables.virtualDisk(disk))
  }
}

struct VirtualDiskListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List the virtual disks of all pools.")

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let storage = try client.storage()
    let disks = try await storage.virtualDisks(ofPool: nil)
    // Those of a pool that waits can't be listed: what it waits for is.
    let waiting = client.json ? [] : try await storage.pools().filter(\.isWaiting)
    try client.show(disks, as: ObjectTables.virtualDisks(disks, waiting: waiting))
  }
}

struct VirtualDiskShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show a virtual disk.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The virtual disk.", valueName: "pool/name"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  func run() async throws {
    let disk = try await client.storage().virtualDisk(at: path)
    try client.show(disk, as: ObjectTables.virtualDisk(disk))
  }
}

struct VirtualDiskResizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "resize", abstract: "Grow a virtual disk.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The virtual disk.", valueName: "pool/name"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  @Option(help: ArgumentHelp("The new size.", valueName: "size"), transform: Parse.size)
  var size: ByteSize

  func run() async throws {
    let disk = try await client.storage().resizeVirtualDisk(at: path, ResizeVirtualDisk(sizeBytes: size.byteCount))
    let note = disk.note.map { "\n" + Printable.text("\($0).") }
    try client.show(disk, as: ObjectTables.virtualDisk(disk) + (note ?? ""))
  }
}

/// What can be changed at any time.
struct VirtualDiskSettings: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How much it gets of disks that are too busy for all, 1 to 1000, in proportion to the others' shares; else 100.", valueName: "n"))
  var share: UInt32?

  func validate() throws {
    if let share, !(1...1000).contains(share) { throw ValidationError("--share \(share) is out of range. Give 1 to 1000.") }
  }
}

struct VirtualDiskSetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change a virtual disk's settings.",
    discussion: "It takes effect at once, also for clients that are connected.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The virtual disk.", valueName: "pool/name"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  @OptionGroup var settings: VirtualDiskSettings

  func validate() throws {
    if settings.share == nil { throw ValidationError("Nothing is to be set. Give --share N.") }
  }

  func run() async throws {
    let disk = try await client.storage().setVirtualDisk(at: path, SetVirtualDisk(share: settings.share))
    try client.show(disk, as: ObjectTables.virtualDisk(disk))
  }
}

/// A virtual disk that is to be removed, and whether that is meant.
struct VirtualDiskDeletionOptions: ParsableArguments {
  @Argument(help: ArgumentHelp("The virtual disk.", valueName: "pool/name"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath

  @Flag(help: "Do it; without this the command only says what would be lost.")
  var yes = false

  func check(_ storage: any StorageBackend) async throws(APIError) {
    guard yes else { throw Loss.ofVirtualDisk(try await storage.virtualDisk(at: path)) }
  }
}

struct VirtualDiskDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "delete", abstract: "Remove a virtual disk and its data.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var deletion: VirtualDiskDeletionOptions

  func run() async throws {
    let (storage, path) = (try client.storage(), deletion.path)
    try await deletion.check(storage)
    try await storage.deleteVirtualDisk(at: path)
    try client.show(
      Done(action: "deleted", kind: "virtualDisk", name: "\(path)"), as: Printable.text("Virtual disk \(path) is deleted."))
  }
}
