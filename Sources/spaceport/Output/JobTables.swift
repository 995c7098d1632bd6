import Management

/// How jobs and events are shown to a person.
enum JobTables {
  static func jobs(_ jobs: [JobInfo]) -> String {
    guard !jobs.isEmpty else { return "No jobs." }
    var table = Table(
      .left("POOL"), .right("JOB"), .left("KIND"), .left("STATE"), .right("DONE"), .right("BYTES"), .right("OF"), .right("RATE"),
      .right("LEFT"), .left("DISK"))
    for job in jobs {
      table.add(
        job.pool, "\(job.number)", "\(job.kind)", job.state.words, percent(job), Figures.size(job.doneBytes), Figures.size(job.totalBytes),
        rate(job) ?? "-", timeLeft(job) ?? "-", job.disk ?? "-")
    }
    let messages = jobs.compactMap { job in job.message.map { Printable.text("\(job.pool) \(job.number): \($0)") } }
    return ([table.text] + messages).joined(separator: "\n")
  }

  /// What is said of a job that was asked for.
  static func begun(_ job: JobInfo) -> String {
    let what = job.disk.map { " of \($0)" } ?? ""
    let next = job.state == .completed ? "" : " Watch it with: spaceport job watch \(job.pool)"
    return Printable.text("Job \(job.number) of pool \(job.pool) (\(job.kind)\(what)) is \(job.state.words).\(next)")
  }

  /// One line, the same as long as nothing that matters changed: whole per cents.
  static func line(_ job: JobInfo) -> String {
    let message = job.state == .running || job.state == .waiting ? "" : job.message.map { ": \($0)" } ?? ""
    let what = job.disk.map { " of \($0)" } ?? ""
    return Printable.text("\(job.pool) \(job.number) \(job.kind)\(what) \(job.state.words) \(Int(bounded(job.percent)))%\(message)")
  }

  /// A line with a bar, at most `width` characters.
  static func bar(_ job: JobInfo, width: Int) -> String {
    let figures = ["\(Figures.size(job.doneBytes)) of \(Figures.size(job.totalBytes))", rate(job), timeLeft(job).map { "\($0) left" }]
      .compactMap { $0 }
    let isMoving = job.state == .running
    let message = isMoving ? "" : job.message.map { ": \($0)" } ?? ""
    let tail = isMoving ? figures.joined(separator: ", ") : "\(job.state.words)\(message)"
    let filled = Int(bounded(job.percent) / 100 * Double(barWidth))
    let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: barWidth - filled)
    let number = percent(job)
    let text = Printable.text(
      "\(job.pool) \(job.number) \(job.kind) [\(bar)] \(String(repeating: " ", count: max(0, 6 - number.count)))\(number) \(tail)")
    return String(text.prefix(max(width - 1, barWidth)))
  }

  static func events(_ events: [EventInfo]) -> String {
    guard !events.isEmpty else { return "No events." }
    var table = Table(.left("TIME (UTC)"), .left("POOL"), .left("SEVERITY"), .left("EVENT"), .left("MESSAGE"))
    for event in events {
      table.add(Figures.date(secondsSince1970: event.seconds), event.pool, "\(event.severity)", event.name, event.message)
    }
    return table.text
  }

  /// In characters.
  private static let barWidth = 24

  private static func bounded(_ percent: Double) -> Double { percent.isFinite ? min(max(percent, 0), 100) : 0 }

  private static func percent(_ job: JobInfo) -> String {
    let tenths = Int(bounded(job.percent) * 10)
    return "\(tenths / 10).\(tenths % 10)%"
  }

  private static func rate(_ job: JobInfo) -> String? {
    job.state == .running && job.bytesPerSecond > 0 ? "\(Figures.size(job.bytesPerSecond))/s" : nil
  }

  private static func timeLeft(_ job: JobInfo) -> String? {
    job.state == .running ? job.secondsLeft.map { Figures.duration(seconds: Double($0)) } : nil
  }
}
