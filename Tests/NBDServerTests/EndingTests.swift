import BlockDevice
import CLinux
import Reactor
import Testing

@testable import NBDServer

extension ServerTests {
  @Suite struct EndingTests {
    @Test func disconnectFinishesWhatIsInFlightAndAnswersIt() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        try client.send(RawClient.request(0, cookie: 1, length: 512) + RawClient.request(2) + RawClient.request(3, cookie: 2))
        await harness.until("the read is in the device") { $0.device.waitingCount == 1 }
        await harness.on { $0.device.openGate() }
        #expect(try client.receiveReply() == (0, 1))
        _ = try client.receive(512)
        #expect(client.isClosedByServer())  // and nothing after DISC was done
        #expect(await harness.on { $0.device.calls.map(\.operation) } == [.read])
      }
    }

    @Test func aWithdrawnDevicesClientsGetTheirAnswersAndAreSentAway() async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.directory.devices.append(("other", TestDevice(reactor: $0.reactor, byteCount: 4096))) }
        let (client, second, other) = (try harness.enter(), try harness.enter(), try harness.enter("other"))
        await harness.on { $0.device.shutGate() }
        try client.send(RawClient.request(0, cookie: 1, length: 512))
        await harness.until("the read is in the device") { $0.device.waitingCount == 1 }
        let ending = await harness.on { harness in
          harness.device.failure = BlockError(.shuttingDown)
          return harness.reactor.spawn { #expect(await harness.server.endSessions(of: harness.device, within: 60_000) == 0) }
        }
        #expect(second.isClosedByServer())
        await harness.on { $0.device.openGate() }
        #expect(try client.receiveReply() == (108, 1))
        #expect(client.isClosedByServer())
        await ending.value
        #expect(try other.read(at: 0, length: 512) == [UInt8](repeating: 0, count: 512))
        // One that was withdrawn during its handshake.
        await harness.on { $0.directory.withdrawsAtOnce = true }
        #expect(try harness.enter().isClosedByServer())
        await harness.on { $0.directory.withdrawsAtOnce = false }
      }
    }

    @Test func whoDoesNotGetItsAnswersInTimeIsCutOff() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        try client.send(RawClient.request(0, cookie: 1, length: 512))
        await harness.until("the read is in the device") { $0.device.waitingCount == 1 }
        await harness.reactor.run { () async in
          #expect(await harness.server.endSessions(of: harness.device, within: 20) == 1)
        }
        #expect(client.isClosedByServer())
      }
    }

    /// The records of TLS take several receives.
    @Test func whoIsBetweenTwoReceivesLearnsOfTheEndToo() async throws {
      let reactor = try RingReactor.start(name: "test")
      defer { reactor.stop() }
      var pair: [Int32] = [0, 0]
      #expect(socketpair(AF_UNIX, CLinuxSocket.stream, 0, &pair) == 0)
      let (near, far) = (pair[0], RawClient(descriptor: pair[1]))
      try far.send([1, 2, 3])
      await reactor.run { () async in
        let socket = ClientSocket(reactor: reactor, descriptor: near)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
        defer { memory.deallocate() }
        await socket.cancelReceive()
        #expect(await socket.receiveRaw(into: memory) == -Int(ECANCELED))
        socket.close()
      }
    }

    @Test func aStoppedServerTakesNoClientFromAnybody() async throws {
      try await ServerHarness.run { harness in
        #expect(await harness.server.stop() == 0)
        var pair: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, CLinuxSocket.stream, 0, &pair) == 0)
        let (near, far) = (pair[0], RawClient(descriptor: pair[1]))
        await harness.reactor.run { () async in await harness.server.serveToTheEnd(descriptor: near) }
        #expect(far.receiveRest().isEmpty)
        #expect(await harness.on { $0.server.statistics.accepted } == 0)
      }
    }

    @Test func aHalfClosedClientGetsItsRepliesAndThenTheEnd() async throws {
      try await ServerHarness.run { harness in
        for client in [try harness.connect(), try harness.connectTCP()] {
          try client.enter()
          try client.send(RawClient.request(1, cookie: 1, length: 3, payload: [1, 2, 3]))
          try client.send(RawClient.request(0, cookie: 2, at: 4096, length: 512))
          client.shutdownWrites()
          #expect(try Set([client.receiveReply().cookie, readCookie(client)]) == [1, 2])
          #expect(client.isClosedByServer())
        }
      }
    }

    private func readCookie(_ client: RawClient) throws -> UInt64 {
      let cookie = try client.receiveReply().cookie
      _ = try client.receive(512)
      return cookie
    }

    @Test func aWrongRequestMagicEndsTheConnectionAfterTheReplies() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        try client.send(RawClient.request(3, cookie: 4) + [UInt8](repeating: 0x55, count: 28))
        #expect(try client.receiveReply() == (0, 4))
        #expect(client.isClosedByServer())
      }
    }

    @Test func theExportIsClosedOnlyAfterTheLastRequestOfAClientThatHungUp() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        let payload = [UInt8](repeating: 1, count: 60_000)
        try client.send(RawClient.request(1, length: 60_000, payload: payload) + RawClient.request(0, length: 60_000))
        try client.send(RawClient.request(1, at: 100_000, length: 60_000, payload: Array(payload[..<30_000])))  // half a payload
        await harness.until("two are in the device") { $0.device.waitingCount == 2 && $0.server.statistics.connections[0].requests == 3 }
        client.close()
        await harness.until("the third is dropped") { $0.server.statistics.connections[0].requestsInFlight == 2 }
        #expect(await harness.on { $0.directory.openCount } == 1)
        await harness.on { $0.device.openGate() }
        await harness.until("the client is forgotten") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openCount } == 0)
        #expect(await harness.on { $0.device.content[59_999] } == 1)
        #expect(await harness.on { $0.device.content[100_000] } == 0)
        #expect(await harness.on { $0.reactor.buffers.heldCount == 0 })
      }
    }

    @Test func hangingUpAnywhereInTransmissionLeaksNothing() async throws {
      try await ServerHarness.run { harness in
        var stream: [UInt8] = []
        for index in 0..<6 {
          stream += RawClient.request(1, at: UInt64(index) * 512, length: 300, payload: [UInt8](repeating: 5, count: 300))
          stream += RawClient.request(0, at: 0, length: 200_000)
        }
        for length in stride(from: 0, through: stream.count, by: 13) {
          let client = try harness.enter()
          try client.send(Array(stream[..<length]))
          client.close()
        }
        await harness.until("all are gone") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openCount } == 0)
        #expect(await harness.on { $0.reactor.buffers.heldCount == 0 })
      }
    }

    @Test func aClientThatDoesNotReadItsRepliesIsCutOffAndItsBuffersComeBack() async throws {
      var limits = NBDLimits()
      limits.stallMilliseconds = 200
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let idle = try harness.enter()
        let client = try harness.enter()
        for _ in 0..<128 { try client.send(RawClient.request(0, length: 30_000)) }
        await harness.until("it is cut off") { $0.server.statistics.connections.count == 1 }
        #expect(await harness.on { $0.reactor.buffers.heldCount == 0 })
        #expect(try idle.perform(3) == 0)
      }
    }

    @Test func aPayloadThatDoesNotComeIsNotWaitedForForEver() async throws {
      var limits = NBDLimits()
      limits.stallMilliseconds = 200
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        try client.send(RawClient.request(1, length: 30_000, payload: [1, 2, 3]))
        #expect(client.isClosedByServer())
        let refused = try harness.enter()
        try refused.send(RawClient.request(1, at: .max, length: 30_000, payload: [1, 2, 3]))
        #expect(refused.isClosedByServer())
        #expect(await harness.on { $0.device.calls.isEmpty })
      }
    }

    // MARK: While an export is being opened

    private enum Ending: CaseIterable { case stop, hangUp, timeLimit }

    /// Whatever ends the connection meanwhile: the export that comes then is closed again, and nothing was asked of it.
    @Test(arguments: Ending.allCases, [UInt32(1), 7])
    private func whoIsGoneWhenItsExportIsOpenLeavesItClosed(ending: Ending, option: UInt32) async throws {
      var limits = NBDLimits()
      limits.watchMilliseconds = 20
      if ending == .timeLimit { limits.handshakeMilliseconds = 200 }
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.connect()
        await harness.on { $0.directory.shutGate() }
        try client.greet()
        let data = option == 1 ? Array("disk".utf8) : RawClient.query("disk")
        try client.send(RawClient.option(option, data) + RawClient.request(0, length: 512))
        await harness.until("the export is being opened") { $0.directory.waitingCount == 1 }
        let server = harness.server
        let stopping = ending == .stop ? Task { await server.stop() } : nil
        if ending == .hangUp { client.close() } else { #expect(client.isClosedByServer()) }
        #expect(await harness.on { $0.server.statistics.connections.count } == 1, "it waits for its export")
        await harness.on { $0.directory.openGate() }
        await harness.until("it is forgotten") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openedEver } == 1)
        #expect(await harness.on { $0.directory.openCount } == 0)
        if let stopping { #expect(await stopping.value == 0) }
        if ending != .hangUp { #expect(await harness.on { $0.device.calls.isEmpty }) }
      }
    }

    // MARK: Stop

    @Test(arguments: [false, true]) func stopAnswersWhatWasReadAndNothingElse(overTCP: Bool) async throws {
      var limits = NBDLimits()
      limits.lingerMilliseconds = 100
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let client = overTCP ? try harness.connectTCP() : try harness.connect()
        try client.enter()
        let idle = try harness.enter()
        let dawdler = try harness.connect()
        try dawdler.greet()
        await harness.on { $0.device.shutGate() }
        for cookie in UInt64(1)...3 { try client.send(RawClient.request(1, cookie: cookie, length: 2, payload: [7, 7])) }
        try client.send(RawClient.request(1, cookie: 4, at: 100, length: 20_000, payload: [7, 7]))  // not whole
        await harness.until("three are in the device") { $0.device.waitingCount == 3 && $0.server.statistics.connections[0].requests == 4 }
        let server = harness.server
        async let left = server.stop()
        #expect(idle.isClosedByServer())
        #expect(dawdler.isClosedByServer())
        try client.send([7, 7] + RawClient.request(3, cookie: 5))  // nobody reads this any more
        #expect(client.isSilent())
        await harness.on { $0.device.openGate() }
        #expect(try Set((1...3).map { _ in try client.receiveReply().cookie }) == [1, 2, 3])
        #expect(client.isClosedByServer())
        #expect(await left == 0)
        #expect(await harness.on { $0.device.calls.count } == 3)
        #expect(throws: ServerHarness.Gone.self) { try harness.connect() }
        #expect(access(harness.socketPath, F_OK) != 0)
      }
    }

    @Test func stopDoesNotWaitForeverForADeviceThatHangs() async throws {
      var limits = NBDLimits()
      limits.stopMilliseconds = 200
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        try client.send(RawClient.request(0, length: 512))
        await harness.until("it is in the device") { $0.device.waitingCount == 1 }
        #expect(await harness.server.stop() == 1)
        #expect(client.isClosedByServer())
        await harness.on { $0.device.openGate() }
        await harness.until("it ends when the device answers") { $0.server.statistics.connections.isEmpty }
      }
    }

    // MARK: Socket files

    @Test func theSocketFileIsPrivateAndALiveServersIsNotTaken() async throws {
      try await ServerHarness.run { harness in
        var status = stat()
        #expect(lstat(harness.socketPath, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        #expect(throws: ListenError.self) { try ListeningSocket.open(.unix(path: harness.socketPath)) }
        let client = try harness.enter()
        #expect(try client.perform(3) == 0)
      }
    }

    @Test func aStaleSocketIsReplacedAndAnythingElseIsNot() throws {
      let path = "/tmp/spaceport-nbd-stale-\(getpid())"
      for socket in try ListeningSocket.open(.unix(path: path)) { _ = close(socket.descriptor) }  // as a killed server leaves it
      #expect(access(path, F_OK) == 0)
      let sockets = try ListeningSocket.open(.unix(path: path))
      #expect(sockets.count == 1)
      for socket in sockets { socket.close() }
      #expect(access(path, F_OK) != 0)
      _ = close(clinux_open(path, O_CREAT | O_WRONLY, 0o600))
      #expect(throws: ListenError.self) { try ListeningSocket.open(.unix(path: path)) }
      unlink(path)
      #expect(throws: ListenError.self) { try ListeningSocket.open(.unix(path: "/tmp/" + String(repeating: "x", count: 103))) }
      #expect(throws: ListenError.self) { try ListeningSocket.open(.unix(path: "/nonexistent/socket")) }
      #expect(throws: ListenError.self) { try ListeningSocket.open(.tcp(host: "host.invalid", port: 0)) }
      // For its owner alone, or for a group too.
      for (group, mode) in [(nil, UInt32(0o600)), (getegid(), 0o660)] as [(UInt32?, UInt32)] {
        let sockets = try ListeningSocket.open(.unix(path: path), group: group)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == mode && status.st_gid == getegid())
        for socket in sockets { socket.close() }
      }
    }

    @Test func aFailedStartLeavesNothingBehind() async throws {
      try await ServerHarness.run { harness in
        let path = harness.socketPath + "-second"
        let second = NBDServer(reactor: harness.reactor, directory: harness.directory)
        await #expect(throws: ListenError.self) { try await second.start(listeners: [.unix(path: path), harness.tcpAddress]) }
        #expect(access(path, F_OK) != 0)
      }
    }
  }
}
