import CLinux
import Reactor
import Testing

@Suite struct RingReactorTests {
  @Test func tasksRunOnTheReactorsThreadAndStayThereAfterSuspending() async throws {
    let reactor = try RingReactor.start(name: "test")
    let stayed = await reactor.run { () async -> Bool in
      var everywhere = reactor.isCurrent
      for _ in 0..<100 {
        await reactor.sleep(milliseconds: 0)
        everywhere = everywhere && reactor.isCurrent
      }
      return everywhere
    }
    #expect(stayed)
    reactor.stop()
  }

  @Test func sleepersWakeInTheOrderOfTheirDeadlines() async throws {
    let reactor = try RingReactor.start(name: "test")
    let order = Recorder()
    let tasks = ([30, 10, 20] as [UInt64]).map { delay in
      reactor.spawn {
        await reactor.sleep(milliseconds: delay)
        order.values.append(delay)
      }
    }
    for task in tasks { await task.value }
    #expect(await reactor.run { () async -> [UInt64] in order.values } == [10, 20, 30])
    reactor.stop()
  }

  @Test func readsBackWhatItWroteThroughRegisteredAndPlainBuffers() async throws {
    let reactor = try RingReactor.start(name: "test")
    let path = "/tmp/spaceport-reactor-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    let same = await reactor.run { () async -> Bool in
      let descriptor = clinux_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
      let file = reactor.register(descriptor)
      defer { reactor.close(file) }
      var allSame = true
      for byteCount in [4096, 1 << 20] {
        let out = await reactor.buffers.acquire(byteCount: byteCount)
        let back = await reactor.buffers.acquire(byteCount: byteCount)
        for index in 0..<byteCount { out.bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ byteCount) }
        let written = await reactor.write(file, out, at: 8192, isDurable: true)
        let read = await reactor.read(file, back, at: 8192)
        allSame = allSame && written == byteCount && read == byteCount && memcmp(out.start, back.start, byteCount) == 0
        reactor.buffers.release(out.buffer)
        reactor.buffers.release(back.buffer)
      }
      return allSame
    }
    unlink(path)
    #expect(same)
    reactor.stop()
  }
}

/// State that only tasks of one reactor touch.
final class Recorder: @unchecked Sendable {
  var values: [UInt64] = []
}
