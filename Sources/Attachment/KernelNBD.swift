import CAttach
import CLinux
import Management
import NBDServer

/// What is to be attached.
public struct AttachTarget: Sendable {
  public var export: ExportInfo
  public var sectorBytes: Int

  public init(export: ExportInfo, sectorBytes: Int) {
    self.export = export
    self.sectorBytes = sectorBytes
  }
}

/// The kernel's NBD client. All of it blocks, for at most the limits' time.
public enum KernelNBD {
  /// Connections to an export, until they are closed. The kernel keeps what it was given.
  private struct Connections: ~Copyable {
    var descriptors: [Int32] = []
    var byteCount: UInt64 = 0
    var flags: UInt64 = 0

    deinit { for descriptor in descriptors { close(descriptor) } }
  }

  /// Connects an export to a device that is free.
  public static func connect(_ target: AttachTarget, at address: ListenAddress, count: Int) throws(APIError) -> NBDDevice {
    let connections = try open(target.export.name, at: address, count: count)
    var index: UInt32 = 0
    let export = target.export
    try call("\(export.name) cannot be attached") { message in
      withDevice(connections, export.identifier, byteCount: connections.byteCount) { device in
        device.pointee.block_byte_count = UInt64(target.sectorBytes)
        device.pointee.flags = connections.flags
        device.pointee.timeout_seconds = AttachmentLimits.requestTimeoutSeconds
        device.pointee.dead_connection_timeout_seconds = AttachmentLimits.deadConnectionTimeoutSeconds
        return cattach_device_connect(device, &index, message)
      }
    }
    let name = "nbd\(index)"
    do throws(APIError) { return try appeared(name, byteCount: connections.byteCount) } catch {
      try? disconnect(index, name)
      throw error
    }
  }

  /// Gives a device new connections where it has lost some, as when the server was restarted. What is whole stays as it is.
  public static func reconnect(_ device: NBDDevice, _ target: AttachTarget, at address: ListenAddress, count: Int) throws(APIError) {
    let connections = try open(target.export.name, at: address, count: count)
    guard connections.byteCount >= device.byteCount else {
      throw APIError(
        .wrongState, "\(device.path) is larger than \(target.export.name) is now", remedy: "Detach it, and look at what is on the volume")
    }
    try call("\(device.path) cannot be connected again") { message in
      withDevice(connections, device.identifier, byteCount: 0) { cattach_device_reconfigure($0, UInt32(device.number), message) }
    }
  }

  /// Tells the kernel that an export has grown, which the server must have done. Returns when the device shows it.
  public static func resize(_ device: NBDDevice, to byteCount: UInt64) throws(APIError) {
    try call("The kernel does not change the size of \(device.path)") { message in
      withDevice(Connections(), device.identifier, byteCount: byteCount) {
        cattach_device_reconfigure($0, UInt32(device.number), message)
      }
    }
    _ = try appeared(device.name, byteCount: byteCount)
  }

  /// Tells the kernel where a partition of a device ends, though it may be mounted.
  public static func resize(_ partition: NBDDevice.Partition, of device: NBDDevice, to byteCount: UInt64) throws(APIError) {
    let descriptor = clinux_open(device.path, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw failure("\(device.path) cannot be opened", clinux_errno()) }
    defer { close(descriptor) }
    let result = cattach_partition_resize(descriptor, Int32(partition.number), partition.offsetBytes, byteCount)
    if result < 0 { throw failure("The kernel does not change the size of /dev/\(partition.name)", -result) }
  }

  /// Writes back what the kernel holds for a device, and disconnects it. Refuses while it is in use. Returns when the kernel let go of it.
  public static func detach(_ device: NBDDevice, mountPoints: [String]) throws(APIError) {
    if let first = mountPoints.first {
      throw APIError(
        .busy, "\(device.path) is mounted at \(mountPoints.joined(separator: ", "))", remedy: "Unmount it first: umount \(first)")
    }
    // Nobody can mount it as long as this is open: mounts, swap, RAID and volume managers open it exclusively as well.
    let descriptor = clinux_open(device.path, O_RDONLY | O_EXCL | O_CLOEXEC, 0)
    guard descriptor >= 0 else {
      let number = clinux_errno()
      if number != EBUSY { throw failure("\(device.path) cannot be opened", number) }
      throw APIError(
        .busy, "\(device.path) is in use, by a mount of another namespace, as swap, or by a volume manager",
        remedy: "`lsblk \(device.path)` and `fuser -v \(device.path)` show by whom")
    }
    // On a device that has lost its server this fails, and there is nothing to be saved any more.
    let synchronised = fsync(descriptor) == 0
    do throws(APIError) { try disconnect(UInt32(device.number), device.name) } catch {
      close(descriptor)
      throw error
    }
    close(descriptor)
    try wait("the kernel to let go of \(device.path)") { NBDDevice.device(device.name) == nil }
    if !synchronised {
      throw APIError(
        .ioError, "\(device.path) is detached, but what the kernel held for it could not be written: the connection was lost",
        remedy: "Check the file system before it is used")
    }
  }

