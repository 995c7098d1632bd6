import Management
import PhysicalDisk
import Pool
import Reactor

// Looking for disks, in pools or not. Nothing is changed by it.

extension StorageService {
  private var scanner: DiskScanner {
    DiskScanner(poolPartitionTypes: StoragePool.partitionTypes, minimumByteCount: LayoutLimits.diskSmallest)
  }

  func scan(_ request: ScanDisks) async throws(APIError) -> [DiskCandidateInfo] {
    let candidates = if let directory = request.directory { try await disks(in: directory) } else { try await blockDevices() }
    let own = Set(pools.values.flatMap(\.disks).map(\.path))
    return candidates.map { DiskCandidateInfo($0, isOwn: own.contains($0.path)) }
  }

  func pooledDisks(in directory: String) async throws(APIError) -> [String] {
    var paths: [String] = []
    for candidate in try await disks(in: directory) where await claims.peek(candidate.path) != nil { paths.append(candidate.path) }
    if paths.isEmpty {
      throw APIError(.notFound, "There is no disk of a pool in \(directory)", remedy: "Name the disks, or another directory")
    }
    return paths
  }

  private func disks(in directory: String) async throws(APIError) -> [DiskCandidate] {
    let scanner = scanner
    let found = await claims.paths.perform(at: directory, limitMilliseconds: ServiceLimits.scanMilliseconds) { thread in
      do throws(DiskOpenError) {
        return Result<[DiskCandidate], DiskOpenError>.success(try await scanner.disks(in: directory, on: thread))
      } catch {
        return .failure(error)
      }
    }
    guard let found else { throw doesNotAnswer(directory) }
    do throws(DiskOpenError) { return try found.get() } catch {
      guard error.cause == .notFound else { throw APIError(error) }
      throw APIError(.notFound, "There is no directory \(directory)", remedy: "Name the one in which the disks lie")
    }
  }

  private func blockDevices() async throws(APIError) -> [DiskCandidate] {
    let scanner = scanner
    let found = await claims.paths.perform(at: "/sys/block", limitMilliseconds: ServiceLimits.scanMilliseconds) { thread in
      await scanner.blockDevices(on: thread)
    }
    guard let found else { throw doesNotAnswer("/sys/block") }
    return found
  }

  private func doesNotAnswer(_ path: String) -> APIError {
    APIError(
      .busy, "Not every disk in \(path) answered within \(ServiceLimits.scanMilliseconds / 1000) s",
      remedy: "See that its disks answer (the kernel's log names those that do not), or name disks one by one")
  }
}

extension DiskCandidateInfo {
  /// - Parameter isOwn: this server holds it, for one of its pools.
  init(_ candidate: DiskCandidate, isOwn: Bool) {
    // That its pool is served here is all there is to say: the lock is this server's own.
    let obstacles = isOwn ? candidate.obstacles.filter { if case .inPool = $0 { true } else { false } } : candidate.obstacles
    self.init(
      path: candidate.path, kind: candidate.kind == .file ? .file : .block, sizeBytes: candidate.byteCount,
      isRotational: candidate.isRotational, model: candidate.model, serial: candidate.serial,
      obstacles: (obstacles.isEmpty ? candidate.obstacles : obstacles).map(\.description))
  }
}
