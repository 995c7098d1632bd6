import CLinux
import Management

/// Others' programs: those that make, check and grow file systems.
struct ToolProcess {
  /// Its name and arguments.
  var words: [String]
  /// Debian's package that it is in.
  var package: String
  /// Exit statuses with which it has done what it was to do.
  var acceptedStatuses: ClosedRange<Int32> = 0...0

  /// Runs it to its end.
  /// - Throws: `APIError` with what it said when it could not be run, or did not succeed; when it was interrupted, that.
  func run(_ interruption: Interruption) throws(APIError) {
    guard let path = Self.find(words[0]) else { throw missing }
    let output = clinux_memory_file("output")
    guard output >= 0 else { throw failed("there is no memory for its output") }
    defer { close(output) }
    var arguments = words.map { strdup($0) } + [nil]
    let process = clinux_spawn_tool(path, &arguments, output)
    for argument in arguments { free(argument) }
    guard process > 0 else { throw failed(String(cString: strerror(-process))) }
    interruption.runs(process)
    // Reaped only when nobody will send it a signal any more: its number may be another's at once.
    _ = clinux_wait_for_end(process)
    interruption.runs(nil)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && clinux_errno() == EINTR {}
    let exitStatus = clinux_exit_status(status)
    guard exitStatus < 0 || !acceptedStatuses.contains(exitStatus) else { return }
    try interruption.check()
    let end = exitStatus < 0 ? "it was ended by a signal" : "it ended with status \(exitStatus)"
    let said = Self.firstLines(of: output)
    throw failed(said.isEmpty ? end : "\(end) and said: \(said)")
  }

  /// Before anything is done: whether it is installed.
  func check() throws(APIError) { if Self.find(words[0]) == nil { throw missing } }

  static func terminate(_ process: Int32) { kill(process, SIGTERM) }

  /// By PATH, and where administrators' programs are.
  private static func find(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    return (path + ":/usr/sbin:/sbin").split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  /// What is wrong comes first; mkfs.xfs tells how it is used behind that.
  private static func firstLines(of output: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = pread(output, &bytes, bytes.count, 0)
    let lines = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n")
    return lines.prefix { !$0.hasPrefix("Usage:") }.prefix(4).joined(separator: "; ")
  }

  private var missing: APIError {
    APIError(.notSupported, "\(words[0]) is not installed", remedy: "Install it: apt-get install \(package)")
  }

  private func failed(_ why: String) -> APIError {
    APIError(.ioError, "\(words.joined(separator: " ")) failed: \(why)", remedy: "Mend what it names, then repeat the command")
  }
}
