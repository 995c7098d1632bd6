import Foundation
import Testing

/// Pools on block devices: loop devices stand in for disks.
@Suite(.serialized) struct RawDeviceTests {
  /// Loop devices over new sparse files, detached with their last reference; nil, after saying why, where the machine has none.
  final class LoopDevices {
    private(set) var paths: [String] = []

    static func make(_ sizes: [(byteCount: UInt64, sector: Int)], in directory: TemporaryDirectory) async throws -> LoopDevices? {
      let devices = LoopDevices()
      for (index, size) in sizes.enumerated() {
        let file = try directory.sparseFile("loop\(index)", byteCount: size.byteCount)
        let result = try await Command.run(["losetup", "--find", "--show", "--direct-io=on", "--sector-size", "\(size.sector)", file])
        guard result.succeeded else {
          print("NOT TESTED: block devices. This machine gives no loop device: \(result.errors)")
          return nil
        }
        devices.paths.append(result.output.trimmingCharacters(in: .whitespacesAndNewlines))
      }
      return devices
    }

    deinit {
      for path in paths {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Command.find("losetup") ?? "/sbin/losetup")
        process.arguments = ["--detach", path]
        try? process.run()
        process.waitUntilExit()
      }
    }
  }

  @Test(arguments: [512, 4096]) func aPoolOnBlockDevicesServesVerifiedData(diskSector: Int) async throws {
    try await SpaceportServer.run { server in
      let sizes = Array(repeating: (byteCount: UInt64(256 << 20), sector: diskSector), count: 3)
      guard let loops = try await LoopDevices.make(sizes, in: server.directory) else { return }
      try await server.succeed(["pool", "create", "raw"] + loops.paths)
      // 512-byte sectors on 4096-byte disks included.
      try await server.succeed("vdisk", "create", "raw/disk", "--size", "300MiB", "--sector-size", "512")
      try await succeed(
        "fio", "--name=verify", "--ioengine=nbd", "--uri=\(server.uri("raw/disk"))", "--rw=randwrite", "--bsrange=512-64k",
        "--blockalign=512", "--size=64M", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1",
        timeoutSeconds: 300)
      try await succeed(
        "qemu-io", "-f", "raw", server.uri("raw/disk"), "-c", "discard 0 300M", "-c", "flush", "-c", "write -P 7 1000k 4k", "-c",
        "read -P 0 0 1000k", "-c", "read -P 0 1004k 8M")
      try await server.succeed("pool", "close", "raw")
      for path in loops.paths { #expect(try await succeed("sgdisk", "-v", path).contains("No problems found")) }
      try await server.succeed(["pool", "open"] + loops.paths.reversed())
      try await succeed("qemu-io", "-f", "raw", server.uri("raw/disk"), "-c", "read -P 7 1000k 4k", "-c", "read -P 0 1004k 8M")
      try await server.succeed("pool", "destroy", "raw", "--yes")
    }
  }

  @Test func aMountedDeviceIsRefused() async throws {
    try await SpaceportServer.run { server in
      guard let loops = try await LoopDevices.make([(UInt64(128 << 20), 512)], in: server.directory) else { return }
      try await succeed("mkfs.ext4", "-q", loops.paths[0])
      let mountPoint = server.directory.file("mnt")
      try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
      let mount = try await Command.run(["mount", loops.paths[0], mountPoint])
      guard mount.succeeded else {
        print("NOT TESTED: the refusal of a mounted device. This machine does not mount: \(mount.errors)")
        return
      }
      do {
        try await server.refuse(["pool", "create", "raw", loops.paths[0], "--force"], saying: [loops.paths[0], "mounted"])
      } catch {
        try await succeed("umount", mountPoint)
        throw error
      }
      try await succeed("umount", mountPoint)
    }
  }
}
