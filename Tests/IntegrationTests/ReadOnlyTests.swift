import Foundation
import TestSupport
import Testing

/// Salvage on the real server and real files: pools that are opened read-only from too few disks, and checked.
@Suite(.serialized) struct ReadOnlyTests {
  private static let interleave = 256 << 10

  /// A pool of three files, with a mirror and a simple virtual disk of three columns, both full of random bytes; the server has stopped.
  private struct Rig {
    let server: SpaceportServer
    let disks: [String]
    let content: [String: String]

    static func make(copies: Int) async throws -> Rig {
      let server = try SpaceportServer()
      try await server.start(extraArguments: ["--disk-wait", "1"])
      let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
      let image = server.directory.file("image")
      try await succeed("dd", "if=/dev/urandom", "of=\(image)", "bs=1M", "count=24", "status=none")
      try await server.succeed(
        "vdisk", "create", "tank/mirror", "--size", "24MiB", "--resiliency", "mirror", "--copies", "\(copies)", "--columns", "1")
      try await server.succeed("vdisk", "create", "tank/simple", "--size", "24MiB", "--columns", "3")
      for name in ["mirror", "simple"] { try await succeed("nbdcopy", "--flush", image, server.uri("tank/\(name)")) }
      try await server.stop()
      return Rig(server: server, disks: disks, content: ["image": image])
    }

    var image: String { content["image"] ?? "" }

    func hashes(_ paths: [String]) async throws -> String {
      var text = ""
      for path in paths { text += try await succeed("sha256sum", path) }
      return text
    }

    /// Starts the server with another state directory: it knows no pool.
    func startAnew() async throws {
      try FileManager.default.removeItem(atPath: server.stateDirectory)
      try await server.start(extraArguments: ["--disk-wait", "1"])
    }
  }

  /// What `pool show --json` and `vdisk show --json` say.
  private struct State: Decodable {
    struct Data: Decodable {
      var wholeBytes: UInt64
      var degradedBytes: UInt64
      var unprovenBytes: UInt64
      var lostBytes: UInt64
    }
    var state: String
    var health: String
    var reason: String?
    var data: Data?
  }

  private func state(_ server: SpaceportServer, _ arguments: String...) async throws -> State {
    try JSONDecoder().decode(State.self, from: Data(try await server.succeed(arguments + ["--json"]).utf8))
  }

