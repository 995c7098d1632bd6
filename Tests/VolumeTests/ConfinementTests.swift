import CLinux
import Foundation
import TestSupport
import Testing

@testable import Volume

/// What the process may do that looks at what a guest has written.
@Suite struct ConfinementTests {
  /// A child of this process confines itself as the probing process does; then the kernel is asked what it may.
  private func confined(_ command: [String]) throws -> String {
    var pipe: [Int32] = [0, 0]
    try #require(clinux_pipe(&pipe) == 0)
    defer { close(pipe[0]) }
    // Swift hides it: between this and exec the child calls nothing that takes memory or a lock.
    let fork = unsafeBitCast(try #require(dlsym(nil, "fork")), to: (@convention(c) () -> pid_t).self)
    let words = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: command.count + 1)
    defer { words.deallocate() }
    for (index, word) in command.enumerated() { words[index] = strdup(word) }
    words[command.count] = nil
    defer { for index in command.indices { free(words[index]) } }
    let (cpu, memory, output) = (VolumeLimits.contentProbeCPUSeconds, VolumeLimits.contentProbeMemoryByteCount, pipe[1])
    let child = fork()
    if child == 0 {
      if dup2(output, 1) != 1 || clinux_confine(cpu, memory) != 0 { _exit(99) }
      execv(words[0]!, words)
      _exit(98)
    }
    close(output)
    try #require(child > 0)
    let told = FileHandle(fileDescriptor: pipe[0]).readDataToEndOfFile()
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && clinux_errno() == EINTR {}
    try #require(clinux_exit_status(status) == 0)
    return String(decoding: told, as: UTF8.self)
  }

  @Test func itHasNoRightsAndLittleTimeAndMemory() throws {
    let lines = try confined(["/bin/cat", "/proc/self/status", "/proc/self/limits"]).split(separator: "\n")
    func words(_ name: String) throws -> [Substring] {
      try #require(lines.first { $0.hasPrefix(name) }, "\(name)").dropFirst(name.count).split { $0 == " " || $0 == "\t" }
    }
    #expect(try words("NoNewPrivs:") == ["1"])
    #expect(try words("Max cpu time") == ["5", "5", "seconds"])
    #expect(try words("Max data size") == ["\(256 << 20)", "\(256 << 20)", "bytes"])
    #expect(try words("Max core file size").prefix(2) == ["0", "0"])
    #expect(try words("Max file size").prefix(2) == ["0", "0"])
    guard geteuid() == 0 else { return }
    for name in ["Uid:", "Gid:"] { #expect(try words(name) == ["65534", "65534", "65534", "65534"]) }
    #expect(try words("Groups:") == [])
    for name in ["CapPrm:", "CapEff:"] { #expect(try words(name) == ["0000000000000000"]) }
  }
}
