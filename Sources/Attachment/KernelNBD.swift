import CAttach
import CLinux
import Management

/// The kernel's NBD client. All of it blocks, for at most the limits' time.
public enum KernelNBD {
  /// Connects an export to a device that is free.
  /// - Parameter connect: makes the connections, anew for each attempt.
  public static func connect(
    _ target: AttachTarget, by connect: () async throws(APIError) -> NBDConnections
  ) async throws(APIError) -> NBDDevice {
    for _ in 1..<AttachmentLimits.connectAttempts {
      if let device = try self.connect(target, by: try await connect(), evenIfPartly: false) { return device }
    }
    // A connection that nobody receives on is lost with its first request, after the time limit of requests; the others then do the work.
    guard let device = try self.connect(target, by: try await connect(), evenIfPartly: true) else {
      preconditionFailure("a device that is received on in part was to do")
    }
    return device
  }

  /// - Returns: nil where the kernel does not receive on all of the connections, unless that shall do.
  private static func connect(
    _ target: AttachTarget, by connections: borrowing NBDConnections, evenIfPartly: Bool
  ) throws(APIError) -> NBDDevice? {
    var index: UInt32 = 0
    let export = target.export
    let (byteCount, flags) = (connections.byteCount, connections.flags)
    try call("\(export.name) cannot be attached") { message in
      withDevice(connections, export.identifier, byteCount: byteCount) { device in
        device.pointee.block_byte_count = UInt64(target.sectorBytes)
        device.pointee.flags = flags
        device.pointee.timeout_seconds = AttachmentLimits.requestTimeoutSeconds
        device.pointee.dead_connection_timeout_seconds = AttachmentLimits.deadConnectionTimeoutSeconds
        return cattach_device_connect(device, &index, message)
      }
    }
    let name = "nbd\(index)"
    // Before the first request, which opening the device sends.
    if !evenIfPartly && !Receivers(device: name).areThere(for: connections.descriptors.count) {
      try disconnect(index, name)
      return nil
    }
    do throws(APIError) { return try appeared(name, byteCount: byteCount) } catch {
      try? disconnect(index, name)
      throw error
    }
  }

  /// Gives a device new connections where it has lost some, as when the server was restarted. What is whole stays as it is.
  public static func reconnect(_ device: NBDDevice, _ target: AttachTarget, by connections: borrowing NBDConnections) throws(APIError) {
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
    let none = NBDConnections()
    try call("The kernel does not change the size of \(device.path)") { message in
      withDevice(none, device.identifier, byteCount: byteCount) { cattach_device_reconfigure($0, UInt32(device.number), message) }
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

  // MARK: Parts

  static func disconnect(_ index: UInt32, _ name: String) throws(APIError) {
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

  static func wait(_ what: String, _ condition: () -> Bool) throws(APIError) {
    for _ in 0..<(AttachmentLimits.deviceMilliseconds / AttachmentLimits.lookMilliseconds) {
      if condition() { return }
      usleep(UInt32(AttachmentLimits.lookMilliseconds) * 1000)
    }
    throw APIError(
      .timedOut, "Waited \(AttachmentLimits.deviceMilliseconds / 1000) s in vain for \(what)", remedy: "The kernel's log (dmesg) says why")
  }

  private static func withDevice(
    _ connections: borrowing NBDConnections, _ identifier: String?, byteCount: UInt64,
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
  static func call(_ what: String, _ body: (UnsafeMutablePointer<CChar>) -> Int32) throws(APIError) {
    var message = [CChar](repeating: 0, count: Int(CATTACH_MESSAGE_BYTES))
    let result = message.withUnsafeMutableBufferPointer { body($0.baseAddress!) }  // not empty
    let reason = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    switch Int(result) {
    case Int(CATTACH_OK): return
    case Int(CATTACH_NO_MODULE):
      throw APIError(
        .notSupported, "\(what): this kernel's NBD client is not loaded",
        remedy: "Load it as root: modprobe nbd. Where there is no such module, install the distribution's own kernel")
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

  static func failure(_ what: String, _ number: Int32) -> APIError {
    let isForbidden = number == EACCES || number == EPERM
    return APIError(
      isForbidden ? .permissionDenied : .ioError, "\(what): \(String(cString: strerror(number)))",
      remedy: isForbidden ? "Run the command as root" : "The kernel's log (dmesg) may say more")
  }
}
