import CLinux
import Foundation
import TestSupport
import Testing

@testable import NBDServer

extension ServerTests {
  /// Requests and replies through TLS.
  @Suite struct TLSTransmissionTests {
    private let byteCount = 16 << 20

    private func configuration() async throws -> TLSConfiguration {
      let certificates = try await TestCertificates.make()
      return TLSConfiguration(isRequired: true, certificateDirectory: certificates.server, pskFile: certificates.pskFile)
    }

    private func pattern(_ count: Int, seed: UInt64 = 3) -> [UInt8] {
      var random = SeededGenerator(seed: seed)
      var bytes: [UInt8] = []
      bytes.reserveCapacity(count)
      while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
      return Array(bytes.prefix(count))
    }

    private func enter(_ harness: ServerHarness, priority: String = TLSClient.modern, recordByteCount: Int? = nil) throws -> TLSClient {
      let raw = try harness.connect()
      try raw.startTLS()
      let client = try TLSClient(raw, priority: priority)
      if let recordByteCount { try client.limitRecords(to: recordByteCount) }
      try client.handshake()
      try client.enter()
      return client
    }

    @Test(
      arguments: [(TLSClient.modern, nil), (TLSClient.tls12, nil), (TLSClient.tls12, 512), (TLSClient.modern, 512)] as [(String, Int?)])
    func payloadsOfAllSizesArriveWhole(priority: String, recordByteCount: Int?) async throws {
      try await ServerHarness.run(byteCount: byteCount, tls: configuration()) { harness in
        let client = try enter(harness, priority: priority, recordByteCount: recordByteCount)
        for count in [1, 511, 4096, 16 << 10, (16 << 10) + 1, 65_535, 100_000, 1 << 20, 4 << 20] {
          let bytes = pattern(count, seed: UInt64(count))
          #expect(try client.write(bytes, at: 4096) == 0)
          #expect(try client.read(at: 4096, length: UInt32(count)) == bytes)
        }
      }
    }

    /// Headers and payloads of every kind of reply lie in records as it comes.
    @Test(arguments: Mode.allCases) func everyModeIsSpokenThroughTLS(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: byteCount, tls: configuration()) { harness in
        let contexts = mode.hasChunks ? ["base:allocation"] : []
        let client = try ConformanceClient(harness, mode, contexts: contexts) { raw in
          let client = try TLSClient(raw)
          try client.handshake()
          return client
        }
        for count in [1, 4096, 100_000, 1 << 20] {
          let bytes = pattern(count, seed: UInt64(count))
          #expect(try client.write(bytes, at: 512) == 0)
          #expect(try client.read(at: 512, length: UInt64(count)).bytes == bytes)
          #expect(try client.error(3) == 0)
        }
        #expect(try client.error(0, at: UInt64(byteCount), length: 1) == 22)
        if mode.hasChunks { #expect(try !client.status("base:allocation", at: 0, length: 1 << 20).isEmpty) }
        // Many at once: their replies share sends and records.
        let whole = try client.read(at: 0, length: 10_000).bytes
        var places: [UInt64: Int] = [:]
        for place in stride(from: 0, to: 6400, by: 100) {
          let cookie = try client.send(0, at: UInt64(place), length: 3000)
          places[cookie] = place
        }
        for _ in 0..<64 {
          let reply = try client.receive()
          let known = places.removeValue(forKey: reply.cookie)
          let place = try #require(known)
          #expect(reply.bytes == Array(whole[place..<place + 3000]))
        }
      }
    }

    @Test func manyRequestsInOneRecordAndOneInMany() async throws {
      try await ServerHarness.run(byteCount: byteCount, tls: configuration()) { harness in
        let client = try enter(harness)
        var requests: [UInt8] = []
        for index in 0..<200 {
          requests += RawClient.request(
            1, cookie: UInt64(index), at: UInt64(index) * 512, length: 512, payload: [UInt8](repeating: UInt8(index), count: 512))
        }
        try client.send(requests)
        var cookies = Set<UInt64>()
        for _ in 0..<200 {
          let reply = try client.receiveReply()
          #expect(reply.error == 0)
          cookies.insert(reply.cookie)
        }
        #expect(cookies.count == 200)
        for byte in RawClient.request(0, cookie: 9, at: 199 * 512, length: 512) { try client.send([byte]) }
        #expect(try client.receiveReply().cookie == 9)
        #expect(try client.receive(512) == [UInt8](repeating: 199, count: 512))
      }
    }

    /// A receive has ended in the middle of a record, and its task has not run yet, when the connection is looked at. Any byte may come there.
    @Test func theRestOfARecordOutlivesTheGivingBack() async throws {
      let context = try TLSContext(await configuration())
      let session = try #require(await context.makeSession())
      let head = session.inputRoom
      head.copyBytes(from: [22, 3, 1] as [UInt8])
      session.addInput(3)
      #expect(session.handshake() == .again)
      let rest = session.inputRoom
      rest[0] = 0
      rest[1] = 200
      session.giveBackMemory()
      #expect(rest[1] == 200)
    }

    @Test func keysMayChangeOnTheWay() async throws {
      try await ServerHarness.run(byteCount: byteCount, tls: configuration()) { harness in
        let client = try enter(harness)
        let bytes = pattern(200_000)
        for _ in 0..<4 {
          try client.updateKeys(peer: true)
          #expect(try client.write(bytes, at: 0) == 0)
          #expect(try client.read(at: 0, length: 200_000) == bytes)
        }
      }
    }

