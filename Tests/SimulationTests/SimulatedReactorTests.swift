import CLinux
import Reactor
import Simulation
import Testing

@Suite struct SimulatedReactorTests {
  @Test func theGeneratorIsXoshiro256StarStar() {
    var random = SeededRandom(seed: 0)
    #expect(random.next() == 0x99EC_5F36_CB75_F2B4)  // rand_xoshiro's seed_from_u64(0)
    for _ in 0..<1000 { #expect(random.below(3) < 3) }
    #expect(random.below(0) == 0)
    #expect(Set((0..<100).map { _ in random.value(in: 5...7) }) == [5, 6, 7])
  }

  @Test func timeJumpsToTheNextSleeper() throws {
    let reactor = SimulatedReactor(seed: 1)
    let began = reactor.now
    let order = try reactor.runToCompletion { () async -> [UInt64] in
      let recorder = Recorder<UInt64>()
      await withTaskGroup(of: Void.self) { group in
        for hours in [3, 1, 2] as [UInt64] {
          group.addTask {
            await reactor.sleep(milliseconds: hours * 3_600_000)
            recorder.values.append(hours)
          }
        }
      }
      return recorder.values
    }
    #expect(order == [1, 2, 3])
    #expect(reactor.now.nanoseconds(since: began) == 3 * 3_600_000_000_000)
  }

  @Test func runUntilStopsBetweenTimers() throws {
    let reactor = SimulatedReactor(seed: 1, startingAt: Instant(nanoseconds: 0))
    let woken = Recorder<UInt64>()
    for at in [10, 20] as [UInt64] {
      reactor.spawn {
        await reactor.sleep(milliseconds: at)
        woken.values.append(at)
      }
    }
    try reactor.run(until: Instant(nanoseconds: 15_000_000))
    #expect(woken.values == [10])
    #expect(reactor.now.nanoseconds == 15_000_000)
    try reactor.runUntilIdle()
    #expect(woken.values == [10, 20])
    #expect(reactor.now.nanoseconds == 20_000_000)
  }

  /// The order in which ten tasks that are ready together run.
  private func order(seed: UInt64, _ jobOrder: JobOrder) throws -> [Int] {
    let reactor = SimulatedReactor(seed: seed, jobOrder: jobOrder)
    let recorder = Recorder<Int>()
    for number in 0..<10 { reactor.spawn { recorder.values.append(number) } }
    try reactor.runUntilIdle()
    return recorder.values
  }

  @Test func readyJobsRunInTheSeedsOrder() throws {
    #expect(try order(seed: 1, .seeded) == order(seed: 1, .seeded))
    #expect(try order(seed: 1, .seeded) != order(seed: 2, .seeded))
    #expect(try order(seed: 1, .seeded).sorted() == Array(0..<10))
    #expect(try order(seed: 1, .firstComeFirstServed) == Array(0..<10))
  }

  @Test func randomNumbersFollowTheSeed() {
    #expect(SimulatedReactor(seed: 5).random() == SimulatedReactor(seed: 5).random())
    #expect(SimulatedReactor(seed: 5).random() != SimulatedReactor(seed: 6).random())
  }

  @Test func aDeadlockIsAnErrorAndNotAHang() throws {
    let reactor = SimulatedReactor(seed: 1)
    let waiting = Recorder<UnsafeContinuation<Void, Never>>()
    #expect { try reactor.runToCompletion { await withUnsafeContinuation { waiting.values.append($0) } } } throws: { error in
      (error as? SimulationError)?.cause == .deadlock && "\(error)".contains("never resumed")
    }
    // Nothing was lost: once resumed, the task ends.
    waiting.values.removeFirst().resume()
    try reactor.runUntilIdle()
  }

  @Test func aLoopWithoutProgressMeetsTheStepLimit() throws {
    let reactor = SimulatedReactor(seed: 1)
    reactor.stepLimit = 1000
    let isOver = Recorder<Bool>()
    #expect { try reactor.runToCompletion { while isOver.values.isEmpty { await reactor.sleep(milliseconds: 1) } } } throws: {
      ($0 as? SimulationError)?.cause == .stepLimit
    }
    isOver.values.append(true)
    try reactor.runUntilIdle()
  }

  @Test func timersThatComeAgainMeetTheTimeLimit() throws {
    let reactor = SimulatedReactor(seed: 1)
    let isOver = Recorder<Bool>()
    reactor.spawn { while isOver.values.isEmpty { await reactor.sleep(milliseconds: 1000) } }
    #expect { try reactor.runUntilIdle(limit: reactor.now.advanced(milliseconds: 60_000)) } throws: {
      ($0 as? SimulationError)?.cause == .timeLimit
    }
    isOver.values.append(true)
    try reactor.runUntilIdle()
  }

  @Test func aJobFromAnotherThreadIsReported() throws {
    let reactor = SimulatedReactor(seed: 1)
    runOnAnotherThread { reactor.spawn {} }
    let error = #expect(throws: SimulationError.self) { try reactor.runUntilIdle() }
    #expect(error?.cause == .foreignJob)
    #expect(error?.description.contains("1 jobs came from other threads") == true)
  }

  @Test func errorsOfTheBodyComeOut() {
    let reactor = SimulatedReactor(seed: 1)
    #expect(throws: Surprise.self) { try reactor.runToCompletion { throw Surprise("expected") } }
  }

  @Test func childTasksStayOnTheSimulatorsThread() throws {
    let reactor = SimulatedReactor(seed: 9)
    let stayed = try reactor.runToCompletion { () async -> Bool in
      async let left = { () async -> Bool in
        await reactor.sleep(milliseconds: 1)
        return reactor.isCurrent
      }()
      let right = reactor.isCurrent
      return await left && right
    }
    #expect(stayed)
  }
}

/// Runs `body` on a thread of its own and waits for its end.
private func runOnAnotherThread(_ body: @escaping () -> Void) {
  final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let started = pthread_create(
    &thread, nil,
    { argument in
      if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
      return nil
    }, Unmanaged.passRetained(Box(body)).toOpaque())
  #expect(started == 0)
  pthread_join(thread, nil)
}
