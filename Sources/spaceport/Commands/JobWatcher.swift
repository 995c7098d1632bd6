import Management

import Glibc

/// Shows jobs as they go on.
struct JobWatcher {
  let storage: any StorageBackend
  let json: Bool
  private let isTerminal: Bool

  init(storage: any StorageBackend, json: Bool) {
    self.storage = storage
    self.json = json
    isTerminal = !json && isatty(STDOUT_FILENO) == 1
  }

  /// Until none of the jobs is under way. Of a suspended one the message is shown; it is not waited for.
  /// - Parameter number: only this one, else all that were under way at the start or began meanwhile.
  /// - Returns: the jobs that were watched, as they are now.
  func watch(pool: String?, number: UInt64? = nil) async throws -> [JobInfo] {
    var watched: Set<String> = []
    var shown: [String] = []
    while true {
      let all = try await storage.jobs(ofPool: pool)
      for job in all where number.map({ $0 == job.number }) ?? (job.isUnderWay || job.state == .suspended) { watched.insert(key(job)) }
      let jobs = all.filter { watched.contains(key($0)) }
      try show(jobs, after: &shown)
      if !jobs.contains(where: \.isUnderWay) { return jobs }
      try await Task.sleep(for: .seconds(1))
    }
  }

  private func key(_ job: JobInfo) -> String { "\(job.pool)/\(job.number)" }

  /// - Parameter shown: the lines that were shown last.
  private func show(_ jobs: [JobInfo], after shown: inout [String]) throws(APIError) {
    let lines = jobs.map { isTerminal ? JobTables.bar($0, width: terminalWidth) : JobTables.line($0) }
    if lines == shown { return }
    if json {
      try Terminal.write(JSON.text(jobs))
    } else if isTerminal {
      // Back to the first of the lines, each of which is then replaced.
      let back = shown.isEmpty ? "" : "\u{1b}[\(shown.count)A"
      try Terminal.write(back + lines.map { "\r\u{1b}[K" + $0 }.joined(separator: "\n"))
    } else {
      let fresh = lines.filter { !shown.contains($0) }
      if !fresh.isEmpty { try Terminal.write(fresh.joined(separator: "\n")) }
    }
    shown = lines
  }

  /// In characters.
  private var terminalWidth: Int {
    var size = winsize()
    return ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
  }
}