    @Test func nobodyNegotiatesAnewAndADamagedRecordEndsTheConnection() async throws {
      try await ServerHarness.run(tls: configuration()) { harness in
        let again = try enter(harness, priority: TLSClient.tls12)
        #expect(throws: (any Error).self) {
          try again.handshake()
          _ = try again.read(at: 0, length: 512)
        }
        for priority in [TLSClient.modern, TLSClient.tls12] {
          let damaged = try enter(harness, priority: priority)
          try damaged.raw.send([23, 3, 3, 0, 40] + pattern(40))
          _ = damaged.raw.receiveRest()
        }
        await harness.until("all to be gone") { $0.server.statistics.connections.isEmpty }
        #expect(try enter(harness).read(at: 0, length: 3).count == 3)
      }
    }

    @Test func theServerSaysGoodbye() async throws {
      try await ServerHarness.run(tls: configuration()) { harness in
        let client = try enter(harness)
        #expect(try client.write([1], at: 0) == 0)
        #expect(await harness.server.stop() == 0)
        #expect(client.isLeftInOrder())
      }
    }

    @Test func aClientThatDoesNotReadIsCutOff() async throws {
      var limits = NBDLimits.standard
      limits.stallMilliseconds = 200
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits, byteCount: byteCount, tls: configuration()) { harness in
        let client = try enter(harness)
        for cookie in 0..<4 { try client.send(RawClient.request(0, cookie: UInt64(cookie), length: 4 << 20)) }
        await harness.until("it to be gone") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openCount } == 0)
      }
    }
  }

  /// Clients that no one here wrote, through TLS.
  @Suite struct TLSClientTests {
    private let byteCount = 16 << 20

    @Test func libnbdCopiesWithPreSharedKeys() async throws {
      let certificates = try await TestCertificates.make()
      let configuration = TLSConfiguration(isRequired: true, pskFile: certificates.pskFile)
      try await ServerHarness.run(byteCount: byteCount, tls: configuration) { harness in
        let options = "tls-psk-file=\(certificates.pskFile)"
        let uri = "nbds+unix://alice@/disk?socket=\(harness.socketPath)&\(options)"
        let info = try await Program.succeed(["nbdinfo", uri])
        #expect(info.contains("with TLS") && info.contains("export-size: 16777216"))
        #expect(try await Program.succeed(["nbdinfo", "--list", uri]).contains("export=\"disk\""))
        let tcp = "nbds://alice@" + harness.tcpAddress.description.dropFirst(4) + "/disk?\(options)"
        try await copyThereAndBack(tcp, ["-C", "4", "-R", "64"])
        #expect(try await !Program.run(["nbdinfo", "nbd+unix:///disk?socket=\(harness.socketPath)"]).succeeded)
        #expect(try await !Program.run(["nbdinfo", uri.replacing("alice@", with: "bob@")]).succeeded)
      }
    }

    @Test func libnbdCopiesWithCertificates() async throws {
      let certificates = try await TestCertificates.make()
      let configuration = TLSConfiguration(isRequired: true, certificateDirectory: certificates.server, verifiesPeer: true)
      try await ServerHarness.run(byteCount: byteCount, tls: configuration) { harness in
        let address = harness.tcpAddress.description.dropFirst(4)
        let uri = "nbds://\(address)/disk?tls-certificates=\(certificates.client)"
        #expect(try await Program.succeed(["nbdinfo", uri]).contains("with TLS"))
        for options in [["--request-size=262144"], ["-C", "4", "-R", "128"], ["--synchronous"]] { try await copyThereAndBack(uri, options) }
        #expect(try await !Program.run(["nbdinfo", "nbds://\(address)/disk?tls-certificates=\(certificates.stranger)"]).succeeded)
      }
    }

    private func copyThereAndBack(_ uri: String, _ options: [String]) async throws {
      let directory = try TemporaryDirectory()
      let (image, back) = (directory.file("image"), directory.file("back"))
      try await Program.succeed(["dd", "if=/dev/urandom", "of=\(image)", "bs=1M", "count=16", "status=none"])
      try await Program.succeed(["nbdcopy"] + options + [image, uri])
      try await Program.succeed(["nbdcopy"] + options + [uri, back])
      try await Program.succeed(["cmp", image, back])
    }

    @Test func qemuReadsAndWrites() async throws {
      let certificates = try await TestCertificates.make()
      let configuration = TLSConfiguration(
        isRequired: true, certificateDirectory: certificates.server, pskFile: certificates.pskFile, verifiesPeer: true)
      try await ServerHarness.run(byteCount: byteCount, tls: configuration) { harness in
        let psk = "tls-creds-psk,id=tls0,endpoint=client,username=alice,dir=\(certificates.directory.file("psk"))"
        let x509 = "tls-creds-x509,id=tls0,endpoint=client,dir=\(certificates.client)"
        let port = harness.tcpAddress.description.split(separator: ":").last ?? ""
        let unix = "driver=nbd,server.type=unix,server.path=\(harness.socketPath),export=disk,tls-creds=tls0"
        let tcp = "driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=\(port),export=disk,tls-creds=tls0"
        for (credentials, target) in [(psk, unix), (psk, tcp), (x509, tcp)] {
          let text = try await Program.succeed([
            "qemu-io", "--object", credentials, "--image-opts", target, "-c", "write -P 0x5a 64k 3M", "-c", "read -P 0x5a 64k 3M", "-c",
            "flush",
            "-c", "write -z 0 1M", "-c", "read -P 0 0 1M",
          ])
          #expect(!text.contains("failed") && !text.contains("error"), "\(text)")
        }
        #expect(try await Program.succeed(["qemu-img", "info", "--object", x509, "--image-opts", tcp]).contains("16 MiB"))
      }
    }
  }
}
