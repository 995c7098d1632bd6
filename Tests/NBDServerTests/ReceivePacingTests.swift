import Reactor
import Testing

@testable import NBDServer

@Suite struct ReceivePacingTests {
  /// A client whose requests gather: so many come with a receive, and each takes so long, without a rest before it and with one.
  private struct Client {
    var plain: (requests: Int, nanoseconds: UInt64)
    var rested: (requests: Int, nanoseconds: UInt64)
    var areAnswered = true

    /// How many of `receives` had a rest before them.
    func restCount(receives: Int) -> Int {
      var connection = Connection()
      return connection.restCount(self, receives: receives)
    }
  }

  /// Whose client may become another.
  private struct Connection {
    private var pacing = ReceivePacing()
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var rests = false

    mutating func restCount(_ client: Client, receives: Int) -> Int {
      var restCount = 0
      for _ in 0..<receives {
        let batch = rests ? client.rested : client.plain
        now = now.advanced(nanoseconds: UInt64(batch.requests) * batch.nanoseconds)
        rests = pacing.rests(after: batch.requests, areAnswered: client.areAnswered, at: now)
        if rests { restCount += 1 }
      }
      return restCount
    }
  }

  @Test func restsWhereTheClientIsWhatEverythingWaitsFor() {
    let client = Client(plain: (2, 10_000), rested: (10, 9_500))
    #expect(client.restCount(receives: 100_000) > 80_000)
  }

  @Test func restsThatCostRequestsAreGivenUp() {
    let client = Client(plain: (2, 10_000), rested: (10, 10_500))
    let count = client.restCount(receives: 100_000)
    #expect(count > 0 && count < 1500)
  }

  @Test func requestsThatDoNotGatherAreGivenUp() {
    #expect(Client(plain: (2, 10_000), rested: (3, 10_000)).restCount(receives: 100_000) < 1500)
  }

  @Test func whoSendsOneAtATimeNeverWaits() {
    #expect(Client(plain: (1, 100_000), rested: (1, 150_000)).restCount(receives: 100_000) == 0)
  }

  @Test func largeBatchesNeedNoRest() {
    #expect(Client(plain: (16, 5_000), rested: (32, 4_000)).restCount(receives: 100_000) == 0)
  }

  @Test func neverWhileARequestWaitsForADisk() {
    #expect(Client(plain: (2, 10_000), rested: (10, 9_500), areAnswered: false).restCount(receives: 100_000) == 0)
  }

  @Test func aClientThatChangesIsMeasuredAnew() {
    var connection = Connection()
    let deep = Client(plain: (2, 10_000), rested: (10, 9_000))
    let shallow = Client(plain: (1, 100_000), rested: (1, 150_000))
    let (first, between, last) = (
      connection.restCount(deep, receives: 20_000), connection.restCount(shallow, receives: 20_000),
      connection.restCount(deep, receives: 40_000)
    )
    #expect(first > 10_000)
    #expect(between <= 2500, "at most the phase that was under way")
    #expect(last > 20_000)
  }

  @Test func aBatchOfNothingIsNoReceive() {
    var pacing = ReceivePacing()
    var restCount = 0
    for _ in 0..<10_000 where pacing.rests(after: 0, areAnswered: true, at: Instant(nanoseconds: 5)) { restCount += 1 }
    #expect(restCount == 0)
  }
}
