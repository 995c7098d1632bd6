import Glibc

/// A part of the work in a process of its own: what the layers leak when their power is cut goes with it, and where they crash the process
/// the others live on to say so.
struct ChildProcess {
  /// What a child came to.
  enum Outcome {
    /// What it handed back.
    case ended(String)
    /// It was ended by this signal.
    case crashed(Int32)
  }

  private let process: pid_t
  private let pipe: Int32

  /// Runs `body` in a new process. Nil when there can be none at present.
  init?(_ body: () -> String) {
    var ends: [Int32] = [-1, -1]
    guard Glibc.pipe(&ends) == 0 else { return nil }
    let process = fork()
    if process == 0 {
      close(ends[0])
      Output.put(body(), ends[1])
      _exit(0)
    }
    close(ends[1])
    guard process > 0 else {
      close(ends[0])
      return nil
    }
    self.process = process
    pipe = ends[0]
  }

  /// Its result is not wanted any more.
  func stop() {
    kill(process, SIGKILL)
    _ = outcome()
  }

  /// Waits for its end.
  func outcome() -> Outcome {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(pipe, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { break }
      bytes += buffer[..<count]
    }
    close(pipe)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    let signal = status & 0x7f
    return signal == 0 ? .ended(String(decoding: bytes, as: UTF8.self)) : .crashed(signal)
  }
}
