import Management
import Pool

// Jobs and events of open pools.

extension StorageService {
  func start(_ kind: JobInfo.Kind, inPool name: String) async throws(APIError) -> JobInfo {
    let served = try writablePool(name)
    let job = await served.pool.jobs.add(kind == .scrub ? .scrub : .optimize)
    return info(job, of: served)
  }

  func cancel(job number: UInt64, inPool name: String) async throws(APIError) {
    let served = try writablePool(name)
    guard let job = served.pool.jobs.jobs.first(where: { $0.number == number }) else {
      throw APIError(.notFound, "The pool \(name) has no job \(number)", remedy: "`spaceport job list` shows the jobs there are")
    }
    if job.state == .cancelled { return }
    if job.isEnded {
      throw APIError(.wrongState, "Job \(number) of the pool \(name) is completed already", remedy: "There is nothing left to cancel")
    }
    if job.kind == .resync || job.kind == .repair {
      throw APIError(
        .wrongState, "Job \(number) of the pool \(name) (\(job.kind)) keeps the data safe and would begin again by itself",
        remedy: "Let it end; `spaceport serve --job-share` says how much it may take")
    }
    if job.kind == .retire {
      // The disk stays in the pool: else the job would begin again.
      try await explained { () throws(PoolError) in try await served.pool.setUsage(of: job.record.disk, .auto) }
    }
    await served.pool.jobs.cancel(job)
  }

  func jobInfos(ofPool name: String?) throws(APIError) -> [JobInfo] {
    let wanted = if let name { [try servedPool(name)] } else { sortedPools }
    return wanted.flatMap { served in served.pool.jobs.jobs.map { info($0, of: served) } }
  }

  func eventInfos(ofPool name: String?) throws(APIError) -> [EventInfo] {
    let wanted = if let name { [try servedPool(name)] } else { sortedPools }
    let all = wanted.flatMap { served in served.pool.events.events.map { info($0, of: served) } }
    return all.sorted { ($0.seconds, $0.pool, $0.number) < ($1.seconds, $1.pool, $1.number) }
  }

  func info(_ job: Job, of served: ServedPool) -> JobInfo {
    let record = job.record
    return JobInfo(
      pool: served.name, number: job.number, kind: JobInfo.Kind(rawValue: "\(job.kind)"),
      state: JobInfo.State(rawValue: job.state.rawValue),
      disk: record.disk == DiskNumber(0) ? nil : served.path(of: record.disk), percent: job.percent, doneBytes: record.doneByteCount,
      totalBytes: record.totalByteCount, bytesPerSecond: job.byteRate, secondsLeft: job.secondsLeft,
      message: job.message.isEmpty ? nil : job.message, startedSeconds: record.startedSeconds)
  }

  private func info(_ event: EventRecord, of served: ServedPool) -> EventInfo {
    EventInfo(
      pool: served.name, number: event.number, seconds: event.seconds, severity: EventInfo.Severity(rawValue: "\(event.severity)"),
      name: event.name, disk: event.disk == DiskNumber(0) ? nil : served.path(of: event.disk), message: event.message)
  }
}
