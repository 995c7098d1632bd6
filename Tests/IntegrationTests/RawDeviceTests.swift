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

  /// As after a start of the machine, or at another port: the disks are there, and have the names of others.
  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices")) func disksThatHaveOtherNamesAreFound() async throws {
    let server = try await SpaceportServer.startedQuick()
    let files = try (1...2).map { try server.directory.sparseFile("raw\($0)", byteCount: 256 << 20) }
    var disks = try files.map { try LoopDevice(over: $0, sector: 512) }
    let names = disks.map(\.path)
    try await server.succeed(["pool", "create", "tank"] + names)
    try await server.createMirror()
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 7 0 8M", "-c", "flush")
    try await server.stop()

    disks = []
    var others = try occupied(names)
    disks = try files.map { try LoopDevice(over: $0, sector: 512) }
    try await server.startQuick(diskWait: 600)
    try await server.waitForPool("ok", health: "healthy", timeoutSeconds: 30)
    #expect(try await server.pool().disks.map(\.path) == disks.map(\.path))
    try await server.stop()

    // One that comes to a pool which goes on without it.
    let name = disks.removeLast().path
    try await server.startQuick(diskWait: 1)
    try await server.waitForPool("degraded", health: "warning", timeoutSeconds: 15)
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 8 4M 4M", "-c", "flush")
    others += try occupied([name])
    disks.append(try LoopDevice(over: files[1], sector: 512))
    try await server.waitForPool("ok", health: "healthy", timeoutSeconds: 60)
    #expect(try await server.pool().disks.map(\.path) == disks.map(\.path))
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P 7 0 4M", "-c", "read -P 8 4M 4M")
    try await server.stop()
    withExtendedLifetime(others) {}
  }

  /// Other disks, until these names belong to them or to another test's.
  private func occupied(_ names: [String]) throws -> [LoopDevice] {
    var others: [LoopDevice] = []
    while !names.allSatisfy({ name in others.contains { $0.path == name } }) && others.count < 16 {
      others.append(try LoopDevice(sector: 512, byteCount: 1 << 20))
    }
    return others
  }
}
