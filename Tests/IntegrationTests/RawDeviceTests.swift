import Foundation
import TestSupport
import Testing

/// Pools on block devices: loop devices stand in for disks.
@Suite(.serialized) struct RawDeviceTests {
  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"), arguments: [512, 4096])
  func aPoolOnBlockDevicesServesVerifiedData(diskSector: Int) async throws {
    try await SpaceportServer.run { server in
      let loops = try (0..<3).map { _ in try LoopDevice(sector: diskSector, byteCount: 256 << 20) }
      let paths = loops.map(\.path)
      try await server.succeed(["pool", "create", "raw"] + paths)
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
      for path in paths { #expect(try await succeed("sgdisk", "-v", path).contains("No problems found")) }
      try await server.succeed(["pool", "open"] + paths.reversed())
      try await succeed("qemu-io", "-f", "raw", server.uri("raw/disk"), "-c", "read -P 7 1000k 4k", "-c", "read -P 0 1004k 8M")
      try await server.succeed("pool", "destroy", "raw", "--yes")
    }
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices")) func aMountedDeviceIsRefused() async throws {
    try await SpaceportServer.run { server in
      let loop = try LoopDevice(sector: 512, byteCount: 128 << 20)
      try await succeed("mkfs.ext4", "-q", loop.path)
      let mountPoint = server.directory.file("mnt")
      try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
      let mount = try await Program.run(["mount", loop.path, mountPoint])
      guard mount.succeeded else {
        print("NOT TESTED: the refusal of a mounted device. This machine does not mount: \(mount.errors)")
        return
      }
      do {
        try await server.refuse(["pool", "create", "raw", loop.path, "--force"], saying: [loop.path, "mounted"])
        let line = try await server.succeed("disk", "scan").split(separator: "\n").first { $0.hasPrefix(loop.path + " ") } ?? ""
        #expect(line.contains("no. In use: ") && line.contains("mounted") && line.contains("Carries data: ext4"), "\(line)")
      } catch {
        try await succeed("umount", mountPoint)
        throw error
      }
      try await succeed("umount", mountPoint)
    }
  }
}
