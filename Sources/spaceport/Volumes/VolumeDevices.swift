import Attachment
import CLinux
import Management
import NBDServer

/// Volumes as block devices of this machine.
struct VolumeDevices {
  let storage: any StorageBackend

  /// What is attached for a name: a volume, or a whole virtual disk whether or not it has a table.
  func target(_ path: VolumePath) async throws(APIError) -> AttachTarget {
    let volumes = try await storage.volumes(of: path.disk)
    guard path.partition == nil else {
      let volume = try path.volume(among: volumes)
      return AttachTarget(export: volume.export, sectorBytes: volume.sectorBytes)
    }
    let disk = try await storage.virtualDisk(at: path.disk)
    // Who has it open is told with its volumes; one whose table is empty has none, and is known by its name alone.
    let export = volumes.first?.diskExport ?? ExportInfo(name: "\(path)", identifier: "\(path) \(disk.uuid.lowercased())")
    return AttachTarget(export: export, sectorBytes: disk.logicalSectorBytes)
  }

  /// The same once it is there. What is missing may be on its way: the server, or the pool that waits for its disks.
  func target(_ path: VolumePath, waitSeconds: Int) async throws(APIError) -> AttachTarget {
    let deadline = ContinuousClock.now + .seconds(waitSeconds)
    while true {
      do throws(APIError) { return try await target(path) } catch {
        let mayPass: [APIError.Code] = [.serverUnreachable, .notFound, .wrongState, .busy, .timedOut]
        guard mayPass.contains(error.code), ContinuousClock.now < deadline else { throw error }
        try? await Task.sleep(for: .milliseconds(250))
      }
    }
  }

  /// Attaches it, or finds it attached: then lost connections are made up for.
  func attach(_ target: AttachTarget, connections: Int) async throws(APIError) -> (device: NBDDevice, isNew: Bool) {
    let address = try await address()
    let lock = try AttachmentLock()
    defer { lock.release() }
    guard let device = Attachments.current().devices(of: target.export).first else {
      return (try KernelNBD.connect(target, at: address, count: connections), true)
    }
    if device.identifier != nil { try KernelNBD.reconnect(device, target, at: address, count: connections) }
    return (device, false)
  }

  /// Where the server is reached, by its Unix socket if it has one.
  private func address() async throws(APIError) -> ListenAddress {
    let listeners = try await storage.status().listeners.compactMap { try? ListenAddress(parsing: $0) }
    guard let first = listeners.first(where: \.isLocalSocket) ?? listeners.first else {
      throw APIError(.wrongState, "The server does not serve NBD", remedy: "Start it with --listen")
    }
    return first
  }

  /// Detaches every device of the exports.
  /// - Returns: their paths.
  func detach(_ exports: [ExportInfo]) throws(APIError) -> [String] {
    let lock = try AttachmentLock()
    defer { lock.release() }
    let attachments = Attachments.current()
    let devices = exports.flatMap(attachments.devices)
    // All or none, as far as can be seen before.
    for device in devices { try checkIsUnmounted(device, attachments) }
    for device in devices { try KernelNBD.detach(device, mountPoints: attachments.mountPoints(of: device)) }
    return devices.map(\.path)
  }

  func checkIsUnmounted(_ device: NBDDevice, _ attachments: Attachments) throws(APIError) {
    let mountPoints = attachments.mountPoints(of: device)
    guard let first = mountPoints.first else { return }
    throw APIError(
      .busy, "\(device.path) is mounted at \(mountPoints.joined(separator: ", "))", remedy: "Unmount it first: umount \(first)")
  }

  /// Waits until nobody has the virtual disk open: the kernel has let go, and the server must notice.
  func waitUntilClosed(_ path: VirtualDiskPath) async throws(APIError) {
    for _ in 0..<500 {
      if try await storage.virtualDisk(at: path).clientCount == 0 { return }
      try? await Task.sleep(for: .milliseconds(20))
    }
  }
}

extension ListenAddress {
  fileprivate var isLocalSocket: Bool { if case .unix = self { true } else { false } }
}

/// One at a time attaches and detaches: two that found an export unattached would give it two devices, and both might be mounted.
struct AttachmentLock {
  private static let path = "/run/spaceport-attach.lock"
  private let descriptor: Int32

  init() throws(APIError) {
    descriptor = clinux_open(Self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else {
      let number = clinux_errno()
      throw APIError(
        .permissionDenied, "Attaching and detaching block devices is root's: \(Self.path): \(String(cString: strerror(number)))",
        remedy: "Run the command as root")
    }
  }

  func release() { close(descriptor) }
}
