import Attachment
import Management
import NBDServer

/// Volumes as block devices of this machine.
struct VolumeDevices {
  let storage: any StorageBackend

  /// What a name stands for now.
  struct Named {
    var target: AttachTarget
    /// Exports that lie over the same bytes: of a partition the whole virtual disk, of that its partitions.
    var overlapping: [AttachTarget]

    var all: [AttachTarget] { [target] + overlapping }
  }

  /// A volume, or a whole virtual disk whether or not it has a table.
  func named(_ path: VolumePath) async throws(APIError) -> Named {
    let volumes = try await storage.volumesWithoutContent(of: path.disk)
    let disk = AttachTarget(try await storage.virtualDisk(at: path.disk), volumes: volumes)
    guard path.partition != nil else {
      return Named(target: disk, overlapping: volumes.filter { $0.partition != nil }.map { AttachTarget($0) })
    }
    return Named(target: AttachTarget(try path.volume(among: volumes)), overlapping: [disk])
  }

  /// Waits until it is there. What is missing may be on its way: the server, or the pool that waits for its disks.
  func waitFor(_ path: VolumePath, seconds: Int) async throws(APIError) {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      do throws(APIError) {
        _ = try await named(path)
        return
      } catch {
        let mayPass: [APIError.Code] = [.serverUnreachable, .notFound, .wrongState, .busy, .timedOut]
        guard seconds > 0, mayPass.contains(error.code) else { throw error }
        guard ContinuousClock.now < deadline else {
          throw APIError(error.code, "Waited \(seconds) s in vain for \(path). \(error.message)", remedy: error.remedy)
        }
        try? await Task.sleep(for: .milliseconds(AttachmentLimits.startAskMilliseconds))
      }
    }
  }

  /// Attaches it, or finds it attached: then lost connections are made up for.
  /// - Parameter isShared: whether others may have it open. A file system that is not made for that is destroyed by it.
  func attach(_ path: VolumePath, connections count: Int, isShared: Bool) async throws(APIError) -> (device: NBDDevice, isNew: Bool) {
    let address = try await address()
    let lock = try AttachmentLock()
    defer { lock.release() }
    let target = try await named(path).target
    let devices = try Attachments.current().devices(of: target)
    if devices.count > 1 {
      throw APIError(
        .wrongState, "\(target.export.name) is attached more than once: \(devices.map(\.path).joined(separator: ", "))",
        remedy: "Detach it: spaceport volume detach \(path)")
    }
    if let device = devices.first, device.identifier == nil { return (device, false) }
    if devices.isEmpty && !isShared { try await checkNobodyElse(path) }
    func connect() async throws(APIError) -> NBDConnections {
      let connections = try NBDConnections(to: target.export.name, at: address, count: count)
      // What had the name may have been deleted before these were made, and another have it now.
      guard try await named(path).target.export.identifier == target.export.identifier else {
        throw APIError(.wrongState, "\(path) is another volume than a moment ago", remedy: "Repeat the command if it is the one you mean")
      }
      return connections
    }
    guard let device = devices.first else { return (try await KernelNBD.connect(target, by: connect), true) }
    try KernelNBD.reconnect(device, target, by: try await connect())
    return (device, false)
  }

  /// Where the server is reached, by its Unix socket if it has one.
  private func address() async throws(APIError) -> ListenAddress {
    let status = try await storage.status()
    if status.tls == .required {
      throw APIError(
        .wrongState, "The server takes encrypted connections only, and the kernel's client that block devices need has no TLS",
        remedy: "Start it with --tls offer; `spaceport export set` says which exports still want a proof of who asks")
    }
    let listeners = status.listeners.compactMap { try? ListenAddress(parsing: $0) }
    guard let first = listeners.first(where: \.isLocalSocket) ?? listeners.first else {
      throw APIError(.wrongState, "The server does not serve NBD", remedy: "Start it with --listen")
    }
    return first
  }

  /// Detaches every device of a volume.
  /// - Returns: their paths.
  func detach(_ path: VolumePath) async throws(APIError) -> [String] {
    let written = try await writeBack { () async throws(APIError) in try await attached(path).devices }
    let lock = try AttachmentLock()
    defer { lock.release() }
    let (devices, isConnected) = try await attached(path)
    return try detach(devices, written, isConnected: isConnected)
  }

  /// The same for several exports at once: all or none, as far as can be seen before.
  func detach(_ targets: [AttachTarget]) async throws(APIError) -> [String] {
    func devices() throws(APIError) -> [NBDDevice] {
      let attachments = Attachments.current()
      var devices: [NBDDevice] = []
      for target in targets { devices += try attachments.devices(of: target) }
      return devices
    }
    let written = try await writeBack { () async throws(APIError) in try devices() }
    let lock = try AttachmentLock()
    defer { lock.release() }
    return try detach(try devices(), written, isConnected: targets.contains { $0.export.clientCount > 0 })
  }

  /// Without the lock: it may take long where the server is away, and who holds the lock keeps others from giving their devices new connections.
  private func writeBack(_ devices: () async throws(APIError) -> [NBDDevice]) async throws(APIError) -> Detaching.WriteBack {
    let devices = try await devices()
    for device in devices { try Attachments.current().checkIsUnmounted(device) }
    return Detaching.WriteBack(devices)
  }

  private func detach(_ devices: [NBDDevice], _ written: Detaching.WriteBack, isConnected: Bool) throws(APIError) -> [String] {
    let attachments = Attachments.current()
    for device in devices { try attachments.checkIsUnmounted(device) }
    try Detaching.detach(devices, written, isConnected: isConnected)
    return devices.map(\.path)
  }

  /// The devices of a volume. Where the server is not there, or does not know the volume, and so cannot tell which these are: those that say so.
  private func attached(_ path: VolumePath) async throws(APIError) -> (devices: [NBDDevice], isConnected: Bool) {
    let target: AttachTarget
    do throws(APIError) { target = try await named(path).target } catch {
      return (try attached(path, without: error), false)
    }
    return (try Attachments.current().devices(of: target), target.export.clientCount > 0)
  }

  private func attached(_ path: VolumePath, without error: APIError) throws(APIError) -> [NBDDevice] {
    let devices = Attachments.current().devices(named: "\(path)")
    guard [.serverUnreachable, .timedOut, .notFound, .wrongState].contains(error.code), !devices.isEmpty else { throw error }
    guard Set(devices.map(\.identifier)).count == 1 else {
      throw APIError(
        error.code, "\(error.message), and \(devices.map(\.path).joined(separator: " and ")) are different volumes of that name",
        remedy: error.remedy)
    }
    return devices
  }

  /// Refuses where others than this machine's devices have a volume open, or what lies over the same bytes.
  func checkNobodyElse(_ path: VolumePath, remedy: String = "Or give --shared, if what is on it is made for that") async throws(APIError) {
    var found: (name: String, client: Attachments.OtherClient)?
    // The server may have yet to notice that a connection is closed.
    let isFree = try await becomes(withinMilliseconds: AttachmentLimits.closingMilliseconds) { () async throws(APIError) in
      found = nil
      let attachments = Attachments.current()
      for target in try await named(path).all {
        if let client = attachments.otherClient(of: target) { found = (target.export.name, client) }
      }
      return found == nil
    }
    guard !isFree, let found else { return }
    switch found.client {
    case .process(let process):
      throw APIError(
        .busy, "\(found.name) is open in another program, process \(process)",
        remedy: "End it first: `ps \(process)` shows what it is. \(remedy)")
    case .connections(let count):
      throw APIError(
        .busy,
        "\(found.name) is open elsewhere: it has \(count) connection\(count == 1 ? "" : "s") that no device of this machine accounts for",
        remedy: "Close it there first. \(remedy)")
    }
  }

  /// Waits until nobody has the virtual disk open: the kernel has let go, and the server must notice.
  func waitUntilClosed(_ path: VirtualDiskPath) async throws(APIError) {
    let isClosed = try await becomes(withinMilliseconds: AttachmentLimits.closedMilliseconds) { () async throws(APIError) in
      try await storage.virtualDisk(at: path).clientCount == 0
    }
    if isClosed { return }
    throw APIError(
      .timedOut, "Waited \(AttachmentLimits.closedMilliseconds / 1000) s in vain for \(path) to be closed by its clients",
      remedy: "`spaceport vdisk show \(path)` counts them")
  }
}

extension VolumeDevices {
  /// Asks the server until something is so, at least once.
  private func becomes(withinMilliseconds limit: Int, _ condition: () async throws(APIError) -> Bool) async throws(APIError) -> Bool {
    let deadline = ContinuousClock.now + .milliseconds(limit)
    while true {
      if try await condition() { return true }
      if ContinuousClock.now >= deadline { return false }
      try? await Task.sleep(for: .milliseconds(AttachmentLimits.askMilliseconds))
    }
  }
}

extension ListenAddress {
  fileprivate var isLocalSocket: Bool { if case .unix = self { true } else { false } }
}
