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
      var pacing = ReceivePacing()
      var now = Instant(nanoseconds: 1_000_000_000)
      var restCount = 0
      var rests = false
      for _ in 0..<receives {
        let batch = rests ? rested : plain
        now = now.advanced(nanoseconds: UInt64(batch.requests) * batch.nanoseconds)
        rests = pacing.rests(after: batch.requests, areAnswered: areAnswered, at: now)
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
    var pacing = ReceivePacing()
    var now = Instant(nanoseconds: 0)
    var rests = false
    func restCount(_ client: Client, _ receives: Int) -> Int {
      var count = 0
      for _ in 0..<receives {
        let batch = rests ? client.rested : client.plain
        now = now.advanced(nanoseconds: UInt64(batch.requests) * batch.nanoseconds)
        rests = pacing.rests(after: batch.requests, areAnswered: true, at: now)
        if rests { count += 1 }
      }
      return count
    }
    let deep = Client(plain: (2, 10_000), rested: (10, 9_000))
    let shallow = Client(plain: (1, 100_000), rested: (1, 150_000))
    #expect(restCount(deep, 20_000) > 10_000)
    // At most the phase that was under way.
    #expect(restCount(shallow, 20_000) <= 2500)
    #expect(restCount(deep, 40_000) > 20_000)
  }

  @Test func aBatchOfNothingIsNoReceive() {
    var pacing = ReceivePacing()
    var restCount = 0
    for _ in 0..<10_000 where pacing.rests(after: 0, areAnswered: true, at: Instant(nanoseconds: 5)) { restCount += 1 }
    #expect(restCount == 0)
  }
}
