import Foundation
import TestSupport
import Testing

/// Changes under clients that are connected: they stay, and reach what there is.
@Suite(.serialized) struct OnlineChangeTests {
  private static let python = "/usr/bin/python3"

  /// A session that was there before accepts requests up to the new end at once. Its client has not been told: libnbd has to be asked not to know better.
  @Test func aGrownVirtualDiskIsReachedWithoutReconnecting() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
      let command = ["\(SpaceportServer.binary)", "vdisk", "resize", "tank/disk", "--control", server.controlSocket, "--size"]
      let script = """
        import subprocess
        h.add_meta_context("base:allocation")
        h.set_strict_mode(0)
        h.connect_uri("\(server.uri("tank/disk"))")
        MIB = 1 << 20
        def error(call):
            try:
                call()
            except nbd.Error as failure:
                return failure.errno
        def resize(size):
            return subprocess.run(\(command) + [size], capture_output=True, text=True)
        h.pwrite(b"a" * 4096, 64 * MIB - 4096)
        assert error(lambda: h.pwrite(b"x" * 512, 64 * MIB)) == "ENOSPC"
        assert error(lambda: h.pwrite(b"x" * 1024, 64 * MIB - 512)) == "ENOSPC"
        assert error(lambda: h.pread(512, 64 * MIB)) == "EINVAL"
        assert resize("96MiB").returncode == 0
        # Over the old end, at the new one, and not beyond it.
        h.pwrite(b"b" * 8192, 64 * MIB - 4096)
        h.pwrite(b"c" * 512, 96 * MIB - 512)
        assert error(lambda: h.pwrite(b"x" * 512, 96 * MIB)) == "ENOSPC"
        assert error(lambda: h.pread(1024, 96 * MIB - 512)) == "EINVAL"
        assert h.pread(8192, 64 * MIB - 4096) == b"b" * 8192
        assert h.pread(4096, 80 * MIB) == bytes(4096)
        h.zero(4096, 70 * MIB)
        h.trim(4096, 70 * MIB)
        h.flush()
        extents = []
        h.block_status(32 * MIB, 64 * MIB, lambda context, offset, entries, failure: extents.extend(entries))
        assert sum(extents[0::2]) <= 32 * MIB and extents
        assert h.get_size() == 64 * MIB
        # Who connects now sees it; smaller it does not get.
        other = nbd.NBD()
        other.connect_uri("\(server.uri("tank/disk"))")
        assert other.get_size() == 96 * MIB
        assert other.pread(512, 96 * MIB - 512) == b"c" * 512
        smaller = resize("64MiB")
        assert smaller.returncode != 0 and "cannot shrink" in smaller.stderr, smaller
        h.pwrite(b"d" * 512, 96 * MIB - 512)
        assert other.pread(512, 96 * MIB - 512) == b"d" * 512
        h.shutdown()
        """
      try await succeed(Self.python, "-m", "nbd", "-c", script)
    }
  }

  /// Shares, rules that let the client stay, cache disks, other disks, virtual disks and partitions come, change and go while a client writes and reads.
  @Test func aClientStaysWhileAllElseChanges() async throws {
    let server = try SpaceportServer()
    try await server.start(extraArguments: ["--cache-memory", "64MiB"])
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let cache = try server.directory.sparseFile("cache", byteCount: 512 << 20)
    let spare = try server.directory.sparseFile("spare", byteCount: 512 << 20)
    let client = try await PartitionHolder(server, export: "tank/disk")
    for change in [
      ["vdisk", "set", "tank/disk", "--share", "300"],
      ["vdisk", "resize", "tank/disk", "--size", "96MiB"],
      ["export", "set", "tank/disk", "--allow-user", "\(getuid())"],
      ["export", "set", "tank/disk", "--allow-user", "4711", "--allow-user", "\(getuid())"],
      ["export", "reset", "tank/disk"],
      ["pool", "add", "tank", cache, "--usage", "cache"],
      ["pool", "add", "tank", spare],
      ["pool", "remove", "tank", cache],
      ["vdisk", "create", "tank/other", "--size", "64MiB"],
      ["partition", "init", "tank/other"],
      ["partition", "create", "tank/other", "--size", "16MiB"],
      ["export", "set", "tank/other/1", "--read-only", "yes"],
      ["vdisk", "delete", "tank/other", "--yes"],
      ["vdisk", "set", "tank/disk", "--share", "100"],
    ] {
      try await server.succeed(change)
      try await client.waitForRounds(2)
    }
    #expect(!client.log.contains("failed"), "\(client.log.suffix(300))")
    try await client.leave()
    try await server.stop()
  }
}
