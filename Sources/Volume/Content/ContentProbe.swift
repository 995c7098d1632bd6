import CLinux
import Reactor

/// Recognises content with libblkid, in a process of its own: what a guest has written is made to be believed by a kernel, and may be made to
/// crash or to hang whoever parses it. That process has the sample as a file in memory and nothing else.
public struct ContentProbe: Sendable {
  /// Why content is not known; a sentence without a full stop.
  public struct Failure: Error, Sendable, CustomStringConvertible {
    public let description: String
  }

  /// The first word of the command line that makes this program the probing process.
  public static let command = "probe-content"

  let program: String
  let arguments: [String]
  let limitMilliseconds: Int

  /// This program itself, whatever became of its file.
  public init() {
    self.init(program: "/proc/self/exe", arguments: [Self.command])
  }

  init(program: String, arguments: [String], limitMilliseconds: Int = VolumeLimits.contentProbeMilliseconds) {
    self.program = program
    self.arguments = arguments
    self.limitMilliseconds = limitMilliseconds
  }

  /// What the sample holds; nil for nothing that is known. Blocks for at most the limit: for BlockingCalls.
  public func content(of sample: ContentSample) throws(Failure) -> FoundContent? {
    let file = try memoryFile(sample)
    defer { close(file) }
    let answer = try run(input: file, sector: sample.logicalSector)
    switch ContentAnswer.decode(answer) {
    case .found(let content): return content
    case .nothing: return nil
    case .failed: throw Failure(description: "libblkid's process gave no answer")
    }
  }

  private func memoryFile(_ sample: ContentSample) throws(Failure) -> Int32 {
    let file = clinux_memory_file("content")
    guard file >= 0 else { throw failure("a file in memory cannot be made", -file) }
    var error: Int32 = ftruncate(file, off_t(clamping: sample.byteCount)) == 0 ? 0 : clinux_errno()
    for piece in sample.pieces where error == 0 {
      let written = piece.bytes.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, off_t(clamping: piece.offset)) }
      if written != piece.bytes.count { error = written < 0 ? clinux_errno() : ENOSPC }
    }
    // What it reads twice is the same twice, and the server's part of it cannot be changed either.
    if error == 0 { error = -clinux_seal(file) }
    if error != 0 {
      close(file)
      throw failure("the file in memory cannot be written", error)
    }
    return file
  }

  private func run(input: Int32, sector: Int) throws(Failure) -> [UInt8] {
    var pipe: [Int32] = [0, 0]
    guard clinux_pipe(&pipe) == 0 else { throw failure("there is no pipe to libblkid's process", clinux_errno()) }
    defer { close(pipe[0]) }
    var words = ([program] + arguments + ["\(sector)"]).map { strdup($0) } + [nil]
    let process = clinux_spawn_isolated(program, &words, input, pipe[1])
    for word in words { free(word) }
    close(pipe[1])
    guard process > 0 else { throw failure("libblkid's process cannot be started", -process) }
    let answer = read(pipe[0])
    if answer == nil { kill(process, SIGKILL) }
    let status = end(of: process)
    guard let answer else { throw Failure(description: "libblkid's process took longer than \(limitMilliseconds) ms, or said too much") }
    guard clinux_exit_status(status) == 0 else { throw Failure(description: "libblkid's process failed over what is there") }
    return answer
  }

  /// All that comes before the limit; nil when it comes too late or is too much.
  private func read(_ descriptor: Int32) -> [UInt8]? {
    let deadline = ContinuousClock.now + .milliseconds(limitMilliseconds)
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: VolumeLimits.contentAnswerByteCount)
    while true {
      let left = ContinuousClock.now.duration(to: deadline)
      let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
      guard milliseconds > 0 else { return nil }
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, Int32(clamping: milliseconds)) > 0 else { continue }
      let count = CLinux.read(descriptor, &buffer, buffer.count)
      if count == 0 { return answer }
      if count < 0 { if clinux_errno() == EINTR { continue } else { return nil } }
      answer += buffer[..<count]
      if answer.count > VolumeLimits.contentAnswerByteCount { return nil }
    }
  }

  /// The process's wait status. One that closed its output and does not end is not waited for.
  private func end(of process: pid_t) -> Int32 {
    var status: Int32 = 0
    for _ in 0..<VolumeLimits.contentEndMilliseconds {
      if waitpid(process, &status, WNOHANG) == process { return status }
      usleep(1000)
    }
    kill(process, SIGKILL)
    while waitpid(process, &status, 0) < 0 && clinux_errno() == EINTR {}
    return status
  }

  private func failure(_ what: String, _ errorNumber: Int32) -> Failure {
    Failure(description: "\(what): \(String(cString: strerror(errorNumber)))")
  }
}
