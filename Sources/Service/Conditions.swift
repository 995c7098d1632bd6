import Management
import PhysicalDisk
import Pool
import Reactor
import VirtualDisk

// Health and operational state of each object, by the names of Windows Storage Spaces, with the reason and the next step in words.

/// Of a disk of an open pool.
struct DiskCondition {
  var health = Health.healthy
  var state = DiskInfo.State.ok
  var reason: String?
  var nextStep: String?

  /// A disk that is there.
  /// - Parameter stuckBecause: why it cannot be emptied for now, where it is to be.
  init(of disk: ClaimedDisk, _ membership: DiskRecord.State?, pool: String, stuckBecause: String?, now: Instant) {
    let physical = disk.physical
    let waitedSeconds = physical.oldestRequestAge(now: now) / 1_000_000_000
    reason = physical.health.lastError?.withoutFullStop
    switch physical.health.state {
    case .ok where waitedSeconds >= ServiceLimits.abnormalLatencySeconds:
      (health, state) = (.warning, .abnormalLatency)
      reason = "a request has not been answered for \(waitedSeconds) s"
      nextStep = "Check the disk and its cabling; it is given up where others have its copies if this goes on"
    case .ok:
      reason = nil
    case .transientErrors where physical.health.transientErrors >= DiskLimits.predictedFailureErrorCount:
      (health, state) = (.warning, .predictiveFailure)
      reason = "\(physical.health.transientErrors) requests had to be repeated, it is likely to fail; the last: \(reason ?? "")"
      nextStep = "Replace it: spaceport disk replace \(disk.path) NEW"
    case .transientErrors:
      (health, state) = (.warning, .transientError)
      nextStep = "Check the disk and its cabling; if it goes on, replace it: spaceport disk replace \(disk.path) NEW"
    case .ioErrors, .flushFailed:
      (health, state) = (.unhealthy, .ioError)
      nextStep = "Save what only it holds, then replace it: spaceport disk replace \(disk.path) NEW"
    case .stalled:
      (health, state) = (.unhealthy, .abnormalLatency)
      nextStep = "Save what only it holds, then replace it: spaceport disk replace \(disk.path) NEW"
    case .failed:
      (health, state) = (.unhealthy, physical.fault.map { $0.kind == .gone ? .lostCommunication : .failedMedia } ?? .ioError)
      nextStep = "Replace it: spaceport disk replace \(disk.path) NEW"
    }
    guard health == .healthy else { return }
    switch membership {
    case .returning:
      (health, state) = (.warning, .inService)
      reason = "it was away and is brought up to date"
      nextStep = "Wait: spaceport job watch \(pool)"
    case .retiring:
      (health, state) = (.warning, .removingFromPool)
      if let stuckBecause {
        reason = "it cannot be emptied: \(stuckBecause.withoutFullStop)"
        nextStep = "Or keep it: spaceport disk set \(disk.path) --usage auto"
      } else {
        reason = "it is emptied, and released when nothing is left on it"
        nextStep = "Wait: spaceport job watch \(pool)"
      }
    default: break
    }
  }

  /// A disk that is away.
  init(absent: AbsentDisk?, isDistrusted: Bool, refusal: DiskInfo.State?, _ number: DiskNumber, pool: String, isReadOnly: Bool = false) {
    let replacement =
      "replace it: spaceport disk replace --pool \(pool) \(number) NEW, or give it up: spaceport pool remove \(pool) \(number)"
    let why = absent?.reason.map { ": \($0.withoutFullStop)" } ?? ""
    if isReadOnly {
      (health, state) = (.warning, .lostCommunication)
      reason = "the pool is read without it"
      nextStep = "To read what it holds, close the pool and name it as well: spaceport pool open DISK... --read-only"
    } else if isDistrusted {
      (health, state) = (.unhealthy, .failedMedia)
      reason = "it lost what was on it, and is not taken back\(why)"
      nextStep = "\(replacement.prefix(1).uppercased())\(replacement.dropFirst())"
    } else if let refusal {
      (health, state) = (.unhealthy, refusal)
      reason = "what lies where it was is not taken back\(why)"
      nextStep = "Find the right disk, or \(replacement)"
    } else {
      (health, state) = (.warning, .lostCommunication)
      reason = "the pool goes on without it\(why.isEmpty ? ": it is not there" : why)"
      nextStep = "Bring it back, which is noticed by itself, or \(replacement)"
    }
  }
}

