import Foundation
import TestSupport
import Testing

/// Block status, sparse reads, zeroing and CACHE of the real server, as libnbd, qemu and nbdcopy see them.
@Suite(.serialized) struct SparseTests {
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/sparse.py").path

  private struct MapEntry: Decodable {
    var start: Int
    var length: Int
    var zero: Bool
    var data: Bool
  }

  @Test(arguments: [[], ["--cache-memory", "64MiB"]]) func libnbdFindsAllThatStructuredRepliesBring(arguments: [String]) async throws {
    let server = try SpaceportServer()
    try await server.start(extraArguments: arguments)
    try await server.makePool(disks: 2)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    try await succeed("/usr/bin/python3", SparseTests.script, server.uri("tank/disk"))
    // A read of 4 MiB comes in by itself only when it is asked for again: what CACHE has fetched is read from memory at the first time.
    if !arguments.isEmpty {
      func use(_ call: String) async throws -> UInt64 {
        let before = try await server.cache().counters.hits
        try await succeed("/usr/bin/python3", "-m", "nbd", "-u", server.uri("tank/disk"), "-c", call)
        return UInt64(try await server.cache().counters.hits - before)
      }
      try await succeed(
        "/usr/bin/python3", "-m", "nbd", "-u", server.uri("tank/disk"), "-c", "h.pwrite(b'x' * (4 << 20), 32 << 20)", "-c", "h.flush()")
      #expect(try await use("h.pread(4 << 20, 32 << 20)") < 128)
      try await succeed(
        "/usr/bin/python3", "-m", "nbd", "-u", server.uri("tank/disk"), "-c", "h.pwrite(b'y' * (4 << 20), 48 << 20)", "-c", "h.flush()")
      _ = try await use("h.cache(4 << 20, 48 << 20)")
      #expect(try await use("h.pread(4 << 20, 48 << 20)") >= 256)
    }
    try await server.stop()
  }

  @Test func qemuAndNbdinfoShowTheSameMap() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await succeed(
        "qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 1 0 1M", "-c", "write -P 2 512M 1M", "-c", "flush")
      let map = try await succeed("qemu-img", "map", "-f", "raw", "--output=json", server.uri("tank/disk"))
      let entries = try JSONDecoder().decode([MapEntry].self, from: Data(map.utf8))
      #expect(entries.reduce(0) { $0 + $1.length } == 1 << 30)
      #expect(entries.first?.data == true && entries.first?.zero == false && entries.last?.zero == true)
      #expect(entries.contains { $0.data && $0.start <= 512 << 20 && $0.start + $0.length >= 513 << 20 })
      let zeros = entries.filter(\.zero).reduce(0) { $0 + $1.length }
      #expect(zeros > 900 << 20)
      let info = try await succeed("nbdinfo", "--map", server.uri("tank/disk"))
      #expect(info.contains("hole,zero") && info.contains("data"), "\(info)")
      let rows = try await succeed("nbdinfo", "--map=spaceport:slab", server.uri("tank/disk"))
      #expect(rows.split(separator: "\n").count >= 3, "\(rows)")
      // OFFSET LENGTH ID; the ids are those of the rows in the pool's metadata.
      let ids = Set(rows.split(separator: "\n").compactMap { $0.split(separator: " ").dropFirst(2).first.flatMap { Int($0) } }).subtracting(
        [0])
      try await server.succeed("pool", "close", "tank")
      let records = try await succeed(SpaceportServer.binary, "inspect", "--records", disks[0])
      let known = Set(records.matches(of: #/row (\d+):/#).compactMap { Int($0.1) })
      #expect(!ids.isEmpty && ids == known, "\(rows)\(records)")
    }
  }

  /// A sparse image comes back sparse, and takes no more of the pool than its data.
  @Test func nbdcopyKeepsHolesBothWays() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      let (image, copy) = (server.directory.file("image"), server.directory.file("copy"))
      try await succeed("truncate", "-s", "1G", image)
      try await succeed("dd", "if=/dev/urandom", "of=\(image)", "bs=1M", "seek=300", "count=20", "conv=notrunc", "status=none")
      try await succeed("nbdcopy", "--flush", image, server.uri("tank/disk"))
      try await succeed("nbdcopy", server.uri("tank/disk"), copy)
      try await succeed("cmp", image, copy)
      let blocks = try FileManager.default.attributesOfItem(atPath: copy)
      #expect((blocks[.size] as? Int) == 1 << 30)
      let used = try await succeed("du", "-B1M", copy).split(separator: "\t").first.flatMap { Int($0) }
      #expect(used ?? .max < 100, "the copy is not sparse")
      try await succeed("nbdcopy", "--allocated", "--flush", image, server.uri("tank/disk"))
      try await succeed("nbdcopy", server.uri("tank/disk"), copy)
      try await succeed("cmp", image, copy)
    }
  }
}
