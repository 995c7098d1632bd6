import BlockDevice
import CLinux
import Foundation
import TestSupport
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
        let info = try await Program.succeed(["nbdinfo", uri(harness)])
        for line in [
          "protocol: newstyle-fixed without TLS, using structured packets", "export=\"disk\"", "description: a disk for tests",
          "export-size: 16777216", "is_read_only: false", "can_flush: true", "can_fua: true", "can_multi_conn: true", "can_trim: true",
          "can_zero: true", "block_size_minimum: 512", "block_size_preferred: 131072", "block_size_maximum: 33554432",
        ] { #expect(info.contains(line)) }
        #expect(try await Program.succeed(["nbdinfo", "--list", uri(harness)]).contains("export=\"disk\""))
        #expect(try await Program.run(["nbdinfo", uri(harness, "other")]).succeeded == false)
        #expect(
          try await Program.succeed(["nbdinfo", "--size", "nbd://" + harness.tcpAddress.description.dropFirst(4)]).contains("16777216"))
      }
    }

    @Test func nbdcopyCopiesBothWays() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let directory = try TemporaryDirectory()
        let (image, back) = (directory.file("image"), directory.file("back"))
        let bytes = pattern(byteCount)
        try Data(bytes).write(to: URL(fileURLWithPath: image))
        for options in [[], ["--synchronous"], ["-C", "4", "-R", "128"], ["--request-size=524288", "--flush"]] {
          try await Program.succeed(["nbdcopy"] + options + [image, uri(harness)])
          #expect(await contentIs(bytes, harness))
          try await Program.succeed(["nbdcopy"] + options + [uri(harness), back])
          try await Program.succeed(["cmp", image, back])
          await harness.on { $0.device.erase() }
        }
      }
    }

    @Test func qemuReadsWritesAndConverts() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let output = try await Program.succeed([
          "qemu-io", "-f", "raw", "-c", "write -P 7 1000 5000", "-c", "write -f -P 8 100000 4096", "-c", "read -P 7 1000 5000",
          "-c", "read -P 8 100000 4096", "-c", "write -z 2048 512", "-c", "read -P 0 2048 512", "-c", "discard 98304 8192", "-c", "flush",
          uri(harness),
        ])
        #expect(!output.contains("failed"))
        let calls = await harness.on { $0.device.calls }
        #expect(calls.contains { $0.operation == .write && $0.flags == .forceUnitAccess })
        #expect(calls.contains { $0.operation == .discard })
        #expect(calls.contains { $0.operation == .flush })

        let directory = try TemporaryDirectory()
        let (image, back) = (directory.file("image"), directory.file("back"))
        let bytes = pattern(byteCount)
        try Data(bytes).write(to: URL(fileURLWithPath: image))
        try await Program.succeed(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri(harness)])
        #expect(await contentIs(bytes, harness))
        try await Program.succeed(["qemu-img", "convert", "-W", "-f", "raw", "-O", "raw", uri(harness), back])
        try await Program.succeed(["cmp", image, back])
        try await Program.succeed(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri(harness)])
      }
    }

    @Test(arguments: ["4k", "512", "7k", "256k"]) func fioVerifiesWhatItWrote(blockSize: String) async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let output = try await Program.succeed([
          "fio", "--name=verify", "--ioengine=nbd", "--uri=\(uri(harness))", "--rw=randwrite", "--bs=\(blockSize)", "--iodepth=32",
          "--size=8m", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1",
        ])
        #expect(output.contains("err= 0"))
        #expect(await harness.on { $0.device.statistics[.read].requests > 0 && $0.device.statistics[.write].errors == 0 })
      }
    }

    @Test func nbdkitsCheckwriteFilterFindsTheSameContent() async throws {
      try await ServerHarness.run(byteCount: byteCount) { harness in
        let directory = try TemporaryDirectory()
        let image = directory.file("image")
        try Data(pattern(byteCount)).write(to: URL(fileURLWithPath: image))
        try await Program.succeed(["nbdcopy", image, uri(harness)])
        let command = "nbdcopy \(image) $uri"
        try await Program.succeed(["nbdkit", "-U", "-", "--filter=checkwrite", "nbd", "uri=\(uri(harness))", "--run", command])
      }
    }
  }
}
