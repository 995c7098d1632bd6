import Foundation
import TestSupport
import Testing

/// Who may open what, at the real server and with clients that no one here wrote.
@Suite(.serialized) struct AccessTests {
  private static let python = "/usr/bin/python3"

  /// A server with TLS offered, a virtual disk `tank/data` with a partition, and `tank/other`.
  private func run(_ body: (SpaceportServer, _ tcp: String, _ options: String) async throws -> Void) async throws {
    let server = try SpaceportServer()
    let keys = server.directory.file("keys.psk")
    for user in ["alice", "bob"] { try await succeed("psktool", "--username", user, "--pskfile", keys) }
    try await server.start(extraArguments: ["--listen", "tcp:127.0.0.1:0", "--tls", "offer", "--tls-psk", keys])
    try await server.makePool()
    for name in ["data", "other"] { try await server.succeed("vdisk", "create", "tank/\(name)", "--size", "64MiB") }
    try await server.succeed("partition", "init", "tank/data")
    try await server.succeed("partition", "create", "tank/data", "--size", "16MiB", "--label", "part")
    let status = try await server.succeed("status", "--json")
    let tcp = try #require(status.firstMatch(of: #/tcp:(127\.0\.0\.1:\d+)/#)?.1)
    try await body(server, String(tcp), "tls-psk-file=\(keys)")
    try await server.stop()
  }

  private func opens(_ uri: String) async throws -> Bool { try await Program.run(["nbdinfo", uri]).succeeded }