/// Of a cache disk: whatever it is, no data is missing.
extension DiskCondition {
  init(ofCacheDisk disk: ClaimedDisk, isUsable: Bool, pool: String, _ number: DiskNumber, now: Instant) {
    self.init(of: disk, nil, pool: pool, stuckBecause: nil, now: now)
    if health == .healthy && !isUsable {
      (health, state) = (.warning, .notUsable)
      reason = "it is not used as a cache: reads go to the disks it is for, slower, and nothing is lost"
    }
    guard health != .healthy else { return }
    health = .warning
    nextStep = "Check the disk; to replace it: spaceport disk replace --pool \(pool) \(number) NEW"
  }

  /// - Parameter loss: why the pool gave it up, where it did.
  init(absentCacheDisk absent: AbsentDisk?, loss: String?, refusal: DiskInfo.State?, _ number: DiskNumber, pool: String) {
    (health, state) = (.warning, refusal ?? .lostCommunication)
    let why = (refusal == nil ? loss ?? absent?.reason : absent?.reason).map { ": \($0.withoutFullStop)" } ?? ""
    reason = "the cache disk is not used\(why.isEmpty ? ": it is not there" : why). Reads are slower, and nothing is lost"
    nextStep =
      (refusal == nil ? "Bring it back, which is noticed by itself" : "Find the right disk")
      + ", replace it: spaceport disk replace --pool \(pool) \(number) NEW, or take it out: spaceport pool remove \(pool) \(number)"
  }
}

/// Of what was found among a pool's disks and is left alone.
struct RejectedDisk {
  var path: String
  var state: DiskInfo.State
  var reason: String
  var remedy: String

  init(_ disk: SetAsideDisk) {
    path = disk.device.label
    state = DiskInfo.State(disk.reason.cause)
    reason = disk.reason.message.withoutFullStop
    remedy = disk.reason.remedy.withoutFullStop
  }
}

extension DiskInfo.State {
  init(_ cause: MetadataError.Cause) {
    switch cause {
    case .stale, .cloned: self = .staleMetadata
    case .split: self = .split
    case .notPooled, .mixedPools, .unsupportedFeature: self = .unrecognizedMetadata
    case .damaged: self = .failedMedia
    case .diskFailed: self = .ioError
    default: self = .notUsable
    }
  }
}

/// Of a virtual disk.
struct VirtualDiskCondition {
  var health = Health.healthy
  var state = VirtualDiskInfo.State.ok
  var reason: String?
  var nextStep: String?

