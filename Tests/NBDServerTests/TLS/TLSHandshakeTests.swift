import CLinux
import Foundation
import TestSupport
import Testing

@testable import NBDServer

extension ServerTests {
  /// STARTTLS and what may not come of it.
  @Suite struct TLSHandshakeTests {
    private let base: UInt32 = 1 << 31

    private func psk(isRequired: Bool = true) async throws -> TLSConfiguration {
      TLSConfiguration(isRequired: isRequired, pskFile: try await TestCertificates.make().pskFile)
    }

    private func x509(verifiesPeer: Bool) async throws -> TLSConfiguration {
      TLSConfiguration(
        isRequired: true, certificateDirectory: try await TestCertificates.make().server, verifiesPeer: verifiesPeer)
    }

    private func aliceKey() async throws -> (user: String, hex: String) {
      let file = try await TestCertificates.make().pskFile
      let line = try String(contentsOfFile: file, encoding: .utf8)
      let parts = line.trimmingCharacters(in: .newlines).split(separator: ":")
      return (String(parts[0]), String(parts[1]))
    }

    private func connect(
      _ harness: ServerHarness, priority: String = TLSClient.modern, directory: String? = nil, psk: (user: String, hex: String)? = nil
    ) throws -> TLSClient {
      let raw = try harness.connect()
      try raw.startTLS()
      let client = try TLSClient(raw, priority: priority, directory: directory, psk: psk)
      try client.handshake()
      return client
    }

    /// Whether the server lets it in, to the answer of an option.
    private func isLetIn(
      _ harness: ServerHarness, priority: String = TLSClient.modern, directory: String? = nil, psk: (user: String, hex: String)? = nil
    ) -> Bool {
      do {
        return try connect(harness, priority: priority, directory: directory, psk: psk).ask(3).last?.type == 1
      } catch {
        if !(error is TLSClient.Failed || error is RawClient.Disconnected) { Issue.record(error) }
        return false
      }
    }

    @Test func whatIsRequiredIsRequiredOfEveryOption() async throws {
      try await ServerHarness.run(tls: psk()) { harness in
        let client = try harness.connect()
        try client.greet()
        for (option, data) in [
          (UInt32(3), [UInt8]()), (6, RawClient.query("disk")), (7, RawClient.query("disk")), (8, []), (9, []), (10, []), (11, []),
          (77, [1, 2]),
          (7, [0xff]),
        ] {
          let replies = try client.ask(option, data)
          #expect(replies.map(\.type) == [base + 5], "option \(option)")
        }
        #expect(try client.ask(2).map(\.type) == [1])
        #expect(client.isClosedByServer())
        let old = try harness.connect()
        try old.greet()
        try old.send(RawClient.option(1, Array("disk".utf8)))
        #expect(old.isClosedByServer())
        #expect(await harness.on { $0.directory.openedEver } == 0)
      }
    }

    @Test func startTLSTakesNoDataAndThereIsNoneWithoutKeys() async throws {
      try await ServerHarness.run(tls: psk(isRequired: false)) { harness in
        let client = try harness.connect()
        try client.greet()
        #expect(try client.ask(5, [0]).map(\.type) == [base + 3])
        #expect(try client.ask(3).map(\.type) == [2, 1])
      }
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        #expect(try client.ask(5).map(\.type) == [base + 2])
        #expect(try client.ask(5, [0]).map(\.type) == [base + 3])
        try client.send(RawClient.option(7, RawClient.query("disk")))
        #expect(try client.receiveOptionReply().type == 3)
      }
    }

    @Test func aSecondStartTLSIsRefusedAndTheSessionGoesOn() async throws {
      let key = try await aliceKey()
      try await ServerHarness.run(tls: psk()) { harness in
        let client = try connect(harness, psk: key)
        #expect(try client.ask(5).map(\.type) == [base + 3])
        try client.enter()
        #expect(try client.write([1, 2, 3], at: 0) == 0)
        let identity = await harness.on { $0.directory.lastClient }
        #expect(identity?.tls?.pskUser == "alice" && identity?.tls?.certificate == nil)
        #expect(identity?.origin == .unix(uid: getuid()))
      }
    }

    /// Somebody in between might have asked for it in the clear: with the state kept, the client would take a chunk for a reply to something else.
    @Test func whatWasAgreedOnInTheClearIsForgotten() async throws {
      let key = try await aliceKey()
      try await ServerHarness.run(tls: psk(isRequired: false)) { harness in
        for option in [UInt32(8), 11] {
          let raw = try harness.connect()
          try raw.greet()
          #expect(try raw.ask(option).map(\.type) == [1])
          #expect(try raw.ask(10, RawClient.metaQuery("disk", ["base:allocation"])).map(\.type) == [4, 1])
          try #require(try raw.ask(5).map(\.type) == [1])
          let client = try TLSClient(raw, psk: key)
          try client.handshake()
          try client.enter()
          #expect(try client.read(at: 0, length: 3) == [0, 0, 0])
        }
      }
    }

