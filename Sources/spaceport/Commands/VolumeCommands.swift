import ArgumentParser
import Attachment
import Management

struct VolumeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "volume", abstract: "File systems on virtual disks: make, attach, grow and remove them.",
    discussion: "A volume is a partition of a virtual disk, or a virtual disk without a partition table. All but 'list' are for root.",
    subcommands: [
      VolumeListCommand.self, VolumeCreateCommand.self, VolumeAttachCommand.self, VolumeDetachCommand.self, VolumeResizeCommand.self,
      VolumeDeleteCommand.self,
    ])
}

struct VolumeListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List volumes, what is on them, and where they are attached and mounted.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("Those of one pool; else of all.", valueName: "pool"))
  var pool: String?

  func run() async throws {
    let storage = try client.storage()
    let disks = try await storage.virtualDisks(ofPool: pool)
    let attachments = Attachments.current()
    let volumes = try await storage.volumes(ofPool: pool).map { volume in
      attachments.completed(volume, on: disks.first { $0.path == volume.diskPath })
    }
    try client.show(volumes, as: VolumeTables.volumes(volumes))
  }
}

struct VolumeAttachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach", abstract: "Make a volume a block device of this machine, and print it.",
    discussion: "One that is attached is left as it is, but for connections that were lost: they are made anew.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The volume, or a whole virtual disk.", valueName: "pool/vdisk[/partition]"), transform: Parse.volume)
  var path: VolumePath

  @OptionGroup var connection: ConnectionOptions

  @Option(help: ArgumentHelp("Wait so long for the server, and for the volume's pool to be open.", valueName: "seconds"))
  var wait: Int = 0

  @Flag(help: "Also when other clients have it open, which destroys a file system that is not made for that.")
  var shared = false

  func validate() throws {
    let seconds = AttachmentLimits.waitSecondsRange
    if !seconds.contains(wait) {
      throw ValidationError("--wait \(wait) is out of range. Give \(seconds.lowerBound) to \(seconds.upperBound) seconds.")
    }
  }

  func run() async throws {
    let devices = VolumeDevices(storage: try client.storage())
    try await devices.waitFor(path, seconds: wait)
    let (device, isNew) = try await devices.attach(path, connections: connection.connections, isShared: shared)
    let mountPoints = Attachments.current().mountPoints(of: device)
    if !isNew {
      let mounted = mountPoints.isEmpty ? "" : ", mounted at \(mountPoints.joined(separator: ", "))"
      Terminal.writeError(Printable.text("\(path) was attached already\(mounted)."))
    }
    try client.show(AttachmentInfo(device: device.path, mountPoints: mountPoints), as: device.path)
  }
}

struct VolumeDetachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach", abstract: "Give a volume's block device back; refused while it is mounted.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The volume, or a whole virtual disk.", valueName: "pool/vdisk[/partition]"), transform: Parse.volume)
  var path: VolumePath

  func run() async throws {
    let detached = try await VolumeDevices(storage: try client.storage()).detach(path)
    guard !detached.isEmpty else {
      throw APIError(.notFound, "\(path) is not attached to this machine", remedy: "`spaceport volume list` shows what is")
    }
    try client.show(
      Done(action: "detached", kind: "volume", name: "\(path)"),
      as: Printable.text("\(path) is detached from \(detached.joined(separator: ", "))."))
  }
}

/// How a volume is attached.
struct ConnectionOptions: ParsableArguments {
  @Option(help: ArgumentHelp("How many connections the kernel uses.", valueName: "n"))
  var connections: Int = AttachmentLimits.connections

  func validate() throws {
    let range = AttachmentLimits.connectionRange
    if !range.contains(connections) {
      throw ValidationError("--connections \(connections) is out of range. Give \(range.lowerBound) to \(range.upperBound).")
    }
  }
}

struct VolumeCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Create a virtual disk with one partition and a file system, attached and ready to be mounted.",
    discussion: "When a step fails, or on Ctrl-C, what was done is undone.")

  @OptionGroup var client: ClientOptions

  @Option(help: "The file system.")
  var fs: FileSystemKind

  @Option(help: "The file system's label; else none.")
  var label: String?

  @OptionGroup var connection: ConnectionOptions

  @OptionGroup var plan: VirtualDiskPlanOptions

  func validate() throws {
    guard let label else { return }
    let count = label.utf8.count
    guard (1...fs.labelByteCount).contains(count), !label.utf8.contains(0), !label.hasPrefix("-") else {
      throw ValidationError(
        "--label \"\(label)\" cannot be. Give 1 to \(fs.labelByteCount) bytes, which is what \(fs.rawValue) keeps, and no hyphen first.")
    }
  }

  func run() async throws {
    let interruption = await Interruption(remedy: "What was done is undone, or named above")
    defer { interruption.end() }
    let creation = VolumeCreation(
      storage: try client.storage(), request: plan.request, kind: fs, label: label, connections: connection.connections,
      command: client.command,
      report: { Terminal.writeError(Printable.text($0)) })
    let volume = try await creation.run(interruption)
    try client.show(volume, as: VolumeTables.created(volume))
  }
}

struct VolumeResizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize", abstract: "Grow a virtual disk, its partition, its block device and the mounted file system.",
    discussion: "Nothing has to be unmounted. After a failure the same command goes on where it stopped.")

  @OptionGroup var client: ClientOptions

  @Argument(
    help: ArgumentHelp("The volume; a partition is named where there is more than one.", valueName: "pool/vdisk[/partition]"),
    transform: Parse.volume)
  var path: VolumePath

  @Option(help: ArgumentHelp("The virtual disk's new size.", valueName: "size"), transform: Parse.size)
  var size: ByteSize

  @Flag(help: "Also when other clients have it open.")
  var shared = false

  func run() async throws {
    let interruption = await Interruption(remedy: "Nothing is lost: the same command goes on where this one stopped")
    defer { interruption.end() }
    let storage = try client.storage()
    let done = try await VolumeGrowth(storage: storage, path: path, byteCount: size.byteCount, isShared: shared).run(interruption)
    let disk = try await storage.virtualDisk(at: path.disk)
    let attachments = Attachments.current()
    let volumes = try await storage.volumes(of: path.disk).map { attachments.completed($0, on: disk) }
    try client.show(volumes, as: (done.map(Printable.text) + ["", VolumeTables.volumes(volumes)]).joined(separator: "\n"))
  }
}

struct VolumeDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Detach and remove a virtual disk with its volumes; refused while one is mounted.")

  @OptionGroup var client: ClientOptions
  @OptionGroup var deletion: VirtualDiskDeletionOptions

  func run() async throws {
    let (storage, path) = (try client.storage(), deletion.path)
    try await deletion.check(storage)
    try await VolumeDeletion(storage: storage, path: path).run()
    try client.show(
      Done(action: "deleted", kind: "volume", name: "\(path)"), as: Printable.text("Volume \(path) is deleted with its virtual disk."))
  }
}
