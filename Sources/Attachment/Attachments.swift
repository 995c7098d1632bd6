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

  /// Devices of an export.
  /// - Throws: `APIError` where it cannot be told which of several devices is its.
  public func devices(of target: AttachTarget) throws(APIError) -> [NBDDevice] {
    let (known, doubtful) = sorted(target)
    guard let first = doubtful.first else { return known }
    throw APIError(
      .wrongState,
      "\(target.export.name) may be any of \(doubtful.map(\.path).joined(separator: ", ")): process \(first.process) attached all of them",
      remedy: "Detach those that are not needed as they were attached: nbd-client -d \(first.path)")
  }

  /// Those that say so. And such as say nothing, as nbd-client's: by the process that connected both the device and the export. A process's
  /// number may be another's later, so the sizes must agree, the process must have made no device that does speak, and one alone that does not.
  private func sorted(_ target: AttachTarget) -> (known: [NBDDevice], doubtful: [NBDDevice]) {
    let speaking = Set(devices.filter { $0.identifier != nil }.map(\.process))
    let silent = devices.filter {
      $0.identifier == nil && target.export.clientProcesses.contains($0.process) && !speaking.contains($0.process)
        && $0.byteCount == target.byteCount
    }
    let byProcess = Dictionary(grouping: silent, by: \.process)
    let known = devices.filter { $0.identifier == target.export.identifier || byProcess[$0.process] == [$0] }
    return (known, silent.filter { !known.contains($0) })
  }

  /// Devices that say they are an export of this name, whichever server's.
  public func devices(named name: String) -> [NBDDevice] {
    devices.filter { device in
      guard let identifier = device.identifier, identifier.hasPrefix("\(name) ") else { return false }
      // Names may have blanks in them, what stands behind them has none.
      return !identifier.dropFirst(name.count + 1).contains(" ")
    }
  }

  /// Somebody who has an export open and is no device of this machine.
  public enum OtherClient: Equatable, Sendable {
    case process(Int)
    /// So many connections, of another machine or of a device that says nothing.
    case connections(Int)
  }

  /// A process that has connected and is still there has not given its connection to the kernel. Connections whose process has ended are the
  /// devices' where there are any: how many connections a device has nobody tells.
  public func otherClient(of target: AttachTarget, isAlive: (Int) -> Bool = Self.isAlive) -> OtherClient? {
    let known = sorted(target).known
    let processes = Set(known.map(\.process)).union([Int(getpid())])
    if let other = target.export.clientProcesses.first(where: { !processes.contains($0) && isAlive($0) }) { return .process(other) }
    return known.isEmpty && target.export.clientCount > 0 ? .connections(target.export.clientCount) : nil
  }

  public static func isAlive(_ process: Int) -> Bool { kill(pid_t(clamping: process), 0) == 0 || clinux_errno() == EPERM }

  /// Where a volume is: on a device of its own, or a partition of one that is the whole virtual disk. What cannot be told is left out.
  /// - Parameter disk: that virtual disk; nil where it is not known.
  public func attachments(of volume: VolumeInfo, on disk: VirtualDiskInfo?) -> [AttachmentInfo] {
    var found = sorted(AttachTarget(volume)).known.map { attachment($0.path, $0.deviceNumber) }
    guard let number = volume.partition, let disk else { return found }
    for device in sorted(AttachTarget(disk, volumes: [volume])).known {
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
    device.nodes.flatMap { mounts.mounts(of: $0.path, deviceNumber: $0.deviceNumber).map(\.mountPoint) }
  }

  public func checkIsUnmounted(_ device: NBDDevice) throws(APIError) {
    let mountPoints = mountPoints(of: device)
    guard let first = mountPoints.first else { return }
    throw APIError(
      .busy, "\(device.path) is mounted at \(mountPoints.joined(separator: ", "))", remedy: "Unmount it first: umount \(first)")
  }

  /// The volume with what is known of it on this machine. What is mounted knows best how full it is. Asks the mounted file system, so it is not
  /// for the server: that may be what the file system waits for.
  public func completed(_ volume: VolumeInfo, on disk: VirtualDiskInfo?) -> VolumeInfo {
    var volume = volume
    let attachments = attachments(of: volume, on: disk)
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
