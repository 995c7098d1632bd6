import Attachment
import Management

/// Grows a volume as a whole, from the virtual disk to the file system that is mounted. Each step only ever makes something longer and does nothing
/// where that is done: after a failure the same command goes on.
struct VolumeGrowth {
  let storage: any StorageBackend
  let path: VolumePath
  let byteCount: UInt64
  /// Whether others may have it open.
  let isShared: Bool

  /// - Returns: what was done, a sentence each.
  func run(_ interruption: Interruption) async throws(APIError) -> [String] {
    var done: [String] = []
    let disk = try await storage.virtualDisk(at: path.disk)
    guard byteCount >= disk.sizeBytes else {
      throw APIError(
        .badRequest, "\(path.disk) has \(ByteSize(byteCount: disk.sizeBytes)), and volumes do not shrink", remedy: "Give a larger size")
    }
    let before = try await volume()
    let name = try VolumePath(parsing: before.name)
    if byteCount > disk.sizeBytes { try await checkTable(of: before) }
    if !isShared { try await VolumeDevices(storage: storage).checkNobodyElse(name) }
    let devices = try Devices(of: before, on: disk)
    try interruption.check()
    if byteCount > disk.sizeBytes {
      _ = try await storage.resizeVirtualDisk(at: path.disk, ResizeVirtualDisk(sizeBytes: byteCount))
      done.append("Virtual disk \(path.disk) has \(ByteSize(byteCount: byteCount)).")
    }
    try interruption.check()
    done += try await growPartition(before)
    try interruption.check()
    // As it is now, with its partition's new end.
    let volume = try name.volume(among: try await storage.volumes(of: path.disk))
    done += try devices.grow(to: volume, diskByteCount: byteCount)
    try interruption.check()
    return done + (try await growFileSystem(of: volume, interruption))
  }

  /// The one that was named, or the only one there is.
  private func volume() async throws(APIError) -> VolumeInfo {
    let volumes = try await storage.volumesWithoutContent(of: path.disk)
    if path.partition == nil, volumes.count > 1 {
      throw APIError(
        .badRequest, "\(path.disk) has \(volumes.count) partitions", remedy: "Name the one that is to grow: \(path.disk)/PARTITION")
    }
    if path.partition == nil, let only = volumes.first { return only }
    return try path.volume(among: volumes)
  }

  /// Before the virtual disk grows, which cannot be taken back: whether the partition will be able to.
  private func checkTable(of volume: VolumeInfo) async throws(APIError) {
    guard let number = volume.partition else { return }
    let table = try await storage.partitionTable(of: path.disk)
    guard table.kind == .gpt else {
      throw APIError(
        .wrongState, "Nothing was done: partitions grow in a GPT only, and the table of \(path.disk) is another (\(table.kind.rawValue))",
        remedy: "Grow the virtual disk alone, with `spaceport vdisk resize`, and the partition with the tool that made it")
    }
    if let finding = table.findings.first {
      throw APIError(
        .wrongState, "Nothing was done: the partition table of \(path.disk) is not sound: \(finding)",
        remedy: "Mend it first: spaceport partition repair \(path.disk)")
    }
    let own = table.partitions.first { $0.number == number }?.firstSector ?? 0
    guard let behind = table.partitions.first(where: { $0.firstSector > own }) else { return }
    throw APIError(
      .wrongState, "Nothing was done: partition \(behind.number) lies behind partition \(number), which cannot grow over it",
      remedy: "Grow the last partition, or the virtual disk alone with `spaceport vdisk resize`")
  }

  private func growPartition(_ before: VolumeInfo) async throws(APIError) -> [String] {
    guard let number = before.partition else { return [] }
    let table = try await storage.resizePartition(of: path.disk, ResizePartition(partition: "\(number)"))
    let size = table.partitions.first { $0.number == number }?.sizeBytes ?? before.sizeBytes
    return size > before.sizeBytes ? ["Partition \(number) has \(ByteSize(byteCount: size))."] : []
  }

  private func growFileSystem(of volume: VolumeInfo, _ interruption: Interruption) async throws(APIError) -> [String] {
    let again = "repeat the command"
    if let problem = volume.problem {
      throw APIError(
        .ioError, "The file system on \(volume.name) was not grown: what is there is not known: \(problem)",
        remedy: "Repeat the command when that is mended")
    }
    guard let type = volume.content?.type else { return ["There is no file system on \(volume.name) to grow."] }
    guard let kind = FileSystemKind(contentType: type) else {
      return ["What is on \(volume.name), \(type), is left as it is: grow it with its own tools."]
    }
    let attached = Attachments.current().attachments(of: volume, on: try await storage.virtualDisk(at: path.disk))
    guard let attachment = attached.first(where: { !$0.mountPoints.isEmpty }) ?? attached.first else {
      return ["The \(type) on \(volume.name) is left as it is: attach and mount it, then \(again)."]
    }
    let mountPoint = attachment.mountPoints.first
    guard let tools = kind.growth(device: attachment.device, mountPoint: mountPoint) else {
      return ["The \(type) on \(attachment.device) grows while it is mounted only: mount it, then \(again)."]
    }
    if mountPoint == nil {
      // Unmounted here says nothing of elsewhere, and these programs write to it.
      try await VolumeDevices(storage: storage).checkNobodyElse(try VolumePath(parsing: volume.name), remedy: "Then repeat the command")
    }
    for tool in tools { try tool.run(interruption) }
    return ["The \(type) on \(attachment.device) fills it\(mountPoint.map { ", mounted at \($0) as it is" } ?? "")."]
  }
}

extension VolumeGrowth {
  /// The block devices that show a volume. Found before it grows: one that says nothing of itself is known by its size, too.
  private struct Devices {
    var own: [NBDDevice]
    /// Those of the whole virtual disk.
    var whole: [NBDDevice] = []

    init(of volume: VolumeInfo, on disk: VirtualDiskInfo) throws(APIError) {
      let attachments = Attachments.current()
      own = try attachments.devices(of: AttachTarget(volume))
      if volume.partition != nil { whole = try attachments.devices(of: AttachTarget(disk, volumes: [volume])) }
    }

    /// Tells the kernel how large they are.
    func grow(to volume: VolumeInfo, diskByteCount: UInt64) throws(APIError) -> [String] {
      var done: [String] = []
      for device in own where device.byteCount < volume.sizeBytes {
        try KernelNBD.resize(device, to: volume.sizeBytes)
        done.append("\(device.path) has \(ByteSize(byteCount: volume.sizeBytes)).")
      }
      for device in whole {
        if device.byteCount < diskByteCount { try KernelNBD.resize(device, to: diskByteCount) }
        for partition in device.partitions where partition.number == volume.partition && partition.offsetBytes == volume.offsetBytes {
          guard partition.byteCount < volume.sizeBytes else { continue }
          try KernelNBD.resize(partition, of: device, to: volume.sizeBytes)
          done.append("/dev/\(partition.name) has \(ByteSize(byteCount: volume.sizeBytes)).")
        }
      }
      return done
    }
  }
}
