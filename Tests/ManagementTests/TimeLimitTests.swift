import Testing

@testable import Management

/// A storage that hangs must not take the management plane with it.
struct TimeLimitTests {
  @Test func aCallThatHangsIsAnsweredAndOthersGoOn() async throws {
    let gate = Gate()
    // It keeps hanging after it was cancelled.
    let backend = FakeBackend(beforeStatus: { await gate.wait() })
    try await ServerHarness.run(backend, limits: .init(callTimeoutSeconds: 0.2)) { (server) async throws in
      async let late = #expect(throws: APIError.self) { try await server.client.status() }
      #expect(try await eventually { gate.arrivals == 1 })
      #expect(try await server.client.pools() == [])
      let error = await late
      #expect(error?.code == .timedOut)
      #expect(error?.message.contains("GET /v1/status within 0.2 seconds") == true)
      #expect(error?.remedy.isEmpty == false)
      #expect(try await server.client.pools() == [])
    }
    // The server has stopped although the storage still hangs.
    gate.open()
  }

  @Test func theClientHasALimitOfItsOwn() async throws {
    let gate = Gate()
    try await ServerHarness.run(FakeBackend(beforeStatus: { await gate.wait() })) { (server) async throws in
      let client = ManagementClient(socketPath: server.socketPath, callTimeoutSeconds: 0.2, slowCallTimeoutSeconds: 0.2)
      let error = await #expect(throws: APIError.self) { try await client.status() }
      #expect(error?.code == .timedOut)
      #expect(error?.message.contains(server.socketPath) == true)
      gate.open()
    }
  }

  @Test func aBodyThatNeverArrivesIsNotWaitedForLongerThanTheLimit() async throws {
    try await ServerHarness.run(FakeBackend(), limits: .init(callTimeoutSeconds: 0.2)) { (server) async throws in
      let answer = try await RawSocket.exchange(
        server.socketPath, "POST /v1/pools HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{", untilReceived: "timedOut")
      #expect(answer.contains("504"))
    }
  }

  @Test func aCallUnderWayIsFinishedBeforeTheServerStops() async throws {
    let gate = Gate()
    try await ServerHarness.run(FakeBackend(beforeStatus: { await gate.wait() })) { (server) async throws in
      async let status = server.client.status()
      #expect(try await eventually { gate.arrivals == 1 })
      server.stop.open()
      #expect(try await eventually { !Directories.exists(server.socketPath) })
      let refused = await #expect(throws: APIError.self) { try await server.client.pools() }
      #expect(refused?.code == .serverUnreachable)
      gate.open()
      #expect(try await status.processID == 42)
      await server.stopped.wait()
    }
  }

  @Test func aCallThatHangsDoesNotKeepTheServerFromStopping() async throws {
    let gate = Gate()
    let backend = FakeBackend(beforeStatus: { await gate.wait() })
    try await ServerHarness.run(backend, limits: .init(stopTimeoutSeconds: 0.2)) { (server) async throws in
      async let cut = #expect(throws: APIError.self) { try await server.client.status() }
      #expect(try await eventually { gate.arrivals == 1 })
      let start = ContinuousClock.now
      server.stop.open()
      await server.stopped.wait()
      // Far more than the time for stopping, and less than the call's own limit, which would end it too.
      #expect(ContinuousClock.now - start < .seconds(Limits.callTimeoutSeconds / 2))
      let code = await cut?.code
      #expect(code == .stopping || code == .serverUnreachable)
    }
    gate.open()
  }

  @Test func anAnswerIsGivenOnce() async throws {
    let late = APIError(.timedOut, "late", remedy: "")
    #expect(try await TimeLimit.run(seconds: 10, late: late) { () throws(APIError) in 7 } == 7)
    let error = await #expect(throws: APIError.self) {
      try await TimeLimit.run(seconds: 10, late: late) { () async throws(APIError) -> Int in throw APIError(.busy, "b", remedy: "") }
    }
    #expect(error?.code == .busy)
  }
}
