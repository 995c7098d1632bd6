import CLinux
import Glibc
import Reactor

/// Why a disk cannot be pooled as it is; the description says what to do.
public enum PoolingObstacle: Equatable, Sendable, CustomStringConvertible {
  case inPool(name: String)
  /// By whom or for what.
  case inUse(String)
  /// Something of someone's lies on it.
  case carriesData([FoundSignature])
  case insufficientCapacity(byteCount: UInt64, minimum: UInt64)
  case readOnly
  case noPermission
  /// No medium, no answer.
  case offline(String)

  public var description: String {
    switch self {
    case .inPool(let name): "In a pool: \(name)"
    case .inUse(let use): "In use: \(use)"
    case .carriesData(let found):
      "Carries data: \(found.map(\.description).joined(separator: ", ")). Pool it with --force if that may be erased"
    case .insufficientCapacity(let byteCount, let minimum): "Insufficient capacity: \(byteCount) bytes, at least \(minimum) are needed"
    case .readOnly: "Read-only"
    case .noPermission: "No permission: this user may not read and write it"
    case .offline(let reason): "Offline: \(reason)"
    }
  }
}

/// A disk that could be pooled, or the reasons why it could not.
public struct DiskCandidate: Sendable {
  public var path: String
  public var identity: DiskIdentity
  public var kind: DiskKind
  public var byteCount: UInt64
  public var isRotational: Bool
  public var model: String?
  public var serial: String?
  /// nil when it could not be read.
  public var content: DiskSignatures?
  public var obstacles: [PoolingObstacle]

  public var canBePooled: Bool { obstacles.isEmpty }
}

/// Looks for disks: the machine's block devices, or what lies in a directory. Nothing is changed, and a claim is tried only for a moment.
public struct DiskScanner: Sendable {
  /// Type GUIDs, lower case, of partitions that say "this disk is pooled"; the partition's name is the pool's.
  public var poolPartitionTypes: Set<String>
  /// The smallest disk that a pool takes, in bytes.
  public var minimumByteCount: UInt64

  public init(poolPartitionTypes: Set<String>, minimumByteCount: UInt64) {
    self.poolPartitionTypes = poolPartitionTypes
    self.minimumByteCount = minimumByteCount
  }

  // MARK: From a reactor

  /// The machine's disks and their partitions, in the order of their names; loop and RAM disks only when something is behind them.
  public func blockDevices(on blocking: BlockingCalls) async -> [DiskCandidate] {
    await blocking.perform {
      candidates(at: DiskScanner.blockDevicePaths()).filter { $0.byteCount > 0 || !DiskScanner.isVirtual($0.path) }
    }
  }

  /// Regular files and block devices that lie in `directory` or are linked to there; each disk once.
  public func disks(in directory: String, on blocking: BlockingCalls) async throws(DiskOpenError) -> [DiskCandidate] {
    let result = await blocking.perform { () -> Result<[DiskCandidate], DiskOpenError> in
      guard let names = SystemText.names(in: directory) else { return .failure(.system(directory, errno, doing: "listing it")) }
      return .success(candidates(at: names.map { directory.hasSuffix("/") ? directory + $0 : "\(directory)/\($0)" }))
    }
    return try result.get()
  }

  // MARK: Blocking

  private func candidates(at paths: [String]) -> [DiskCandidate] {
    var seen = Set<DiskIdentity>()
    return paths.compactMap { path in
      guard let identity = DiskIdentity.of(path: path), seen.insert(identity).inserted else { return nil }
      return examine(path)
    }
  }

  private static func blockDevicePaths() -> [String] {
    var paths: [String] = []
    for disk in SystemText.names(in: "/sys/block") ?? [] {
      let directory = "/sys/block/\(disk)"
      let partitions = (SystemText.names(in: directory) ?? []).filter { access("\(directory)/\($0)/partition", F_OK) == 0 }
      // A slash in a device's name is a "!" in /sys: cciss!c0d0.
      for name in [disk] + partitions { paths.append("/dev/" + String(name.map { $0 == "!" ? "/" : $0 })) }
    }
    return paths
  }

