import BlockDevice
import Management
import PhysicalDisk
import Pool
import Reactor
import VirtualDisk

// `spaceport pool check`: of an open pool by its server, and offline.

extension StorageService {
  public func checkPool(named name: String) async throws(APIError) -> PoolCheckInfo {
    try await reactor.run { [self] () async throws(APIError) -> PoolCheckInfo in
      let served = try servedPool(name)
      return await PoolCheckInfo(served.pool, served.sortedVirtualDisks.map(\.disk), remarks: served.remarks)
    }
  }
}

/// Checks a pool without a server, over the disks named, which nobody may have open for writing.
public enum OfflinePoolCheck {
  public static func run(paths: [String]) async throws -> PoolCheckInfo {
    let reactor = try RingReactor.start(name: "check")
    let blocking = try BlockingCalls.start(name: "check-io")
    let result = await reactor.run { () async -> Result<PoolCheckInfo, APIError> in
      do throws(APIError) { return .success(try await check(paths, DiskClaims(reactor: reactor, blocking: blocking))) } catch {
        return .failure(error)
      }
    }
    reactor.stop()
    return try result.get()
  }

  private static func check(_ paths: [String], _ claims: DiskClaims) async throws(APIError) -> PoolCheckInfo {
    let disks = try await claims.claim(paths, access: .shared)
    do throws(APIError) {
      let pool: StoragePool
      do throws(PoolError) { pool = try await StoragePool.openReadOnly(disks.map(\.member), reactor: claims.reactor) } catch {
        throw APIError(error)
      }
      let info = await check(pool)
      _ = try? await pool.close()
      await claims.close(disks)
      return info
    } catch {
      await claims.close(disks)
      throw error
    }
  }

  private static func check(_ pool: StoragePool) async -> PoolCheckInfo {
    var disks: [VirtualDisk] = []
    var remarks: [String] = []
    do throws(PoolError) {
      for record in try pool.virtualDiskRecords() where record.state == .active {
        do throws(PoolError) {
          disks.append(try VirtualDisk.open(record, in: pool, handle: VirtualDiskHandle(number: UInt32(disks.count + 1))))
        } catch { remarks.append("\(error)") }
      }
    } catch { remarks.append("\(error)") }
    let info = await PoolCheckInfo(pool, disks, remarks: remarks)
    for disk in disks { _ = try? await disk.close() }
    return info
  }
}

extension PoolCheckInfo {
  /// - Parameter remarks: what was wrong with virtual disks that are not among `virtualDisks`.
  fileprivate init(_ pool: StoragePool, _ virtualDisks: [VirtualDisk], remarks: [String]) async {
    let check = await pool.check()
    var findings = check.findings.map { Finding(severity: $0.severity.rawValue, text: $0.text) }
    for disk in check.disks {
      findings += disk.findings.map { Finding(severity: $0.severity.rawValue, subject: disk.label, text: $0.text) }
    }
    findings += remarks.map { Finding(severity: "error", text: $0) }
    var checked: [VirtualDiskData] = []
    for disk in virtualDisks {
      let data = await disk.examineData()
      checked.append(VirtualDiskData(name: disk.name, sizeBytes: disk.record.byteCount, data: DataInfo(data)))
      func add(_ severity: String, _ byteCount: UInt64, _ words: String) {
        if byteCount > 0 {
          findings.append(Finding(severity: severity, subject: disk.label, text: "\(ByteSize(byteCount: byteCount)) \(words)"))
        }
      }
      add("error", data.lostByteCount, "of its data have no copy that is up to date on the disks that are there.")
      add("warning", data.degradedByteCount, "have fewer copies than they should.")
      add("warning", data.unprovenByteCount, "were being written when the pool was last stopped: copies may differ there.")
    }
    self.init(
      pool: check.poolName, epoch: check.epochNumber,
      disks: check.disks.map {
        Disk(path: $0.label, number: $0.number.value, role: $0.isVoter ? .voter : .member, lastChange: $0.lastSequence)
      }, virtualDisks: checked, recordCounts: check.recordCounts, findings: findings,
      isSound: !findings.contains { $0.severity == "error" })
  }
}
