import Attachment
import Management

/// Grows a volume as a whole, from the virtual disk to the file system that is mounted. Each step only ever makes something longer and does nothing
/// where that is done: after a failure the same command goes on.
struct VolumeGrowth {
  let storage: any StorageBackend
  let path: VolumePath
  let byteCount: UInt64

  /// - Returns: what was done, a sentence each.
  func run(_ interruption: Interruption) async throws(APIError) -> [String] {
    var done: [String] = []
    let disk = try await storage.virtualDisk(at: path.disk)
    guard byteCount >= disk.sizeBytes else {
      throw APIError(
        .badRequest, "\(path.disk) has \(ByteSize(byteCount: disk.sizeBytes)), and volumes do not shrink", remedy: "Give a larger size")
    }
    let name = try await volume().name
    if byteCount > disk.sizeBytes {
      _ = try await storage.resizeVirtualDisk(at: path.disk, ResizeVirtualDisk(sizeBytes: byteCount))
      done.append("Virtual disk \(path.disk) has \(ByteSize(byteCount: byteCount)).")
    }
    try interruption.check()
    done += try await growPartition()
    try interruption.check()
    // As it is now, with its partition's new end.
    let volume = try VolumePath(parsing: name).volume(among: try await storage.volumes(of: path.disk))
    done += try growDevices(of: volume)
    try interruption.check()
    return done + (try growFileSystem(of: volume, interruption))
  }

  /// The one that was named, or the only one there is.
  private func volume() async throws(APIError) -> VolumeInfo {
    let volumes = try await storage.volumes(of: path.disk)
    if path.partition == nil, volumes.count > 1 {
      throw APIError(
        .badRequest, "\(path.disk) has \(volumes.count) partitions", remedy: "Name the one that is to grow: \(path.disk)/PARTITION")
    }
    if path.partition == nil, let only = volumes.first { return only }
    return try path.volume(among: volumes)
  }

  private func growPartition() async throws(APIError) -> [String] {
    let before = try await volume()
    guard let number = before.partition else { return [] }
    let table = try await storage.resizePartition(of: path.disk, ResizePartition(partition: "\(number)"))
    let size = table.partitions.first { $0.number == number }?.sizeBytes ?? before.sizeBytes
    return size > before.sizeBytes ? ["Partition \(number) has \(ByteSize(byteCount: size))."] : []
  }

  /// What the kernel takes for the size of devices: of the volume's own, and of those of the whole virtual disk with its partition on them.
  private func growDevices(of volume: VolumeInfo) throws(APIError) -> [String] {
    let attachments = Attachments.current()
    var done: [String] = []
    for device in attachments.devices(of: volume.export) where device.byteCount < volume.sizeBytes {
      try KernelNBD.resize(device, to: volume.sizeBytes)
      done.append("\(device.path) has \(ByteSize(byteCount: volume.sizeBytes)).")
    }
    guard let number = volume.partition else { return done }
    for device in attachments.devices(of: volume.diskExport) {
      if device.byteCount < byteCount { try KernelNBD.resize(device, to: byteCount) }
      for partition in device.partitions where partition.number == number && partition.offsetBytes == volume.offsetBytes {
        guard partition.byteCount < volume.sizeBytes else { continue }
        try KernelNBD.resize(partition, of: device, to: volume.sizeBytes)
        done.append("/dev/\(partition.name) has \(ByteSize(byteCount: volume.sizeBytes)).")
      }
    }
    return done
  }

  private func growFileSystem(of volume: VolumeInfo, _ interruption: Interruption) throws(APIError) -> [String] {
    let again = "repeat the command"
    guard let type = volume.content?.type else { return ["There is no file system on \(volume.name) to grow."] }
    let kinds: [String: FileSystemKind] = ["ext2": .ext4, "ext3": .ext4, "ext4": .ext4, "xfs": .xfs, "btrfs": .btrfs]
    guard let kind = kinds[type] else { return ["What is on \(volume.name), \(type), is left as it is: grow it with its own tools."] }
    let attached = Attachments.current().attachments(of: volume)
    guard let attachment = attached.first(where: { !$0.mountPoints.isEmpty }) ?? attached.first else {
      return ["The \(type) on \(volume.name) is left as it is: attach and mount it, then \(again)."]
    }
    let mountPoint = attachment.mountPoints.first
    guard let tools = kind.growth(device: attachment.device, mountPoint: mountPoint) else {
      return ["The \(type) on \(attachment.device) grows while it is mounted only: mount it, then \(again)."]
    }
    for tool in tools { try tool.run(interruption, accepting: tool.words[0] == "e2fsck" ? 0...1 : 0...0) }
    return ["The \(type) on \(attachment.device) fills it\(mountPoint.map { ", mounted at \($0) as it is" } ?? "")."]
  }
}