  @Test func oneOfThreeDisksGivesOutAThreeWayMirrorAndWhatItHasOfTheRest() async throws {
    let rig = try await Rig.make(copies: 3)
    let server = rig.server
    let before = try await rig.hashes([rig.disks[2]])
    for path in rig.disks[..<2] { try FileManager.default.removeItem(atPath: path) }
    // A disk that may not be written is enough. The wait is longer than the test: after it the pool goes on without the others.
    try await succeed("chmod", "0400", rig.disks[2])
    try await server.start(extraArguments: ["--disk-wait", "600"])
    try await server.refuse(["pool", "open", rig.disks[2]], saying: ["not complete", "--read-only", "--accept-loss"])
    try await server.succeed("pool", "open", rig.disks[2], "--read-only")

    let pool = try await state(server, "pool", "show", "tank")
    #expect(pool.state == "readOnly" && pool.health == "unhealthy" && pool.reason?.hasPrefix("incomplete") == true)
    let shown = try await server.succeed("pool", "show", "tank")
    for words in ["read only", "1 of its 3 voters is there", "Missing: disk 1"] { #expect(shown.contains(words), "\(words): \(shown)") }
    let mirror = try await state(server, "vdisk", "show", "tank/mirror")
    #expect(mirror.state == "readOnly" && mirror.health == "warning")
    #expect(mirror.data?.degradedBytes == 24 << 20 && mirror.data?.lostBytes == 0 && mirror.data?.unprovenBytes == 0)
    let simple = try await state(server, "vdisk", "show", "tank/simple")
    #expect(simple.health == "unhealthy" && simple.data?.lostBytes == 16 << 20 && simple.data?.wholeBytes == 8 << 20)

    let out = server.directory.file("out")
    try await succeed("nbdcopy", server.uri("tank/mirror"), out)
    try await succeed("cmp", rig.image, out)
    // Of each stripe what lies on the third disk, and nothing false.
    #expect(try await !Program.run(["nbdcopy", server.uri("tank/simple"), out]).succeeded)
    try await succeed("qemu-img", "convert", "--salvage", "-f", "raw", "-O", "raw", server.uri("tank/simple"), out)
    let wanted = try Data(contentsOf: URL(fileURLWithPath: rig.image))
    let found = try Data(contentsOf: URL(fileURLWithPath: out))
    #expect(found.count == wanted.count)
    var same = 0
    for start in stride(from: 0, to: wanted.count, by: Self.interleave) {
      let range = start..<start + Self.interleave
      if wanted[range] == found[range] { same += 1 } else { #expect(found[range].allSatisfy { $0 == 0 }, "false data at \(start)") }
    }
    #expect(same == wanted.count / Self.interleave / 3)

    try await refusesChanges(server)
    let check = try await server.spaceport("pool", "check", "tank")
    #expect(!check.succeeded && check.output.contains("Disk 1 of the pool is not there") && check.output.contains("16 MiB"))
    // The last client may still be leaving.
    try await waitUntil("the pool to be closed") { try await server.spaceport("pool", "close", "tank").succeeded }
    // The server looks for the other disks again, and does not go on without them: who salvages decides that.
    try await waitUntil("the server to have looked for the pool's disks") {
      try await self.state(server, "pool", "show", "tank").state == "incomplete"
    }
    let waiting = try await server.succeed("pool", "show", "tank")
    #expect(waiting.contains("--accept-loss"), "\(waiting)")
    try await server.stop()
    #expect(try await rig.hashes([rig.disks[2]]) == before, "something was written")
  }

  private func refusesChanges(_ server: SpaceportServer) async throws {
    let uri = server.uri("tank/mirror")
    #expect(try await Program.run(["nbdinfo", "--is", "read-only", uri]).succeeded)
    for call in ["pwrite(b'x' * 512, 0)", "trim(65536, 0)", "zero(65536, 0)"] {
      // The client library is told not to look at the flags: the server must.
      let result = try await Program.run(
        [
          "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "nbdsh", "-c", "h.set_strict_mode(0)", "-c", "h.connect_uri('\(uri)')", "-c",
          "h.\(call)",
        ])
      #expect(!result.succeeded && result.errors.contains("Operation not permitted"), "\(call): \(result.errors)")
    }
    for command in [
      ["vdisk", "create", "tank/new", "--size", "1GiB"], ["vdisk", "resize", "tank/mirror", "--size", "1GiB"],
      ["vdisk", "delete", "tank/mirror", "--yes"], ["pool", "scrub", "tank"], ["pool", "optimize", "tank"],
      ["pool", "destroy", "tank", "--yes"], ["disk", "retire", "--pool", "tank", "3"],
      ["pool", "add", "tank", server.directory.file("image")],
    ] {
      try await server.refuse(command, saying: ["read-only"])
    }
  }

  @Test func aWholePoolIsReadByPolicyAndOpenedForWritingAfterwards() async throws {
    let rig = try await Rig.make(copies: 2)
    let server = rig.server
    let before = try await rig.hashes(rig.disks)
    try await rig.startAnew()
    try await server.succeed(["pool", "open", "--read-only"] + rig.disks)
    let pool = try await state(server, "pool", "show", "tank")
    #expect(pool.state == "readOnly" && pool.health == "healthy" && pool.reason?.hasPrefix("policy") == true)
    let out = server.directory.file("out")
    for name in ["mirror", "simple"] {
      try await succeed("nbdcopy", server.uri("tank/\(name)"), out)
      try await succeed("cmp", rig.image, out)
    }
    let check = try await server.succeed("pool", "check", "tank")
    #expect(check.contains("No faults found."))
    try await server.refuse(["pool", "open"] + rig.disks, saying: ["open already", "read-only", "pool close tank"])
    // Others may read it, and nobody write.
    try await server.succeed(["pool", "check", "--offline"] + rig.disks)
    try await waitUntil("the pool to be closed") { try await server.spaceport("pool", "close", "tank").succeeded }
    #expect(try await rig.hashes(rig.disks) == before, "something was written")

    try await server.succeed(["pool", "open"] + rig.disks)
    try await server.refuse(["pool", "open", "--read-only"] + rig.disks, saying: ["open already"])
    try await server.refuse(["pool", "check", "--offline"] + rig.disks, saying: ["in use"])
    #expect(try await server.succeed("pool", "check", "tank").contains("No faults found."))
    #expect(try await state(server, "pool", "show", "tank").state == "ok")
    try await server.stop()
  }

  @Test func wrongDisksAreRefusedByName() async throws {
    let rig = try await Rig.make(copies: 2)
    let server = rig.server
    try await rig.startAnew()
    let other = (1...2).map { server.directory.file("other\($0)") }
    for (index, _) in other.enumerated() { _ = try server.directory.sparseFile("other\(index + 1)", byteCount: 128 << 20) }
    try await server.refuse(["pool", "open", "--read-only", other[0]], saying: [other[0], "no disk of a pool"])
    try await server.refuse(["pool", "open", "--read-only", rig.disks[0], other[0]], saying: [other[0], "no disk of a pool"])
    try await server.refuse(["pool", "open", "--read-only"], saying: ["name the pool's disks"])
    try await server.refuse(["pool", "open", "--read-only", rig.disks[0], "--accept-loss", "2"], saying: ["--accept-loss"])
    try await server.refuse(["pool", "check", "--offline", other[0]], saying: [other[0]])
    try await server.refuse(["pool", "check"], saying: ["--offline"])
    #expect(try await server.succeed("pool", "list").hasPrefix("No pools."))

    // Disks of two pools are two pools.
    try await server.succeed(["pool", "create", "second"] + other)
    try await server.refuse(["pool", "check", "--offline", rig.disks[0], other[0]], saying: ["in use"])
    try await server.succeed("pool", "close", "second")
    try await server.refuse(["pool", "check", "--offline", rig.disks[0], other[0]], saying: ["belongs to pool"])
    try await server.succeed("pool", "open", "--read-only", rig.disks[0], rig.disks[1], other[0], other[1])
    #expect(try await state(server, "pool", "show", "second").state == "readOnly")
    #expect(try await state(server, "pool", "show", "tank").state == "readOnly")
    try await server.stop()
  }
}
