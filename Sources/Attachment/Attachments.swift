import CLinux
import Management

/// Which of this machine's block devices are a server's exports.
public struct Attachments: Sendable {
  public var devices: [NBDDevice]
  public var mounts: MountTable

  public init(devices: [NBDDevice], mounts: MountTable) {
    self.devices = devices
    self.mounts = mounts
  }

  public static func current() -> Attachments { Attachments(devices: NBDDevice.all(), mounts: .current()) }

  /// Devices of an export: those that say so, and those whose process is connected to it. A process's number may be given to another one later;
  /// so it counts only where nothing else is said.
  public func devices(of export: ExportInfo) -> [NBDDevice] {
    devices.filter { device in
      if let identifier = device.identifier { return identifier == export.identifier }
      return export.clientProcesses.contains(device.process)
    }
  }

  /// Where a volume is: on a device of its own, or a partition of one that is the whole virtual disk.
  public func attachments(of volume: VolumeInfo) -> [AttachmentInfo] {
    var found = devices(of: volume.export).map { attachment($0.path, $0.deviceNumber) }
    guard let number = volume.partition else { return found }
    for device in devices(of: volume.diskExport) {
      for partition in device.partitions where partition.number == number && partition.offsetBytes == volume.offsetBytes {
        found.append(attachment("/dev/\(partition.name)", partition.deviceNumber))
      }
    }
    return found
  }

  private func attachment(_ path: String, _ deviceNumber: String) -> AttachmentInfo {
    AttachmentInfo(device: path, mountPoints: mounts.mounts(of: path, deviceNumber: deviceNumber).map(\.mountPoint))
  }

  /// Where a device, or one of its partitions, is mounted.
  public func mountPoints(of device: NBDDevice) -> [String] {
    let all = [(device.path, device.deviceNumber)] + device.partitions.map { ("/dev/\($0.name)", $0.deviceNumber) }
    return all.flatMap { mounts.mounts(of: $0.0, deviceNumber: $0.1).map(\.mountPoint) }
  }

  /// The volume with what is known of it on this machine. What is mounted knows best how full it is. Asks the mounted file system, so it is not
  /// for the server: that may be what the file system waits for.
  public func completed(_ volume: VolumeInfo) -> VolumeInfo {
    var volume = volume
    let attachments = attachments(of: volume)
    volume.attachments = attachments
    if let mountPoint = attachments.flatMap(\.mountPoints).first, let usage = Self.usage(at: mountPoint) {
      volume.content?.usedBytes = usage.used
      volume.content?.freeBytes = usage.free
    }
    return volume
  }

  private static func usage(at path: String) -> (used: UInt64, free: UInt64)? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    let block = UInt64(status.f_frsize)
    let (free, overflow) = UInt64(status.f_bfree).multipliedReportingOverflow(by: block)
    let (total, overflowToo) = UInt64(status.f_blocks).multipliedReportingOverflow(by: block)
    return overflow || overflowToo || free > total ? nil : (total - free, free)
  }
}
