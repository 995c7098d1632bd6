import BlockDevice
import Reactor
import Testing

@testable import NBDServer

extension ServerTests {
  /// What connections share: room for connections, and payload memory.
  @Suite struct SharedLimitsTests {
    @Test func whoSaysNothingMakesRoomForWhoDoes() async throws {
      var limits = NBDLimits()
      limits.connections = 3
      try await ServerHarness.run(limits: limits) { harness in
        let first = try harness.enter()
        let silent = try (0..<2).map { _ in try harness.connect() }
        for client in silent { try client.greet() }
        let second = try harness.enter()
        // The oldest of the silent ones went.
        #expect(silent[0].isClosedByServer())
        #expect(silent[1].isSilent())
        let third = try harness.enter()
        #expect(silent[1].isClosedByServer())
        // Those that have something open stay, and there is no room any more.
        #expect(try harness.connect().isClosedByServer())
        for client in [first, second, third] { #expect(try client.perform(3) == 0) }
      }
    }

    @Test func bytesOfAllConnectionsTogetherWaitInTheSockets() async throws {
      var limits = NBDLimits()
      limits.bytesInFlightInAll = 4 * WireLimits.leastCharge
      try await ServerHarness.run(limits: limits) { harness in
        let clients = try (0..<4).map { _ in try harness.enter() }
        await harness.on { $0.device.shutGate() }
        for client in clients { for _ in 0..<8 { try client.send(RawClient.request(0, length: 4096)) } }
        await harness.until("the limit is reached") { $0.device.waitingCount == 4 }
        await harness.on { $0.device.openGate() }
        for client in clients {
          for _ in 0..<8 {
            #expect(try client.receiveReply().error == 0)
            _ = try client.receive(4096)
          }
        }
      }
    }

    @Test func requestsOfAllConnectionsTogetherWaitToo() async throws {
      var limits = NBDLimits()
      limits.requestsInFlightInAll = 3
      try await ServerHarness.run(limits: limits) { harness in
        let clients = try (0..<3).map { _ in try harness.enter() }
        await harness.on { $0.device.shutGate() }
        for client in clients { for _ in 0..<4 { try client.send(RawClient.request(4, length: 4096)) } }
        await harness.until("the limit is reached") { $0.device.waitingCount == 3 }
        await harness.on { $0.device.openGate() }
        for client in clients { for _ in 0..<4 { #expect(try client.receiveReply().error == 0) } }
      }
    }

    /// A thousand clients that ask for much and leave: nobody waits for what they have asked for.
    @Test func whatWasNotBegunIsNotDoneForWhoHasLeft() async throws {
      var limits = NBDLimits()
      limits.bytesInFlightInAll = 4 * WireLimits.leastCharge
      try await ServerHarness.run(limits: limits) { harness in
        let (first, other, honest) = (try harness.enter(), try harness.enter(), try harness.enter())
        await harness.on { $0.device.shutGate() }
        for client in [first, other] { for _ in 0..<100 { try client.send(RawClient.request(0, length: 4096)) } }
        await harness.until("the limit is reached") { $0.device.waitingCount == 4 }
        try honest.send(RawClient.request(0, length: 4096))
        first.close()
        other.close()
        await harness.on { $0.device.openGate() }
        #expect(try honest.receiveReply().error == 0)
        _ = try honest.receive(4096)
        await harness.until("the others are gone") { $0.server.statistics.connections.count == 1 }
        // Those that were at work, and for each connection the one that was let in before it was looked at.
        let readCount = await harness.on { $0.device.calls.count { $0.operation == .read } }
        #expect(readCount <= 4 + 1 + 2, "\(readCount) reads")
      }
    }

    /// One client takes all the memory there is for payloads that it does not send. Another is served all the same.
    @Test func whoHoldsMemoryThatOthersWaitForIsCutOff() async throws {
      var limits = NBDLimits()
      limits.bytesInFlightInAll = 4 * WireLimits.leastCharge
      limits.patienceMilliseconds = 50
      limits.pressedMilliseconds = 100
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let hostile = try (0..<4).map { _ in try harness.enter() }
        // A part of each payload, and no more.
        for client in hostile { try client.send(RawClient.request(1, length: 60_000) + [1, 2, 3]) }
        await harness.until("all memory is held") { $0.server.statistics.connections.allSatisfy { $0.requestsInFlight == 1 } }
        let honest = try harness.enter()
        #expect(try honest.write(Array(0..<200), at: 0) == 0)
        for client in hostile { #expect(client.isClosedByServer()) }
        #expect(try honest.read(at: 0, length: 200) == Array(0..<200))
      }
    }

    /// The same, but nobody waits: a slow network is no crime.
    @Test func whoIsSlowAloneIsLetBe() async throws {
      var limits = NBDLimits()
      limits.patienceMilliseconds = 20
      limits.pressedMilliseconds = 20
      limits.watchMilliseconds = 10
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        try client.send(RawClient.request(1, length: 1000) + [UInt8](repeating: 1, count: 500))
        await harness.reactor.run { [reactor = harness.reactor] () async in await reactor.sleep(milliseconds: 200) }
        try client.send([UInt8](repeating: 1, count: 500))
        #expect(try client.receiveReply().error == 0)
      }
    }

    /// A receive has ended, and its task has not run yet, when the connection is looked at.
    @Test func whatWasReceivedOutlivesTheGivingBack() {
      let staging = ReceiveStaging(byteCount: 4096)
      let room = staging.room()
      room[0] = 0x25
      staging.giveBackMemory()
      staging.append(1)
      #expect(staging.first?.load(as: UInt8.self) == 0x25)
      staging.consume(1)
      // The next receive has ended nothing: the pages go.
      let next = staging.room()
      next[1] = 1
      staging.giveBackMemory()
      #expect(next[1] == 0)
    }

    @Test func idleConnectionsGiveTheirSlotsBackAndGoOn() async throws {
      var limits = NBDLimits()
      limits.idleMilliseconds = 50
      limits.watchMilliseconds = 10
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        for round in 0..<3 {
          for cookie in 0..<64 { try client.send(RawClient.request(0, cookie: UInt64(cookie), length: 4096)) }
          for _ in 0..<64 {
            #expect(try client.receiveReply().error == 0)
            _ = try client.receive(4096)
          }
          await harness.until("round \(round): its memory was given back") { $0.server.idleConnectionCount == 1 }
        }
      }
    }
  }
}

/// Whose turn it is.
@Suite struct InFlightBudgetTests {
  private static let unit = WireLimits.leastCharge
  private static let disk = VirtualDiskHandle(number: 1)