    /// The protocol's text: no TLS, and no word of it, with a client that did not set FIXED_NEWSTYLE.
    @Test func withoutFixedNewstyleThereIsNoTLS() async throws {
      for isRequired in [true, false] {
        try await ServerHarness.run(tls: psk(isRequired: isRequired)) { harness in
          await harness.on { $0.directory.refusals = ["sealed": ExportError(.tlsRequired, "over TLS")] }
          for flags in [UInt32(0), 2] {
            let client = try harness.connect()
            try client.greet(flags: flags)
            #expect(try client.ask(5).map(\.type) == [base + 2])
            #expect(try client.ask(7, RawClient.query("sealed")).map(\.type) == [base + 2])
            #expect(try client.ask(3).last?.type == (isRequired ? base + 2 : 1))
            try client.send(RawClient.option(1, Array("disk".utf8)))
            if isRequired {
              #expect(client.isClosedByServer())
            } else {
              #expect(try client.receive(flags == 0 ? 134 : 10).prefix(8) == bigEndian(UInt64(1 << 20))[...])
            }
          }
          #expect(await harness.on { $0.directory.openedEver } == (isRequired ? 0 : 2))
        }
      }
    }

    /// An export that is only for clients over TLS, at a server that offers it.
    @Test func whoCouldBeLetInOverTLSIsToldToBeginIt() async throws {
      let key = try await aliceKey()
      try await ServerHarness.run(tls: psk(isRequired: false)) { harness in
        await harness.on { $0.directory.refusals = ["sealed": ExportError(.tlsRequired, "over TLS")] }
        let client = try harness.connect()
        try client.greet()
        for option in [UInt32(6), 7] { #expect(try client.ask(option, RawClient.query("sealed")).map(\.type) == [base + 5]) }
        _ = try client.ask(8)
        for option in [UInt32(9), 10] {
          let answer = try client.ask(option, RawClient.metaQuery("sealed", [])).map(\.type)
          #expect(answer == [base + 2], "TLS_REQD is an answer to INFO and GO alone")
        }
        try client.send(RawClient.option(1, Array("sealed".utf8)))
        #expect(client.isClosedByServer())
        // Nor to who has begun it.
        let sealed = try connect(harness, psk: key)
        #expect(try sealed.ask(7, RawClient.query("sealed")).map(\.type) == [base + 2])
      }
    }

    @Test func offeredTLSMayBeDoneWithout() async throws {
      let key = try await aliceKey()
      try await ServerHarness.run(tls: psk(isRequired: false)) { harness in
        let plain = try harness.enter()
        let sealed = try connect(harness, psk: key)
        try sealed.enter()
        #expect(try plain.write([9, 8], at: 4096) == 0)
        #expect(try sealed.read(at: 4096, length: 2) == [9, 8])
        #expect(await harness.on { $0.directory.lastClient?.tls != nil })
      }
    }

    /// CVE-2021-3716: what somebody in between has put behind STARTTLS in the clear must not be taken for what came through TLS.
    @Test func plaintextBehindStartTLSIsNoOption() async throws {
      let key = try await aliceKey()
      for isRequired in [true, false] {
        try await ServerHarness.run(tls: psk(isRequired: isRequired)) { harness in
          let client = try harness.connect()
          try client.greet()
          try client.send(RawClient.option(5) + RawClient.option(3) + RawClient.option(7, RawClient.query("disk")))
          #expect(try client.receiveOptionReply() == RawClient.OptionReply(option: 5, type: 1, data: []))
          // An alert at most, then the end.
          let rest = client.receiveRest()
          #expect(rest.count <= 7 && rest.first ?? 21 == 21, "\(rest)")
          #expect(await harness.on { $0.directory.openedEver } == 0)
          // A server that keeps the plaintext for later needs a real handshake behind it.
          let victim = try harness.connect()
          try victim.greet()
          try victim.send(RawClient.option(5) + RawClient.option(3))
          #expect(try victim.receiveOptionReply() == RawClient.OptionReply(option: 5, type: 1, data: []))
          let sealed = try TLSClient(victim, psk: key)
          #expect(throws: TLSClient.Failed.self) { try sealed.handshake() }
        }
      }
    }

    @Test func strangersAreRefused() async throws {
      let key = try await aliceKey()
      let wrong = (user: key.user, hex: String(key.hex.reversed().map { $0 == "0" ? "1" : "0" }))
      try await ServerHarness.run(tls: psk()) { harness in
        #expect(isLetIn(harness, psk: key))
        #expect(!isLetIn(harness, psk: wrong))
        #expect(!isLetIn(harness, psk: ("bob", key.hex)))
        #expect(!isLetIn(harness, priority: TLSClient.tls12, psk: wrong))
        #expect(!isLetIn(harness))
        for old in ["1.0", "1.1"] {
          #expect(!isLetIn(harness, priority: "NORMAL:%COMPAT:-VERS-ALL:+VERS-TLS\(old):+ECDHE-PSK:+DHE-PSK:+SHA1", psk: key))
        }
        #expect(isLetIn(harness, psk: key))
      }
    }

    /// Without forward secrecy, or with ciphers that can be played with. Each with a way in beside it first, so that it is this that is refused.
    @Test func whatIsWeakIsRefused() async throws {
      let key = try await aliceKey()
      let tls12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL"
      try await ServerHarness.run(tls: psk()) { harness in
        #expect(isLetIn(harness, priority: "\(tls12):+PSK:+ECDHE-PSK", psk: key))
        #expect(!isLetIn(harness, priority: "\(tls12):+PSK", psk: key))
        let cbc = "\(tls12):+DHE-PSK:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC:+SHA1:+SHA256"
        #expect(isLetIn(harness, priority: cbc + ":+AES-128-GCM", psk: key))
        #expect(!isLetIn(harness, priority: cbc, psk: key))
      }
      try await ServerHarness.run(tls: x509(verifiesPeer: false)) { harness in
        #expect(isLetIn(harness, priority: "\(tls12):+RSA:+ECDHE-RSA:+ECDHE-ECDSA"))
        #expect(!isLetIn(harness, priority: "\(tls12):+RSA"))
      }
    }

    @Test func onlyClientsOfTheAuthorityAreLetInWhereThatIsAsked() async throws {
      let certificates = try await TestCertificates.make()
      for priority in [TLSClient.modern, TLSClient.tls12] {
        try await ServerHarness.run(tls: x509(verifiesPeer: true)) { harness in
          #expect(!isLetIn(harness, priority: priority))
          #expect(!isLetIn(harness, priority: priority, directory: certificates.stranger))
          #expect(!isLetIn(harness, priority: priority, directory: certificates.thief))
          let client = try connect(harness, priority: priority, directory: certificates.client)
          try client.enter()
          let peer = try #require(await harness.on { $0.directory.lastClient?.tls })
          #expect(peer.certificate?.commonName == "host.example" && peer.pskUser == nil)
          #expect(peer.certificate?.distinguishedName == "CN=host.example,O=Example\\, Inc.")
          #expect(peer.certificate?.fingerprint.count == 32)
          #expect(peer.cipher.contains(priority == TLSClient.tls12 ? "TLS1.2" : "TLS1.3"))
        }
        try await ServerHarness.run(tls: x509(verifiesPeer: false)) { harness in
          let client = try connect(harness, priority: priority, directory: certificates.stranger)
          try client.enter()
          #expect(await harness.on { $0.directory.lastClient?.tls }?.certificate == nil)
        }
      }
    }

    @Test func renewedCertificatesAndRevocationsNeedNoRestart() async throws {
      let own = try await TestCertificates.makeOwn()
      let configuration = TLSConfiguration(isRequired: true, certificateDirectory: own.server, verifiesPeer: true)
      try await ServerHarness.run(tls: configuration) { harness in
        let first = try connect(harness, directory: own.client).serverCertificate()
        try await own.makeServerCertificate()
        let second = try connect(harness, directory: own.client).serverCertificate()
        #expect(!second.isEmpty && first != second)
        // Half of a file is no reason to turn anybody away.
        let path = own.server + "/server-cert.pem"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        try whole.prefix(100).write(to: URL(fileURLWithPath: path))
        #expect(try connect(harness, directory: own.client).serverCertificate() == second)
        try whole.write(to: URL(fileURLWithPath: path))
        try await own.revokeClient()
        #expect(!isLetIn(harness, directory: own.client))
      }
    }

    /// Clients that verify would refuse it, and the operator would not know why.
    @Test func aServerCertificateThatIsNoGoodForClientsIsReported() async throws {
      let own = try await TestCertificates.makeOwn()
      let context = try TLSContext(TLSConfiguration(isRequired: true, certificateDirectory: own.server))
      #expect(await context.currentTroubles().isEmpty)
      let dates = "activation_date = \"2020-01-01 00:00:00 UTC\"\nexpiration_date = \"2021-01-01 00:00:00 UTC\"\n"
      for (template, words) in [("tls_www_server\n" + dates, "has expired"), (TestCertificates.forClients, "not made for servers")] {
        try await own.makeServerCertificate(template)
        let troubles = await context.currentTroubles()
        #expect(troubles.count == 1 && troubles[0].contains(words) && troubles[0].contains("server-cert.pem"), "\(troubles)")
      }
      try await own.makeServerCertificate()
      #expect(await context.currentTroubles().isEmpty)
      try await own.revokeClient()
      #expect(await context.currentTroubles().isEmpty)
      try FileManager.default.removeItem(atPath: own.server + "/ca-crl.pem")
      #expect(await context.currentTroubles().first?.contains("certtool --generate-crl") == true)
    }

    /// That a list is gone, by a slip or because its directory cannot be looked into for a moment, revokes no revocation.
    @Test func whoWasRevokedStaysSoWhenTheListIsGone() async throws {
      let own = try await TestCertificates.makeOwn()
      let configuration = TLSConfiguration(isRequired: true, certificateDirectory: own.server, verifiesPeer: true)
      try await ServerHarness.run(tls: configuration) { harness in
        #expect(isLetIn(harness, directory: own.client))
        try await own.revokeClient()
        #expect(!isLetIn(harness, directory: own.client))
        let list = own.server + "/ca-crl.pem"
        try FileManager.default.moveItem(atPath: list, toPath: list + ".old")
        #expect(!isLetIn(harness, directory: own.client))
        // Nor do new certificates in its place: they are not taken into use.
        try await own.makeServerCertificate()
        #expect(!isLetIn(harness, directory: own.client))
        try FileManager.default.moveItem(atPath: list + ".old", toPath: list)
        #expect(!isLetIn(harness, directory: own.client))
      }
    }

    @Test func clientsThatLeaveOrDawdleInTheHandshakeHoldNothing() async throws {
      var limits = NBDLimits.standard
      limits.handshakeMilliseconds = 400
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits, tls: psk()) { harness in
        let hello = try await clientHello()
        for length in [0, 1, 5, 40, hello.count] {
          let client = try harness.connect()
          try client.startTLS()
          try client.send(Array(hello[..<length]))
        }
        let silent = try harness.connect()
        try silent.startTLS()
        #expect(silent.receiveRest().isEmpty)
        let slow = try harness.connect()
        try slow.startTLS()
        for byte in hello {
          guard (try? slow.send([byte])) != nil, slow.isSilent() else { break }
          try await Task.sleep(for: .milliseconds(20))
        }
        _ = slow.receiveRest()
        await harness.until("all to be gone") { $0.server.statistics.connections.isEmpty }
      }
    }

