import Foundation
import TestSupport
import Testing

/// The server as clients see it that no one here wrote.
@Suite(.serialized) struct ClientTests {
  @Test func nbdinfoSeesTheExportAsItIs() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await server.succeed("vdisk", "create", "tank/big-sectors", "--size", "256MiB", "--sector-size", "4096")
      let info = try await succeed("nbdinfo", server.uri("tank/disk"))
      for fact in [
        "export-size: 1073741824", "can_flush: true", "can_fua: true", "can_trim: true", "can_zero: true", "can_multi_conn: true",
        "is_read_only: false", "block_size_minimum: 512",
      ] {
        #expect(info.contains(fact), "\(fact) is not in \(info)")
      }
      #expect(try await succeed("nbdinfo", server.uri("tank/big-sectors")).contains("block_size_minimum: 4096"))
      let list = try await succeed("nbdinfo", "--list", server.uri(""))
      #expect(list.contains("export=\"tank/disk\"") && list.contains("export=\"tank/big-sectors\""))
      #expect(try await Program.run(["nbdinfo", server.uri("tank/none")]).succeeded == false)
    }
  }

  @Test func nbdcopyBothWaysGivesTheSameBytes() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "300MiB")
      let original = server.directory.file("original")
      try await succeed("dd", "if=/dev/urandom", "of=\(original)", "bs=1M", "count=300", "status=none")
      let copy = server.directory.file("copy")
      try await succeed("nbdcopy", "--flush", original, server.uri("tank/disk"))
      try await succeed("nbdcopy", server.uri("tank/disk"), copy)
      try await succeed("cmp", original, copy)
      // One request at a time, one connection, odd request sizes.
      try await succeed("nbdcopy", "--synchronous", "-C", "1", "--request-size=4096", server.uri("tank/disk"), copy)
      try await succeed("cmp", original, copy)
    }
  }

  @Test func qemuReadsWritesZeroesAndDiscards() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "200MiB")
      try await succeed(
        "qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 0x11 0 1M", "-c", "write -P 0x22 65000 3000", "-c",
        "write -z 128k 64k", "-c", "write -P 0x33 -f 100M 512", "-c", "discard 512k 256k", "-c", "flush", "-c", "read -P 0x11 0 65000",
        "-c", "read -P 0x22 65000 3000", "-c", "read -P 0 128k 64k", "-c", "read -P 0 512k 256k", "-c", "read -P 0x33 100M 512", "-c",
        "read -P 0 104858112 1M")
      let image = server.directory.file("image.qcow2")
      try await succeed("qemu-img", "convert", "-f", "raw", "-O", "qcow2", server.uri("tank/disk"), image)
      try await succeed("qemu-img", "compare", "-f", "raw", "-F", "qcow2", server.uri("tank/disk"), image)
    }
  }

  @Test(arguments: ["512", "4096"]) func fioVerifies(sectorSize: String) async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB", "--sector-size", sectorSize)
      try await succeed(
        "fio", "--name=verify", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--rw=randwrite", "--bsrange=4k-128k",
        "--blockalign=4k", "--size=200M", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1",
        "--fsync=64",
        timeoutSeconds: 300)
    }
  }

  @Test func nbdkitsCheckwriteFilterFindsWhatItWrote() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      let image = server.directory.file("image")
      try await succeed("dd", "if=/dev/urandom", "of=\(image)", "bs=1M", "count=64", "status=none")
      try await succeed("nbdcopy", image, server.uri("tank/disk"))
      // checkwrite compares what is written to it with what the export holds: the same image is accepted, another one is not.
      let same = "nbdcopy \(image) $uri"
      try await succeed("nbdkit", "-U", "-", "--filter=checkwrite", "nbd", "uri=\(server.uri("tank/disk"))", "--run", same)
      try await succeed("dd", "if=/dev/urandom", "of=\(image)", "bs=4k", "seek=100", "count=1", "conv=notrunc", "status=none")
      let other = try await Program.run(
        ["nbdkit", "-U", "-", "--filter=checkwrite", "nbd", "uri=\(server.uri("tank/disk"))", "--run", same])
      #expect(!other.succeeded)
    }
  }
}
