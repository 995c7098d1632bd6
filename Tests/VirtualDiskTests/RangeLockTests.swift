import Reactor
import Testing

@testable import VirtualDisk

@Suite struct RangeLockTests {
  @Test func readersShareAndWritersExcludeOnlyWhatOverlaps() {
    var lock = RangeLock()
    let reader = lock.tryAcquire(0, 100, .shared)
    #expect(reader != nil)
    #expect(lock.tryAcquire(50, 150, .shared) != nil)
    #expect(lock.tryAcquire(90, 110, .exclusive) == nil)
    #expect(lock.tryAcquire(150, 200, .exclusive) != nil)
    #expect(lock.tryAcquire(199, 300, .shared) == nil)
    #expect(lock.tryAcquire(200, 300, .shared) != nil)
  }

  /// Many tasks on few ranges: at no time do two hold conflicting ranges, and all get their turn.
  @Test(arguments: 0..<8) func randomHoldersNeverConflict(seed: UInt64) async throws {
    let reactor = try RingReactor.start(name: "test")
    await reactor.run {
      let state = LockState()
      var random = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
      func next(_ bound: UInt64) -> UInt64 {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (random >> 33) % bound
      }
      let tasks = (0..<300).map { _ in
        let start = next(64)
        let range = start..<start + 1 + next(16)
        let mode: RangeLock.Mode = next(3) == 0 ? .exclusive : .shared
        return reactor.spawn {
          var ticket = state.lock.tryAcquire(range.lowerBound, range.upperBound, mode)
          if ticket == nil {
            await withUnsafeContinuation { ticket = state.lock.enqueue(range.lowerBound, range.upperBound, mode, $0) }
          }
          for byte in range { state.hold(Int(byte), mode) }
          await reactor.sleep(milliseconds: 0)
          for byte in range { state.letGo(Int(byte), mode) }
          if let ticket { state.lock.release(ticket) }
          state.finished += 1
        }
      }
      for task in tasks { await task.value }
      #expect(state.finished == 300)
      #expect(state.conflicts == 0)
      #expect(state.lock.isIdle)
    }
    reactor.stop()
  }
}

/// Who holds which byte.
final class LockState: @unchecked Sendable {  // used on one reactor
  var lock = RangeLock()
  var conflicts = 0
  var finished = 0
  private var readers = [Int](repeating: 0, count: 128)
  private var writers = [Int](repeating: 0, count: 128)

  func hold(_ byte: Int, _ mode: RangeLock.Mode) {
    if mode == .exclusive { writers[byte] += 1 } else { readers[byte] += 1 }
    if writers[byte] > 1 || (writers[byte] == 1 && readers[byte] > 0) { conflicts += 1 }
  }

  func letGo(_ byte: Int, _ mode: RangeLock.Mode) {
    if mode == .exclusive { writers[byte] -= 1 } else { readers[byte] -= 1 }
  }
}

@Suite struct PresenceBitmapTests {
  @Test func bytesRoundTripAndCountIsRight() {
    for count in [1, 7, 8, 63, 64, 65, 1000] {
      var bitmap = PresenceBitmap(chunkCount: count, allPresent: false)
      for chunk in 0..<count where chunk % 3 == 0 { bitmap.set(chunk..<chunk + 1) }
      let again = bitmap.bytes.withUnsafeBytes { PresenceBitmap(chunkCount: count, bytes: $0) }
      #expect(again.presentCount == bitmap.presentCount)
      #expect((0..<count).allSatisfy { again[$0] == bitmap[$0] })
      bitmap.set(0..<count)
      #expect(bitmap.isFull)
      bitmap.clear(0..<count)
      #expect(bitmap.isEmpty)
    }
  }

  @Test func runsEndWhereTheStateChanges() {
    var bitmap = PresenceBitmap(chunkCount: 100, allPresent: false)
    bitmap.set(10..<20)
    #expect(bitmap.endOfRun(from: 0, limit: 100) == 10)
    #expect(bitmap.endOfRun(from: 10, limit: 100) == 20)
    #expect(bitmap.endOfRun(from: 12, limit: 15) == 15)
    #expect(bitmap.endOfRun(from: 20, limit: 100) == 100)
  }
}
