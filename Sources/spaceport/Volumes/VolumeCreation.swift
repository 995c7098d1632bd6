import Attachment
import Management

/// Makes a volume: virtual disk, partition table, partition, block device, file system. When one of it fails, nothing is left.
struct VolumeCreation {
  let storage: any StorageBackend
  let request: CreateVirtualDisk
  let kind: FileSystemKind
  let label: String?
  let connections: Int
  /// A command of ours as it must be typed to reach the same server.
  let command: (_ words: String) -> String
  /// Called with what is said meanwhile.
  let report: (String) -> Void

  private var path: VirtualDiskPath { VirtualDiskPath(pool: request.pool, name: request.name) }

  func run(_ interruption: Interruption) async throws(APIError) -> CreatedVolume {
    var steps = UndoSteps()
    do throws(APIError) {
      return try await create(interruption, &steps)
    } catch {
      for sentence in await steps.undo() { report(sentence) }
      throw error
    }
  }

  private func create(_ interruption: Interruption, _ steps: inout UndoSteps) async throws(APIError) -> CreatedVolume {
    let (storage, path, devices) = (storage, path, VolumeDevices(storage: storage))
    let uuid = RandomUUID.text()
    // Before anything is made.
    try ToolProcess(words: [kind.creator], package: kind.package).check()
    _ = try await storage.status()
    let disk = try await createDisk()
    steps.add("Virtual disk \(path) is deleted again", command: command("vdisk delete \(path) --yes")) { () async throws(APIError) in
      try await deleteDisk(uuid: disk.uuid)
    }
    try interruption.check()
    _ = try await storage.initPartitionTable(of: path, InitPartitionTable())
    // The virtual disk's name, as far as a partition's can have it.
    _ = try await storage.createPartition(on: path, CreatePartition(label: String(path.name.prefix(36))))
    try interruption.check()
    let name = VolumePath(disk: path, partition: "1")
    let (device, _) = try await devices.attach(name, connections: connections, isShared: false)
    steps.add("\(device.path) is detached again", command: command("volume detach \(name)")) { () async throws(APIError) in
      _ = try await devices.detach(name)
    }
    try interruption.check()
    let creation = kind.creation(device: device.path, label: label, uuid: uuid, on: disk)
    try creation.run(interruption)
    try interruption.check()
    return CreatedVolume(name: "\(name)", device: device.path, kind: kind, label: label, uuid: uuid, mountPoint: "/mnt/\(path.name)")
  }

  private func createDisk() async throws(APIError) -> VirtualDiskInfo {
    do throws(APIError) { return try await storage.createVirtualDisk(request) } catch {
      guard error.code == .timedOut || error.code == .serverUnreachable else { throw error }
      throw APIError(
        error.code, "\(error.message). Virtual disk \(path) may have been made all the same",
        remedy: "See whether it is there: \(command("vdisk show \(path)"))")
    }
  }

  /// Only the one that was made here: meanwhile another may have its name.
  private func deleteDisk(uuid: String) async throws(APIError) {
    let now = try await storage.virtualDisk(at: path)
    guard now.uuid == uuid else {
      throw APIError(.notFound, "\(path) is another virtual disk by now, and is left as it is", remedy: "")
    }
    try await VolumeDevices(storage: storage).waitUntilClosed(path)
    try await storage.deleteVirtualDisk(at: path)
  }
}
