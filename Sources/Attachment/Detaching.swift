import CLinux
import Management

/// Giving devices back to the kernel.
public enum Detaching {
  /// A device that nobody can mount or otherwise use exclusively as long as this is there.
  private final class HeldDevice {
    let device: NBDDevice
    let descriptor: Int32

    /// - Throws: `APIError` where it is in use, or has become another one since it was looked at.
    init(_ device: NBDDevice) throws(APIError) {
      self.device = device
      // Mounts, swap, RAID and volume managers open a device exclusively as well; a partition's users hold the whole.
      descriptor = clinux_open(device.path, O_RDONLY | O_EXCL | O_CLOEXEC, 0)
      guard descriptor >= 0 else {
        let number = clinux_errno()
        if number != EBUSY { throw KernelNBD.failure("\(device.path) cannot be opened", number) }
        throw APIError(
          .busy, "\(device.path) is in use, by a mount of another namespace, as swap, or by a volume manager",
          remedy: "`lsblk \(device.path)` and `fuser -v \(device.path)` show by whom")
      }
      guard let now = NBDDevice.device(device.name), now.isSame(device) else {
        throw APIError(.wrongState, "\(device.path) is something else than a moment ago", remedy: "Repeat the command")
      }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
  }

  /// What was written back before devices are detached.
  public struct WriteBack: Sendable {
    /// What went wrong, by the device's name. The kernel tells it once.
    fileprivate var errors: [String: Int32] = [:]

    /// Writes back what the kernel holds for devices.
    ///
    /// That takes as long as it takes: there is no limit to it while the server answers, and without a server it ends when the kernel gives up
    /// waiting for one (`AttachmentLimits.deadConnectionTimeoutSeconds`). So nobody should be kept waiting meanwhile who brings new connections.
    public init(_ devices: [NBDDevice]) {
      for device in devices {
        let descriptor = clinux_open(device.path, O_RDONLY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { continue }
        add(descriptor, device)
        close(descriptor)
      }
    }

    fileprivate mutating func add(_ descriptor: Int32, _ device: NBDDevice) {
      if fsync(descriptor) != 0 { errors[device.name] = errors[device.name] ?? clinux_errno() }
    }
  }

  /// Disconnects devices: all, or, as far as can be seen before, none. Refuses while one is in use. Returns when the kernel let go of them.
  /// - Parameters:
  ///   - written: of the same devices, so that little is left to be written.
  ///   - isConnected: whether the server has their connections: then what cannot be written is no lost connection, and the devices are kept.
  public static func detach(_ devices: [NBDDevice], _ written: WriteBack, isConnected: Bool) throws(APIError) {
    var held: [HeldDevice] = []
    for device in devices {
      held.append(try whenFree { () throws(APIError) in try HeldDevice(device) })
      try checkNobodyHasOpen(device)
    }
    var written = written
    var lost: [(path: String, reason: String)] = []
    for one in held {
      // Again, for what came since, now that nothing more can come.
      written.add(one.descriptor, one.device)
      guard let number = written.errors[one.device.name] else { continue }
      let reason = String(cString: strerror(number))
      if isConnected || number == ENOSPC { throw unwritten(one.device, reason) }
      lost.append((one.device.path, reason))
    }
    for one in held { try KernelNBD.disconnect(UInt32(one.device.number), one.device.name) }
    // They stay connected as long as somebody has them open.
    held = []
    for device in devices {
      try KernelNBD.wait("the kernel to let go of \(device.path)") { NBDDevice.device(device.name)?.isSame(device) != true }
    }
    if let first = lost.first {
      throw APIError(
        .ioError,
        "\(lost.map(\.path).joined(separator: " and ")) is detached without its connection, and what the kernel held for it could not be written:"
          + " \(first.reason)", remedy: "Check the file system before it is used")
    }
  }

  private static func unwritten(_ device: NBDDevice, _ reason: String) -> APIError {
    APIError(
      .ioError, "\(device.path) is kept: what the kernel held for it could not be written: \(reason)",
      remedy: "See why, in the server's log and by how full its pool is, mount it again and look what is missing. To give up what was not"
        + " written: nbd-client -d \(device.path)")
  }

  /// Those who have it open without holding it: a program that copies it, a virtual machine. By their descriptors, so as far as this process may see
  /// them: all that are in its process namespace, for root.
  private static func checkNobodyHasOpen(_ device: NBDDevice) throws(APIError) {
    try whenFree { () throws(APIError) in
      guard let process = DeviceUsers.processes(of: device).first else { return }
      throw APIError(
        .busy, "\(device.path) is open in process \(process)", remedy: "End it first: `ps \(process)` shows what it is")
    }
  }

  /// Tries again while something is busy: udev may look into the device just now.
  private static func whenFree<Value>(_ body: () throws(APIError) -> Value) throws(APIError) -> Value {
    for _ in 0..<(AttachmentLimits.closingMilliseconds / AttachmentLimits.lookMilliseconds) {
      do throws(APIError) { return try body() } catch {
        guard error.code == .busy else { throw error }
      }
      usleep(UInt32(AttachmentLimits.lookMilliseconds) * 1000)
    }
    return try body()
  }
}