    /// What GnuTLS says first, caught from a socket pair.
    private func clientHello() async throws -> [UInt8] {
      var pair: [Int32] = [0, 0]
      #expect(socketpair(AF_UNIX, CLinuxSocket.stream | CLinuxSocket.nonBlocking, 0, &pair) == 0)
      let (near, far) = (RawClient(descriptor: pair[0]), RawClient(descriptor: pair[1]))
      try TLSClient(near, psk: await aliceKey()).handshakeStep()
      near.close()
      return far.receiveRest()
    }

    @Test func garbageIsNoHandshakeAndEndsNothingButItsConnection() async throws {
      let key = try await aliceKey()
      let hello = try await clientHello()
      #expect(hello.count > 100)
      var random = SeededGenerator(seed: 11)
      try await ServerHarness.run(tls: psk()) { harness in
        for round in 0..<300 {
          var bytes = hello
          if round.isMultiple(of: 3) {
            bytes = (0..<Int.random(in: 1...600, using: &random)).map { _ in UInt8.random(in: .min ... .max, using: &random) }
          } else {
            for _ in 0...Int.random(in: 0...8, using: &random) {
              bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
          }
          if round.isMultiple(of: 5) { bytes.insert(contentsOf: hello.prefix(round), at: Int.random(in: 0..<bytes.count, using: &random)) }
          let client = try harness.connect()
          try client.startTLS()
          try? client.send(bytes)
          client.shutdownWrites()
          _ = client.receiveRest()
        }
        await harness.until("all to be gone") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openedEver } == 0)
        #expect(isLetIn(harness, psk: key))
      }
    }
  }
}

extension RawClient {
  /// All that comes until the server closes, or nothing does for the time limit.
  func receiveRest() -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < 1 << 20, let byte = try? receive(1) { bytes += byte }
    return bytes
  }
}
