import CLinux
import Volume

/// Confines itself as the process that recognises content does, and prints what it then is and may.
@main enum Confined {
  static func main() {
    let error = ContentProbeProcess.confine()
    guard error == 0 else {
      print("not confined: \(String(cString: strerror(-error)))")
      _exit(1)
    }
    for file in ["status", "limits", "oom_score_adj"] { copy("/proc/self/\(file)") }
    var words: [UnsafeMutablePointer<CChar>?] = [strdup("/bin/true"), nil]
    let process = clinux_spawn_tool("/bin/true", &words, 1)
    print("another process: \(process < 0 ? String(cString: strerror(-process)) : "\(process)")")
    fflush(nil)
  }

  private static func copy(_ path: String) {
    let file = clinux_open(path, O_RDONLY, 0)
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = read(file, &bytes, bytes.count)
    print(String(decoding: bytes[..<max(0, count)], as: UTF8.self))
    close(file)
  }
}