  /// What LIST has; nbdinfo shows a partition by its number where it was listed by its label.
  private func names(_ uri: String) async throws -> Set<String> {
    let text = try await succeed("nbdinfo", "--list", uri)
    return Set(text.matches(of: #/export="([^"]*)"/#).map { String($0.1) })
  }

  @Test func usersAndPeersAreLetInByTheirBits() async throws {
    try await run { server, tcp, _ in
      let unix = server.uri("tank/data")
      #expect(try await opens(unix))
      #expect(try await opens("nbd://\(tcp)/tank/data"))
      try await server.succeed("export", "set", "tank/data", "--allow-user", "\(getuid())")
      #expect(try await opens(unix))
      #expect(try await !opens("nbd://\(tcp)/tank/data"))
      #expect(try await !opens("nbd://\(tcp)/tank/data/1"))
      try await waitUntil("the log to say who was refused") { server.log.contains("export=tank/data/1 peer=127.0.0.1") }
      #expect(try await opens("nbd://\(tcp)/tank/other"))
      #expect(try await names("nbd://\(tcp)/") == ["tank/other"])
      try await server.succeed("export", "set", "tank/data", "--clear", "users", "--allow-peer", "127.0.0.10", "--allow-peer", "::1")
      #expect(try await !opens("nbd://\(tcp)/tank/data"))
      #expect(try await !opens(unix))
      try await server.succeed("export", "set", "tank/data", "--allow-peer", "127.0.0.0/30")
      #expect(try await opens("nbd://\(tcp)/tank/data/part"))
      #expect(try await names(server.uri("")) == ["tank/other"])
      try await server.refuse(["export", "set", "tank/data", "--allow-peer", "127.0.0.1/8"], saying: ["127.0.0.0/8"])
      try await server.refuse(["export", "set", "tank/data/2", "--read-only", "yes"], saying: ["no partition 2"])
    }
  }

  /// What only TLS can show is asked for by its number (TLS_REQD, 2^31 + 5); everybody else is told of the policy (2^31 + 2).
  @Test func whoNeedsTLSIsToldSoByItsNumber() async throws {
    try await run { server, tcp, _ in
      func numbers(_ name: String) async throws -> [UInt32] {
        let script = """
          import socket, struct
          host, port = "\(tcp)".rsplit(":", 1)
          name = b"\(name)"
          stream = socket.create_connection((host, int(port)), 20).makefile("rwb")
          assert stream.read(18)[16:] == bytes([0, 3])
          stream.write(struct.pack(">I", 3))
          for option in (6, 7):
              data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
              stream.write(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)
              stream.flush()
              magic, answered, kind, length = struct.unpack(">QIII", stream.read(20))
              assert magic == 0x3e889045565a9 and answered == option
              stream.read(length)
              print(kind)
          """
        return try await succeed(Self.python, "-c", script).split(separator: "\n").compactMap { UInt32($0) }
      }
      let needsTLS: [UInt32] = [1 << 31 + 5, 1 << 31 + 5]
      let policy: [UInt32] = [1 << 31 + 2, 1 << 31 + 2]
      let names = ["tank/data", "tank/data/1", "tank/data/nothing"]
      try await server.succeed("export", "set", "tank/data", "--allow-psk-user", "alice")
      for name in names { #expect(try await numbers(name) == needsTLS, "\(name)") }
      try await server.succeed("export", "set", "tank/data", "--allow-user", "\(getuid())")
      for name in names { #expect(try await numbers(name) == policy, "\(name)") }
    }
  }

  @Test func aPartitionMayHaveARuleOfItsOwn() async throws {
    try await run { server, tcp, options in
      let secret = "nbds://alice@\(tcp)/tank/data"
      try await server.succeed("export", "set", "tank/data", "--allow-psk-user", "alice", "--read-only", "yes")
      #expect(try await !opens("nbd://\(tcp)/tank/data"))
      #expect(try await !opens("nbds://bob@\(tcp)/tank/data?\(options)"))
      #expect(try await succeed("nbdinfo", "\(secret)?\(options)").contains("is_read_only: true"))
      #expect(try await succeed("nbdinfo", "\(secret)/1?\(options)").contains("is_read_only: true"))
      // It begins with what held before, so that setting one thing lets nobody in.
      try await server.succeed("export", "set", "tank/data/part", "--read-only", "no")
      #expect(try await !opens("nbd://\(tcp)/tank/data/1"))
      #expect(try await succeed("nbdinfo", "\(secret)/1?\(options)").contains("is_read_only: false"))
      try await server.succeed("export", "set", "tank/data/1", "--clear", "psk-users")
      #expect(try await names("nbd://\(tcp)/") == ["tank/data/1", "tank/other"])
      try await server.succeed("export", "reset", "tank/data/1")
      #expect(try await !opens("nbd://\(tcp)/tank/data/1"))
      // Nobody could have such a name here, also beside one that somebody can have.
      for more in [[], ["--allow-psk-user", "alice"]] {
        try await server.refuse(["export", "set", "tank/other", "--allow-certificate", "x"] + more, saying: ["--tls-verify-peer"])
      }
    }
  }

  @Test func certificatesAreLetInByTheirNames() async throws {
    let certificates = try await TestCertificates.makeOwn()
    let other = try await certificates.makeClient(named: "other.example")
    let server = try SpaceportServer()
    try await server.start(extraArguments: [
      "--listen", "tcp:127.0.0.1:0", "--tls", "offer", "--tls-certificates", certificates.server, "--tls-verify-peer",
    ])
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/data", "--size", "64MiB")
    let status = try await server.succeed("status", "--json")
    let tcp = try #require(status.firstMatch(of: #/tcp:(127\.0\.0\.1:\d+)/#)?.1)
    func uri(_ directory: String) -> String { "nbds://\(tcp)/tank/data?tls-certificates=\(directory)" }
    for client in [certificates.client, other] { #expect(try await opens(uri(client))) }
    try await server.succeed("export", "set", "tank/data", "--allow-certificate", "host.example")
    #expect(try await opens(uri(certificates.client)))
    #expect(try await !opens(uri(other)))
    #expect(try await !opens("nbd://\(tcp)/tank/data"))
    let print = try await succeed("certtool", "--fingerprint", "--hash", "sha256", "--infile", "\(other)/client-cert.pem")
    try await server.succeed(
      "export", "set", "tank/data", "--allow-certificate", "sha256:" + print.filter(\.isHexDigit), "--allow-certificate", "nobody")
    #expect(try await !opens(uri(certificates.client)))
    #expect(try await opens(uri(other)))
    try await server.refuse(["export", "set", "tank/data", "--allow-certificate", "sha256:01ab"], saying: ["64 hexadecimal digits"])
    try await server.refuse(["export", "set", "tank/data", "--allow-psk-user", "alice"], saying: ["--tls-psk"])
    try await server.refuse(["export", "set", "tank/data", "--allow-peer", "fe80::1"], saying: ["link-local"])
    try await server.stop()
  }

  /// Keys that are spoilt while the server runs, and rules that need keys that it was not given at its next start.
  @Test func theStatusTellsOfKeysThatCannotBeUsed() async throws {
    try await run { server, _, _ in
      #expect(try await server.succeed("status").contains(#/TLS: +offered/#))
      let keys = server.directory.file("keys.psk")
      let good = try Data(contentsOf: URL(fileURLWithPath: keys))
      try Data("alice\n".utf8).write(to: URL(fileURLWithPath: keys))
      #expect(try await server.succeed("status").contains("Line 1 of \(keys)"))
      #expect(server.log.contains("Line 1 of \(keys)"))
      try good.write(to: URL(fileURLWithPath: keys))
      #expect(try await !server.succeed("status").contains("Line 1 of"))
      try await server.succeed("export", "set", "tank/data", "--allow-psk-user", "alice")
      try await server.stop()
      try await server.start()
      let status = try await server.succeed("status")
      #expect(status.contains("1 access rule asks for") && !status.contains("TLS:"), "\(status)")
    }
  }

  /// qemu-nbd and nbdinfo ask several times for each export, in one session.
  @Test func manyExportsAreListed() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    for number in 1...40 { try await server.succeed("vdisk", "create", "tank/d\(number)", "--size", "16MiB") }
    #expect(try await names(server.uri("")).count == 40)
    let text = try await succeed("qemu-nbd", "--list", "--socket", server.nbdSocket)
    #expect(text.contains("exports available: 40") && text.contains("tank/d40"), "\(text)")
    try await server.stop()
  }

  /// Another user can be let in only where the socket's mode lets it connect.
  @Test(.enabled(if: getuid() == 0, "being another user needs root")) func otherUsersConnectByTheSocketsGroup() async throws {
    let server = try SpaceportServer()
    try await server.start(extraArguments: ["--listen-group", "4712"])
    chmod(server.directory.path, 0o755)
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/data", "--size", "64MiB")
    try await server.succeed("export", "set", "tank/data", "--allow-user", "4711")
    func opens(as user: Int, group: Int) async throws -> Bool {
      try await Program.run(
        ["setpriv", "--reuid", "\(user)", "--regid", "\(group)", "--clear-groups", "nbdinfo", "--size", server.uri("tank/data")]
      ).succeeded
    }
    #expect(try await opens(as: 4711, group: 4712))
    #expect(try await !opens(as: 4711, group: 4711))
    #expect(try await !opens(as: 4710, group: 4712))
    #expect(try await !self.opens(server.uri("tank/data")))
    try await server.stop()
  }

  /// A rule of an MBR partition goes with the partition: its number may be another's tomorrow.
  @Test func aRuleDoesNotFollowAnMBRPartitionsNumber() async throws {
    try await run { server, _, _ in
      func write(_ script: String) async throws {
        let image = server.directory.file("mbr")
        try await succeed("truncate", "-s", "64M", image)
        try await succeed("sh", "-c", "printf '\(script)' | sfdisk --quiet \(image)")
        try await succeed("nbdcopy", image, server.uri("tank/other"))
      }
      let table = "label: dos\\nlabel-id: 0x12345678\\n"
      let extended = table + "start=2048, size=100000, type=5\\n"
      try await write(extended + "start=4096, size=4096\\nstart=10240, size=4096\\n")
      try await server.succeed("export", "set", "tank/other", "--allow-user", "4711")
      try await server.succeed("export", "set", "tank/other/6", "--clear", "users")
      #expect(try await opens(server.uri("tank/other/6")))
      // As root but not by the rule: the disk's is set aside for the writing alone.
      try await server.succeed("export", "set", "tank/other", "--clear", "users")
      try await write(extended + "start=4096, size=4096\\nstart=20480, size=4096\\n")
      try await server.succeed("export", "set", "tank/other", "--allow-user", "4711")
      #expect(try await !opens(server.uri("tank/other/6")), "another partition has the number")
    }
  }

  /// A guest may make as many as a table has room for.
  @Test func manyPartitionsAreListedInPartAndOpenedAll() async throws {
    try await run { server, _, _ in
      let image = server.directory.file("gpt")
      try await succeed("truncate", "-s", "64M", image)
      let entries = (1...300).map { "start=\(2048 + $0 * 8), size=8, name=part\($0)\n" }.joined()
      try Data("label: gpt\ntable-length: 1024\nfirst-lba: 2048\n\(entries)".utf8).write(
        to: URL(fileURLWithPath: server.directory.file("script")))
      try await succeed("sh", "-c", "sfdisk --quiet \(image) < \(server.directory.file("script"))")
      try await succeed("nbdcopy", image, server.uri("tank/other"))
      let script = """
        h.set_opt_mode(True)
        h.connect_uri("\(server.uri(""))")
        names = []
        h.opt_list(lambda name, text: names.append(name))
        other = [name for name in names if name.startswith("tank/other/")]
        assert len(other) == 512 and "tank/other/256" in other and "tank/other/part256" in other and "tank/other/257" not in other, other
        """
      try await succeed(Self.python, "-m", "nbd", "-c", script)
      for name in ["300", "part300"] { #expect(try await opens(server.uri("tank/other/\(name)"))) }
    }
  }

  /// Whoever may not open it learns nothing of its table; whoever may, what is wrong.
  @Test func aDeniedClientIsToldNothingElse() async throws {
    try await run { server, tcp, _ in
      // qemu shows the server's words.
      func answer(_ uri: String) async throws -> String { try await Program.run(["qemu-img", "info", uri]).errors }
      try await succeed(
        "/usr/bin/python3", "-m", "nbd", "-u", server.uri("tank/data"), "-c", "h.pwrite(bytes([7] * 512), 512)", "-c",
        "h.pwrite(bytes(512), 33554432 * 2 - 512)")
      #expect(try await answer(server.uri("tank/data/1")).contains("partition verify"))
      try await server.succeed("export", "set", "tank/data", "--allow-user", "\(getuid())")
      #expect(try await answer(server.uri("tank/data/1")).contains("partition verify"))
      for name in ["1", "part", "nothing"] {
        let text = try await answer("nbd://\(tcp)/tank/data/\(name)")
        #expect(text.contains("You may not open") && !text.contains("partition verify"), "\(text)")
      }
    }
  }

  /// Who may open one partition and nothing else of a virtual disk cannot guess the labels of the others; nor does the default export name what is
  /// not for him.
  @Test func whatIsNotForAClientIsNotNamed() async throws {
    try await run { server, tcp, _ in
      func answer(_ uri: String) async throws -> String { try await Program.run(["qemu-img", "info", uri]).errors }
      try await server.succeed("partition", "create", "tank/data", "--size", "16MiB", "--label", "payroll")
      try await server.succeed("export", "set", "tank/data/1", "--allow-peer", "127.0.0.0/8")
      try await server.succeed("export", "set", "tank/data", "--allow-user", "4711")
      #expect(try await opens("nbd://\(tcp)/tank/data/part"))
      for name in ["2", "payroll", "nothing"] {
        let text = try await answer("nbd://\(tcp)/tank/data/\(name)")
        #expect(text.contains("You may not open tank/data/\(name):"), "\(text)")
      }
      // The only one that this client may open is the default, and no other is named.
      #expect(try await opens("nbd://\(tcp)/"))
      try await server.succeed("export", "set", "tank/other", "--allow-user", "4711")
      #expect(try await answer("nbd://\(tcp)/").contains("There is no default export"))
      try await server.succeed("vdisk", "delete", "tank/data", "--yes")
      #expect(try await answer("nbd://\(tcp)/").contains("There is no default export"))
      try await server.succeed("export", "set", "tank/other", "--clear", "users", "--allow-psk-user", "alice")
      let text = try await answer("nbd://\(tcp)/")
      #expect(text.contains("STARTTLS") && !text.contains("tank/other"), "\(text)")
    }
  }

  @Test func writesToWhatIsReadOnlyAreRefused() async throws {
    try await run { server, _, _ in
      try await server.succeed("export", "set", "tank/data", "--read-only", "yes")
      let script = """
        h.set_strict_mode(0)
        h.connect_uri("\(server.uri("tank/data"))")
        assert h.is_read_only()
        for call in [lambda: h.pwrite(b"x" * 512, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)]:
            try:
                call()
                raise SystemExit("was done")
            except nbd.Error as error:
                assert error.errnum == 1, error
        assert h.pread(512, 512 * 100) == b"\\0" * 512
        """
      try await succeed(Self.python, "-m", "nbd", "-c", script)
    }
  }

  @Test func sessionsEndWhenTheirRightsDo() async throws {
    try await run { server, _, _ in
      // By the rule of the disk that it lies on.
      let writer = try await PartitionHolder(server, export: "tank/data/1")
      let other = try await PartitionHolder(server, export: "tank/other")
      // What takes no right away disturbs nobody.
      try await server.succeed("export", "set", "tank/data", "--allow-user", "\(getuid())", "--allow-user", "4711")
      try await writer.waitForRounds(3)
      try await server.succeed("export", "set", "tank/data", "--read-only", "yes")
      try await writer.waitUntilSentAway()
      #expect(try await server.succeed("export", "show", "tank/data/1", "--json").contains("\"clientCount\" : 0"))
      try await other.waitForRounds(3)
      try await server.succeed("export", "set", "tank/other", "--allow-user", "4711")
      try await other.waitUntilSentAway()
      #expect(try await names(server.uri("")) == ["tank/data", "tank/data/1"])
    }
  }

  @Test func rulesOutliveTheServerAndDieWithTheirDisk() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/data", "--size", "64MiB")
    try await server.succeed("export", "set", "tank/data", "--allow-user", "4711")
    try await server.stop()
    try await server.start()
    #expect(try await !opens(server.uri("tank/data")))
    try await server.succeed("vdisk", "delete", "tank/data", "--yes")
    try await server.succeed("vdisk", "create", "tank/data", "--size", "64MiB")
    #expect(try await opens(server.uri("tank/data")))
    #expect(!server.directory.text("state/access.json").contains("4711"))
    try await server.stop()
    // Nobody is let in by a file that cannot be read.
    try Data("{".utf8).write(to: URL(fileURLWithPath: server.stateDirectory + "/access.json"))
    await #expect(throws: ProgramFailure.self) { try await server.start() }
    #expect(server.log.contains("access.json") && server.log.contains("spaceport export set"))
  }
}