  /// Devices of these kinds exist before anything is behind them.
  private static func isVirtual(_ path: String) -> Bool { ["loop", "ram", "zram"].contains { path.hasPrefix("/dev/" + $0) } }

  func examine(_ path: String) -> DiskCandidate? {
    var status = stat()
    guard stat(path, &status) == 0, let identity = DiskIdentity(status) else { return nil }
    var candidate: DiskCandidate
    switch identity {
    case .file:
      let device = SystemBlockDevice(number: UInt64(status.st_dev))
      candidate = DiskCandidate(
        path: path, identity: identity, kind: .file, byteCount: UInt64(max(0, status.st_size)), isRotational: device.isRotational ?? false,
        obstacles: [])
    case .blockDevice(let number):
      let device = SystemBlockDevice(number: number)
      candidate = DiskCandidate(
        path: path, identity: identity, kind: .blockDevice, byteCount: 0, isRotational: device.isRotational ?? false, model: device.model,
        serial: device.serial, obstacles: [])
    }
    look(at: &candidate)
    return candidate
  }

  private func look(at candidate: inout DiskCandidate) {
    let descriptor = clinux_open(candidate.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0)
    guard descriptor >= 0 else {
      let isForbidden = errno == EACCES || errno == EPERM
      candidate.obstacles.append(isForbidden ? .noPermission : .offline(String(cString: strerror(errno))))
      return
    }
    defer { close(descriptor) }
    var isReadOnly: Int32 = 0
    if case .blockDevice = candidate.identity {
      _ = clinux_block_size_bytes(descriptor, &candidate.byteCount)
      _ = clinux_block_is_read_only(descriptor, &isReadOnly)
    }
    if candidate.kind == .blockDevice && candidate.byteCount == 0 {
      candidate.obstacles.append(.offline("no medium"))
      return
    }
    if let use = use(of: candidate, descriptor) { candidate.obstacles.append(.inUse(use)) }
    if isReadOnly != 0 {
      candidate.obstacles.append(.readOnly)
    } else if access(candidate.path, W_OK) != 0 {
      candidate.obstacles.append(errno == EROFS ? .readOnly : .noPermission)
    }
    do throws(SignatureError) {
      let content = try SignatureProbe.scan(descriptor: descriptor, name: candidate.path)
      candidate.content = content
      if let partition = content.partitions.first(where: { poolPartitionTypes.contains($0.type) }) {
        candidate.obstacles.append(.inPool(name: partition.name ?? "(no name)"))
      } else if !content.isEmpty {
        candidate.obstacles.append(.carriesData(content.signatures))
      }
    } catch {
      candidate.obstacles.append(.offline(error.description))
    }
    if candidate.byteCount < minimumByteCount {
      candidate.obstacles.append(.insufficientCapacity(byteCount: candidate.byteCount, minimum: minimumByteCount))
    }
  }

  /// By whom the disk is held; nil when it is free. A shared lock is tried, so that two who look do not see each other.
  private func use(of candidate: DiskCandidate, _ descriptor: Int32) -> String? {
    if flock(descriptor, LOCK_SH | LOCK_NB) != 0 {
      return "by another server (locked\(ClaimHolder.lockHolder(of: descriptor).map { " " + $0 } ?? ""))"
    }
    flock(descriptor, LOCK_UN)
    guard case .blockDevice(let number) = candidate.identity else { return nil }
    if let use = ClaimHolder.kernelUse(of: number) { return use }
    let exclusive = clinux_open(candidate.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_EXCL, 0)
    if exclusive < 0 { return errno == EBUSY ? "claimed by the kernel or another program" : nil }
    close(exclusive)
    return nil
  }
}
