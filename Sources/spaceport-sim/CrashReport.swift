import Glibc

/// Says which seed it was when the layers crash the process, which nothing may make them do.
enum CrashReport {
  private static let capacity = 512
  nonisolated(unsafe) private static let text = UnsafeMutablePointer<CChar>.allocate(capacity: capacity)
  nonisolated(unsafe) private static var length = 0

  /// To be called before each seed; a handler of signals can do no more than write what lies ready.
  static func prepare(_ command: String) {
    let message = "\nFAILED: the process crashed, which nothing may make it do. Repeat it with:\n  \(command)\n"
    length = 0
    for byte in message.utf8.prefix(capacity) {
      text[length] = CChar(bitPattern: byte)
      length += 1
    }
  }

  static func install() {
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE] {
      signal(number) { _ in
        _ = write(STDERR_FILENO, CrashReport.text, CrashReport.length)
        _exit(1)
      }
    }
  }
}
