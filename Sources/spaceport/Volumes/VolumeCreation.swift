import Attachment
import Management

/// A volume that was made, and how to mount it.
struct CreatedVolume: Encodable, Sendable {
  var name: String
  var device: String
  var fileSystem: String
  var label: String?
  var uuid: String
  /// A line for /etc/fstab.
  var fstab: String

  init(name: String, device: String, kind: FileSystemKind, label: String?, uuid: String, mountPoint: String) {
    self.name = name
    self.device = device
    fileSystem = kind.rawValue
    self.label = label
    self.uuid = uuid
    // Of these only ext4 is checked before it is mounted.
    fstab =
      "UUID=\(uuid) \(mountPoint) \(kind.rawValue) _netdev,nofail,x-systemd.requires=\(VolumePath.unitName(of: name)) 0 \(kind == .ext4 ? 2 : 0)"
  }
}

/// Makes a volume: virtual disk, partition table, partition, block device, file system. When one of it fails, nothing is left.
struct VolumeCreation {
  let storage: any StorageBackend
  let request: CreateVirtualDisk
  let kind: FileSystemKind
  let label: String?
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
    let trial = ToolProcess(words: ["mkfs.\(kind.rawValue)"])
    try trial.check()
    let disk = try await storage.createVirtualDisk(request)
    steps.add("Virtual disk \(path) is deleted again", command: "spaceport vdisk delete \(path) --yes") { () async throws(APIError) in
      try await devices.waitUntilClosed(path)
      try await storage.deleteVirtualDisk(at: path)
    }
    try interruption.check()
    _ = try await storage.initPartitionTable(of: path, InitPartitionTable())
    // The virtual disk's name, as far as a partition's can have it.
    _ = try await storage.createPartition(on: path, CreatePartition(label: String(path.name.prefix(36))))
    try interruption.check()
    let name = VolumePath(disk: path, partition: "1")
    let target = try await devices.target(name)
    let (device, _) = try await devices.attach(target, connections: AttachmentLimits.connections)
    steps.add("\(device.path) is detached again", command: "spaceport volume detach \(name)") { () async throws(APIError) in
      _ = try devices.detach([target.export])
    }
    try interruption.check()
    let creation = kind.creation(device: device.path, label: label, uuid: uuid, on: disk)
    try creation.run(interruption)
    try interruption.check()
    return CreatedVolume(name: "\(name)", device: device.path, kind: kind, label: label, uuid: uuid, mountPoint: "/mnt/\(path.name)")
  }
}

/// File systems get theirs from us, so that the fstab line is known.
enum RandomUUID {
  /// RFC 9562, version 4.
  static func text() -> String {
    var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
    bytes[6] = bytes[6] & 0x0F | 0x40
    bytes[8] = bytes[8] & 0x3F | 0x80
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
  }
}
