import BlockDevice
import CLinux
import Glibc
import Testing

@testable import NBDServer

extension ServerTests {
  /// Clients that no one here wrote, against the server.
  @Suite struct ClientTests {
    private let byteCount = 16 << 20

    private func uri(_ harness: ServerHarness, _ name: String = "disk") -> String { "nbd+unix:///\(name)?socket=\(harness.socketPath)" }

    private func pattern(_ count: Int) -> [UInt8] {
      var random = SeededGenerator(seed: 3)
      var bytes: [UInt8] = []
      bytes.reserveCapacity(count)
      while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
      return bytes
    }

    private func contentIs(_ expected: [UInt8], _ harness: ServerHarness) async -> Bool {
      await harness.on { memcmp($0.device.content, expected, expected.count) == 0 }
    }

    @Test func nbdinfoShowsTheExport() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let info = try Program.run("nbdinfo", uri(harness))
        for line in [
          "protocol: newstyle-fixed without TLS, using simple packets", "export=\"disk\"", "description: a disk for tests",
          "export-size: 16777216", "is_read_only: false", "can_flush: true", "can_fua: true", "can_multi_conn: true", "can_trim: true",
          "can_zero: true", "block_size_minimum: 512", "block_size_preferred: 131072", "block_size_maximum: 33554432",
        ] { #expect(info.contains(line)) }
        #expect(try Program.run("nbdinfo", "--list", uri(harness)).contains("export=\"disk\""))
        #expect(throws: Program.Failed.self) { try Program.run("nbdinfo", uri(harness, "other")) }
        #expect(try Program.run("nbdinfo", "--size", "nbd://" + harness.tcpAddress.description.dropFirst(4)).contains("16777216"))
      }
    }

    @Test func nbdcopyCopiesBothWays() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let image = TemporaryFile()
        let back = TemporaryFile()
        let bytes = pattern(byteCount)
        try image.write(bytes)
        for options in [[], ["--synchronous"], ["-C", "4", "-R", "128"], ["--request-size=524288", "--flush"]] {
          _ = try Program.run(["nbdcopy"] + options + [image.path, uri(harness)])
          #expect(await contentIs(bytes, harness))
          _ = try Program.run(["nbdcopy"] + options + [uri(harness), back.path])
          _ = try Program.run("cmp", image.path, back.path)
          await harness.on { $0.device.erase() }
        }
      }
    }

    @Test func qemuReadsWritesAndConverts() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let output = try Program.run(
          "qemu-io", "-f", "raw", "-c", "write -P 7 1000 5000", "-c", "write -f -P 8 100000 4096", "-c", "read -P 7 1000 5000",
          "-c", "read -P 8 100000 4096", "-c", "write -z 2048 512", "-c", "read -P 0 2048 512", "-c", "discard 98304 8192", "-c", "flush",
          uri(harness))
        #expect(!output.contains("failed"))
        let calls = await harness.on { $0.device.calls }
        #expect(calls.contains { $0.operation == .write && $0.flags == .forceUnitAccess })
        #expect(calls.contains { $0.operation == .discard })
        #expect(calls.contains { $0.operation == .flush })

        let image = TemporaryFile()
        let back = TemporaryFile()
        let bytes = pattern(byteCount)
        try image.write(bytes)
        _ = try Program.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.path, uri(harness))
        #expect(await contentIs(bytes, harness))
        _ = try Program.run("qemu-img", "convert", "-W", "-f", "raw", "-O", "raw", uri(harness), back.path)
        _ = try Program.run("cmp", image.path, back.path)
        _ = try Program.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.path, uri(harness))
      }
    }

    @Test(arguments: ["4k", "512", "7k", "256k"]) func fioVerifiesWhatItWrote(blockSize: String) async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let output = try Program.run(
          "fio", "--name=verify", "--ioengine=nbd", "--uri=\(uri(harness))", "--rw=randwrite", "--bs=\(blockSize)", "--iodepth=32",
          "--size=8m", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1")
        #expect(output.contains("err= 0"))
        #expect(await harness.on { $0.device.statistics[.read].requests > 0 && $0.device.statistics[.write].errors == 0 })
      }
    }

    @Test func nbdkitsCheckwriteFilterFindsTheSameContent() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let image = TemporaryFile()
        try image.write(pattern(byteCount))
        _ = try Program.run("nbdcopy", image.path, uri(harness))
        let command = "nbdcopy \(image.path) $uri"
        _ = try Program.run("nbdkit", "-U", "-", "--filter=checkwrite", "nbd", "uri=\(uri(harness))", "--run", command)
      }
    }
  }
}

/// Runs programs and gathers what they print.
enum Program {
  struct Failed: Error, CustomStringConvertible { var description: String }

  static func run(_ arguments: String...) throws -> String { try run(arguments) }

  /// Standard output and error together. Throws when the program is missing, fails, or takes longer than a minute.
  static func run(_ arguments: [String]) throws -> String {
    let output = TemporaryFile()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, output.path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    // A thread of the pool blocks all signals, and its children would inherit that: no time limit would end them.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words: [UnsafeMutablePointer<CChar>?] = (["timeout", "60"] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process = pid_t()
    let error = posix_spawnp(&process, "timeout", &actions, &attributes, &words, Glibc.environ)
    guard error == 0 else { throw Failed(description: "timeout (package coreutils) cannot be run: \(error)") }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    let text = String(decoding: try output.read(), as: UTF8.self)
    if status == 127 << 8 {
      throw Failed(description: "\(arguments[0]) is missing: install libnbd-bin, qemu-utils, fio and nbdkit to run these tests")
    }
    guard status == 0 else { throw Failed(description: "\(arguments.joined(separator: " ")) ended with \(status):\n\(text)") }
    return text
  }
}

/// A file that is gone when its object is.
final class TemporaryFile {
  let path = "/tmp/spaceport-nbd-file-\(getpid())-\(UInt64.random(in: 0 ... .max))"

  deinit { unlink(path) }

  func write(_ bytes: [UInt8]) throws {
    let descriptor = clinux_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    defer { _ = CLinux.close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { CLinux.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count <= 0 { throw Program.Failed(description: "cannot write \(path)") }
      done += count
    }
  }

  func read() throws -> [UInt8] {
    let descriptor = clinux_open(path, O_RDONLY, 0)
    guard descriptor >= 0 else { throw Program.Failed(description: "cannot read \(path)") }
    defer { _ = CLinux.close(descriptor) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = CLinux.read(descriptor, &piece, piece.count)
      if count <= 0 { return bytes }
      bytes += piece[..<count]
    }
  }
}
