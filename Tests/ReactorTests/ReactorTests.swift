import CLinux
import Testing

@testable import Reactor

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

@_silgen_name("capget") private func capget(_ header: UnsafePointer<UInt32>, _ data: UnsafeMutablePointer<UInt32>) -> Int32
@_silgen_name("capset") private func capset(_ header: UnsafePointer<UInt32>, _ data: UnsafePointer<UInt32>) -> Int32

/// The mark of a thread that serves block I/O, PR_SET_IO_FLUSHER.
@Suite struct IOFlusherTests {
  /// PF_MEMALLOC_NOIO among the flags of the thread, which are the seventh field behind its name.
  private static func isMarked(_ reactor: RingReactor) async -> Bool {
    await reactor.run { () async -> Bool in
      var text = [UInt8](repeating: 0, count: 4096)
      let descriptor = clinux_open("/proc/thread-self/stat", O_RDONLY | O_CLOEXEC, 0)
      let count = read(descriptor, &text, text.count)
      _ = close(descriptor)
      let fields = String(decoding: text.prefix(max(0, count)), as: UTF8.self).split(separator: ")").last?.split(separator: " ") ?? []
      guard fields.count > 6, let flags = UInt64(fields[6]) else { return false }
      return flags & 0x80000 != 0
    }
  }

  @Test func theReactorsThreadIsMarkedOrSaysWhyNot() async throws {
    let reactor = try RingReactor.start(name: "test")
    #expect(await Self.isMarked(reactor) == (reactor.notIOFlusherReason == nil))
    reactor.stop()
  }

  /// Its thread has the capabilities of the one that started it.
  @Test func withoutTheCapabilityItIsSaidWhatThatMeans() async throws {
    let reactor = try #require(Self.startWithoutCapability())
    #expect(await !Self.isMarked(reactor))
    #expect(reactor.notIOFlusherReason?.contains("CAP_SYS_RESOURCE") == true)
    reactor.stop()
  }

  private final class Box { var reactor: RingReactor? }

  private static func startWithoutCapability() -> RingReactor? {
    let box = Box()
    var thread = pthread_t()
    let error = pthread_create(
      &thread, nil,
      { argument in
        let header: [UInt32] = [0x2008_0522, 0]  // _LINUX_CAPABILITY_VERSION_3, this thread
        var sets = [UInt32](repeating: 0, count: 6)
        guard capget(header, &sets) == 0 else { return nil }
        sets[0] &= ~(1 << 24)  // CAP_SYS_RESOURCE, effective
        guard capset(header, sets) == 0, let argument else { return nil }
        Unmanaged<Box>.fromOpaque(argument).takeUnretainedValue().reactor = try? RingReactor.start(name: "test")
        return nil
      }, Unmanaged.passUnretained(box).toOpaque())
    guard error == 0 else { return nil }
    pthread_join(thread, nil)
    return box.reactor
  }
}

@Suite struct BufferPoolTests {
  private let limits = BufferLimits(smallCount: 2, smallByteCount: 4096, largestByteCount: 64 << 10, largeTotalByteCount: 128 << 10)

  @Test func whenSmallBuffersAreAllHeldLargerOnesServe() throws {
    let pool = BufferPool(limits: limits)
    let held = (0..<6).compactMap { _ in pool.tryAcquire(byteCount: 4096) }
    #expect(held.count == 6)
    #expect(pool.largeByteCount == 4 * 8192)
    for slice in held { pool.release(slice.buffer) }
    pool.releaseIdleLargeBuffers()
    #expect(pool.largeByteCount == 0)
  }

  @Test func theSumOfLargeBuffersIsLimitedAndIdleOnesMakeRoom() throws {
    let pool = BufferPool(limits: limits)
    let first = try #require(pool.tryAcquire(byteCount: 64 << 10))
    let second = try #require(pool.tryAcquire(byteCount: 50 << 10))
    #expect(pool.tryAcquire(byteCount: 8193) == nil)
    pool.release(first.buffer)
    // A 64 KiB buffer lies idle; giving it back makes room for others.
    let small = (0..<4).compactMap { _ in pool.tryAcquire(byteCount: 16 << 10) }
    #expect(small.count == 4)
    for slice in small + [second] { pool.release(slice.buffer) }
  }

  @Test func aRetainedBufferIsNotReusedBeforeItsLastHolderLetsGo() throws {
    let pool = BufferPool(limits: limits)
    let slice = try #require(pool.tryAcquire(byteCount: 4096))
    pool.retain(slice.buffer)
    pool.release(slice.buffer)
    let other = try #require(pool.tryAcquire(byteCount: 4096))
    #expect(other.buffer != slice.buffer)
    pool.release(slice.buffer)
    #expect(pool.tryAcquire(byteCount: 4096)?.buffer == slice.buffer)
  }

  @Test func whoWaitsIsServedWhenABufferComesBack() async throws {
    let reactor = try RingReactor.start(
      name: "test",
      bufferLimits: BufferLimits(
        smallCount: 1, smallByteCount: 4096, largestByteCount: 4096, largeTotalByteCount: 0))
    let served = await reactor.run { () async -> Bool in
      let first = await reactor.buffers.acquire(byteCount: 4096)
      let waiter = reactor.spawn {
        let second = await reactor.buffers.acquire(byteCount: 100)
        reactor.buffers.release(second.buffer)
      }
      await reactor.sleep(milliseconds: 1)
      reactor.buffers.release(first.buffer)
      await waiter.value
      return true
    }
    #expect(served)
    reactor.stop()
  }
}

@Suite struct RingRefusalTests {
  @Test(
    arguments: [
      (EPERM, "2", "io_uring_disabled=2"), (EPERM, "1", "io_uring_group"), (EPERM, "0", "seccomp"), (ENOSYS, nil, "6.1"),
      (ENOMEM, nil, "ulimit -l"), (EMFILE, nil, "ulimit -n"), (EINVAL, nil, "6.1"),
    ] as [(Int32, String?, String)])
  func everyRefusalNamesItsCure(number: Int32, sysctl: String?, cure: String) {
    let error = ReactorStartError.refused(number, sysctl: sysctl, lockLimitBytes: 65536)
    #expect(error.description.contains(cure), "\(error)")
  }
}

/// State that only tasks of one reactor touch.
final class Recorder: @unchecked Sendable {
  var values: [UInt64] = []
}