  @Test func whatAPayloadCostsIsItsBuffer() {
    let unit = Self.unit
    for (byteCount, cost) in [
      (0, 0), (1, unit), (unit, unit), (unit + 1, 2 * unit), (1 << 20, 1 << 20), ((1 << 20) + 1, 2 << 20), (32 << 20, 32 << 20),
    ] {
      #expect(InFlightBudget.cost(of: byteCount) == cost)
    }
  }

  @Test func theLeastInFlightHaveTheirTurnFirst() async throws {
    let reactor = try RingReactor.start(name: "budget-test")
    let order = await reactor.run { [reactor] () async -> [String] in
      let budget = InFlightBudget(reactor: reactor, byteCount: 4 * Self.unit, requestCount: 100)
      let (greedy, modest) = (budget.join(Self.disk), budget.join(Self.disk))
      let log = Log()
      for _ in 0..<4 { #expect(budget.tryTake(1, for: greedy)) }
      #expect(!budget.tryTake(1, for: modest))
      let tasks = [("greedy", greedy), ("modest", modest)].map { name, share in
        reactor.spawn {
          await budget.take(1, for: share)
          log.lines.append(name)
        }
      }
      await reactor.sleep(milliseconds: 1)
      budget.giveBack(1, of: greedy)
      await reactor.sleep(milliseconds: 1)
      budget.giveBack(1, of: greedy)
      for task in tasks { await task.value }
      return log.lines
    }
    #expect(order == ["modest", "greedy"])
    reactor.stop()
  }

  /// Who is alone with a virtual disk waits for one turn, not for one of each client of another.
  @Test func aCrowdOnOneVirtualDiskKeepsNobodyWaitingOnAnother() async throws {
    let reactor = try RingReactor.start(name: "budget-test")
    let turn = await reactor.run { [reactor] () async -> Int? in
      let budget = InFlightBudget(reactor: reactor, byteCount: 4 * Self.unit, requestCount: 100)
      let crowd = (0..<20).map { _ in budget.join(Self.disk) }
      let alone = budget.join(VirtualDiskHandle(number: 2))
      let log = Log()
      for share in crowd[..<4] { #expect(budget.tryTake(1, for: share)) }
      let tasks = (crowd[4...] + [alone]).map { share in
        reactor.spawn {
          await budget.take(1, for: share)
          log.lines.append(share === alone ? "alone" : "crowd")
          budget.giveBack(1, of: share)
        }
      }
      await reactor.sleep(milliseconds: 1)
      for share in crowd[..<4] { budget.giveBack(1, of: share) }
      for task in tasks { await task.value }
      for share in crowd + [alone] { budget.leave(share) }
      #expect(budget.byteCount == 0 && log.lines.count == 17)
      return log.lines.firstIndex(of: "alone")
    }
    #expect(turn == 0)
    reactor.stop()
  }

  /// A client beside others of its virtual disk whose requests do not end: it has its turn all the same.
  @Test func aVirtualDiskWhoseRequestsDoNotEndKeepsItsTurn() async throws {
    let reactor = try RingReactor.start(name: "budget-test")
    let turn = await reactor.run { [reactor] () async -> Int? in
      let budget = InFlightBudget(reactor: reactor, byteCount: 4 * Self.unit, requestCount: 100)
      let (hoarder, honest) = (budget.join(Self.disk), budget.join(Self.disk))
      let others = (0..<20).map { _ in budget.join(VirtualDiskHandle(number: 2)) }
      let log = Log()
      for _ in 0..<3 { #expect(budget.tryTake(1, for: hoarder)) }
      #expect(budget.tryTake(1, for: others[0]))
      let tasks = (others[1...] + [honest]).map { share in
        reactor.spawn {
          await budget.take(1, for: share)
          log.lines.append(share === honest ? "honest" : "other")
          await reactor.sleep(milliseconds: 1)
          budget.giveBack(1, of: share)
        }
      }
      await reactor.sleep(milliseconds: 1)
      budget.giveBack(1, of: others[0])
      for task in tasks { await task.value }
      for _ in 0..<3 { budget.giveBack(1, of: hoarder) }
      return log.lines.firstIndex(of: "honest")
    }
    #expect(try #require(turn) <= 1)
    reactor.stop()
  }

  /// Small requests leave a large one its room, and large ones leave room for small ones.
  @Test func largeAndSmallRequestsDoNotShutEachOtherOut() async throws {
    let reactor = try RingReactor.start(name: "budget-test")
    await reactor.run { [reactor] () async in
      let budget = InFlightBudget(reactor: reactor, byteCount: 16 << 20, requestCount: 1000)
      let (small, large, other) = (budget.join(Self.disk), budget.join(Self.disk), budget.join(Self.disk))
      for _ in 0..<16 { #expect(budget.tryTake(1 << 20, for: small)) }
      let task = reactor.spawn { await budget.take(8 << 20, for: large) }
      await reactor.sleep(milliseconds: 1)
      budget.giveBack(1 << 20, of: small)
      #expect(!budget.tryTake(1 << 20, for: small))
      for _ in 0..<7 { budget.giveBack(1 << 20, of: small) }
      await task.value
      #expect(!budget.tryTake(8 << 20, for: other))
      budget.giveBack(8 << 20, of: large)
      for _ in 0..<8 { budget.giveBack(1 << 20, of: small) }
      #expect(budget.tryTake(8 << 20, for: large))
      #expect(budget.tryTake(4 << 20, for: large))
      #expect(!budget.tryTake(4 << 20, for: other))
      for _ in 0..<4 { #expect(budget.tryTake(1 << 20, for: small)) }
      #expect(!budget.tryTake(1, for: small))
      #expect(budget.byteCount == 16 << 20)
    }
    reactor.stop()
  }

  private final class Log: @unchecked Sendable {  // reactor-confined
    var lines: [String] = []
  }
}