  // MARK: Parts

  private static func open(_ export: String, at address: ListenAddress, count: Int) throws(APIError) -> Connections {
    var connections = Connections()
    for _ in 0..<count {
      var connection = cattach_connection(descriptor: -1, byte_count: 0, flags: 0)
      try call("No connection to the export \(export) at \(address)") { message in
        switch address {
        case .unix(let path): cattach_connect(path, nil, nil, export, AttachmentLimits.handshakeMilliseconds, &connection, message)
        case .tcp(let host, let port):
          cattach_connect(nil, host, "\(port)", export, AttachmentLimits.handshakeMilliseconds, &connection, message)
        }
      }
      connections.descriptors.append(connection.descriptor)
      connections.byteCount = connection.byte_count
      connections.flags = connection.flags
    }
    return connections
  }

  private static func disconnect(_ index: UInt32, _ name: String) throws(APIError) {
    try call("/dev/\(name) cannot be detached") { cattach_device_disconnect(index, $0) }
  }

  /// The device, once it has the size and can be opened. Opening it makes the kernel look for partitions.
  private static func appeared(_ name: String, byteCount: UInt64) throws(APIError) -> NBDDevice {
    try wait("/dev/\(name) to appear with \(byteCount) bytes") {
      guard NBDDevice.device(name)?.byteCount == byteCount else { return false }
      let descriptor = clinux_open("/dev/\(name)", O_RDONLY | O_CLOEXEC, 0)
      if descriptor >= 0 { close(descriptor) }
      return descriptor >= 0
    }
    guard let device = NBDDevice.device(name) else {
      throw APIError(.ioError, "/dev/\(name) lost its connection at once", remedy: "The kernel's log (dmesg) says why")
    }
    return device
  }

  private static func wait(_ what: String, _ condition: () -> Bool) throws(APIError) {
    for _ in 0..<(AttachmentLimits.deviceMilliseconds / AttachmentLimits.lookMilliseconds) {
      if condition() { return }
      usleep(UInt32(AttachmentLimits.lookMilliseconds) * 1000)
    }
    throw APIError(
      .timedOut, "Waited \(AttachmentLimits.deviceMilliseconds / 1000) s in vain for \(what)", remedy: "The kernel's log (dmesg) says why")
  }

  private static func withDevice(
    _ connections: borrowing Connections, _ identifier: String?, byteCount: UInt64,
    _ body: (UnsafeMutablePointer<cattach_device>) -> Int32
  ) -> Int32 {
    connections.descriptors.withUnsafeBufferPointer { descriptors in
      var device = cattach_device()
      device.descriptors = descriptors.baseAddress
      device.descriptor_count = Int32(descriptors.count)
      device.byte_count = byteCount
      guard let identifier else { return body(&device) }
      return identifier.withCString {
        device.identifier = $0
        return body(&device)
      }
    }
  }

  /// Runs a call of CAttach's and explains its failure.
  private static func call(_ what: String, _ body: (UnsafeMutablePointer<CChar>) -> Int32) throws(APIError) {
    var message = [CChar](repeating: 0, count: Int(CATTACH_MESSAGE_BYTES))
    let result = message.withUnsafeMutableBufferPointer { body($0.baseAddress!) }  // not empty
    let reason = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    switch Int(result) {
    case Int(CATTACH_OK): return
    case Int(CATTACH_NO_MODULE):
      throw APIError(.notSupported, "\(what): this kernel's NBD client is not loaded", remedy: "Load it as root: modprobe nbd")
    case Int(CATTACH_NOT_PERMITTED):
      throw APIError(.permissionDenied, "\(what): the kernel lets only root do this", remedy: "Run the command as root")
    case Int(CATTACH_NO_LIBRARY):
      throw APIError(.notSupported, "\(what): libnbd is not there (\(reason))", remedy: "Install it: apt-get install libnbd0")
    case Int(CATTACH_TIMED_OUT):
      throw APIError(.timedOut, "\(what): the server does not answer", remedy: "Look at its log")
    default:
      throw APIError(.ioError, "\(what): \(reason)", remedy: "The kernel's log (dmesg) and the server's may say more")
    }
  }

  private static func failure(_ what: String, _ number: Int32) -> APIError {
    let remedy = number == EACCES || number == EPERM ? "Run the command as root" : "The kernel's log (dmesg) may say more"
    return APIError(
      number == EACCES || number == EPERM ? .permissionDenied : .ioError,
      "\(what): \(String(cString: strerror(number)))", remedy: remedy)
  }
}