  init(of served: ServedVirtualDisk, in pool: ServedPool) {
    let disk = served.disk
    let copies = max(1, Int(disk.record.copies))
    let absent = pool.pool.absentDiskNumbers
    let away = absent.map { pool.path(of: $0) }.joined(separator: ", ")
    if let row = disk.firstLostRow {
      health = .unhealthy
      state = served.clientCount > 0 ? .noRedundancy : .detached
      let cause = away.isEmpty ? "" : "; away \(absent.count == 1 ? "is" : "are") \(away)"
      reason =
        "incomplete: row \(row) and maybe others have no whole copy on the disks that are there\(cause)"
        + (served.clientCount > 0 ? "; connected clients get errors there, new ones are refused" : "; it is not served")
      nextStep = "Bring the missing disks back: it is served again when its data is there"
      return
    }
    if disk.mayHaveLostWrites {
      (health, state) = (.unhealthy, .degraded)
      reason = "the last copy of some data was away for a while, and what clients had not flushed there may be lost: FLUSH fails"
      nextStep = "Check the data, then close the pool and open it again: spaceport pool close \(pool.name)"
      return
    }
    let whole = disk.fewestWholeCopies
    guard whole < copies else {
      let returning = pool.pool.disks.filter { $0.state == .returning && disk.copyCount(on: $0.number) > 0 }
      if copies > 1 && !returning.isEmpty {
        // Until that is recorded too, the pool does not start with them alone.
        (health, state) = (.warning, .inService)
        reason =
          "the copies on \(returning.map { pool.path(of: $0.number) }.joined(separator: ", ")) have everything again, and count as whole in a moment"
        nextStep = "Wait: spaceport job watch \(pool.name)"
        return
      }
      let width = copies * Int(disk.record.columns)
      let takers = pool.pool.disks.filter { $0.state == .active || $0.state == .returning }.count
      if copies > 1 && takers < width {
        (health, state) = (.warning, .degraded)
        reason = "its new data needs \(width) disks for all copies, and \(takers) are there"
        nextStep = absent.isEmpty ? "Add a disk: spaceport pool add \(pool.name) DISK" : "Bring the missing disk back, or replace it"
      } else if pool.pool.isUneven {
        state = .suboptimal
        reason = "the pool's disks are unequally full, so that some work more than others and its room may not be used up"
        nextStep = "Spread the data: spaceport pool optimize \(pool.name)"
      }
      return
    }
    health = .warning
    let isWorkedOn = pool.pool.jobs.jobs.contains { $0.state == .running && [.resync, .repair, .retire].contains($0.kind) }
    // As long as nothing is written the copies that are away are as good as the others.
    state = isWorkedOn ? .inService : !absent.isEmpty && !disk.haveAbsentCopiesFallenBehind ? .incomplete : .degraded
    reason =
      "of some data only \(whole) of \(copies) copies \(whole == 1 ? "is" : "are") there and up to date"
      + (away.isEmpty ? "" : "; away \(absent.count == 1 ? "is" : "are") \(away)")
    if isWorkedOn {
      nextStep = "Wait: spaceport job watch \(pool.name)"
    } else if absent.isEmpty {
      nextStep = "Look at spaceport job list \(pool.name) for what the repair waits for"
    } else {
      let isLost = absent.allSatisfy { pool.pool.diskRecord($0).map { pool.absent[$0.number]?.isLost == true } ?? false }
      nextStep =
        (isLost ? "Replace the disk" : "Bring the missing disk back, or replace it")
        + (pool.pool.jobs.jobs.contains { $0.kind == .repair && $0.state == .suspended }
          ? "; the repair waits for room: spaceport job list \(pool.name)"
          : "; after a while its copies are made anew on other disks by themselves, where there is room")
    }
  }
}

/// Of an open pool, from its disks and virtual disks.
struct PoolCondition {
  var health = Health.healthy
  var state = PoolInfo.State.ok
  var reason: String?
  var nextStep: String?

  init(disks: [DiskInfo], virtualDisks: [VirtualDiskInfo]) {
    let offline = virtualDisks.filter { $0.health == .unhealthy }
    // Cache disks hold no data: the pool's warnings tell of them. One that is left alone, and has no number, is none of the pool's.
    let members = disks.filter { $0.usage != .cache && $0.number != 0 }
    // What lies where it was may be there and be refused.
    let unused: Set<DiskInfo.State> = [.lostCommunication, .failedMedia, .staleMetadata, .split, .unrecognizedMetadata, .notUsable]
    let away = members.filter { unused.contains($0.state) }
    let expected: Set<DiskInfo.State> = [.removingFromPool, .inService]
    let failing = members.filter { $0.health != .healthy && !unused.union(expected).contains($0.state) }
    // They do not count as whole yet: if the others were lost now, the pool would not start.
    let returning = members.filter { $0.state == .inService }
    let reduced = virtualDisks.filter { $0.health == .warning }
    if offline.isEmpty && away.isEmpty && failing.isEmpty && returning.isEmpty && reduced.isEmpty { return }
    health = offline.isEmpty ? .warning : .unhealthy
    state = .degraded
    var reasons: [String] = []
    if !away.isEmpty { reasons.append("it goes on without \(away.map(\.path).joined(separator: ", "))") }
    if !failing.isEmpty { reasons.append("disks have failed requests: \(failing.map(\.path).joined(separator: ", "))") }
    if !returning.isEmpty { reasons.append("disks are brought up to date: \(returning.map(\.path).joined(separator: ", "))") }
    if !offline.isEmpty { reasons.append("virtual disks lack data: \(offline.map(\.name).joined(separator: ", "))") }
    if !reduced.isEmpty { reasons.append("virtual disks lack copies: \(reduced.map(\.name).joined(separator: ", "))") }
    reason = reasons.joined(separator: "; ")
    nextStep =
      away.first?.nextStep ?? failing.first?.nextStep ?? offline.first?.nextStep ?? returning.first?.nextStep ?? reduced.first?.nextStep
  }
}
