import PhysicalDisk
import Reactor

/// A disk whose every answer the test decides. Flushes stay in flight until the test ends them.
final class FakePort: DiskPort, @unchecked Sendable {  // reactor-confined
  var facts = DiskFacts(kind: .simulated, name: "fake", byteCount: 64 << 20, ioAlignment: 512, physicalSector: 512)
  /// Answers of the next requests, first to last; 0 when none is left.
  var readResults: [Int32] = []
  var writeResults: [Int32] = []
  var zeroResults: [Int32] = []
  var punchResults: [Int32] = []
  var fault: DiskFault?
  /// What was asked.
  private(set) var writes: [(offset: UInt64, byteCount: Int, isDurable: Bool)] = []
  private(set) var reads = 0
  private(set) var zeroes = 0
  private(set) var punches = 0
  private(set) var flushesSubmitted = 0
  private(set) var isClosed = false
  private(set) var sawNonZero = false
  /// Writes wait for `finishWrite` while set.
  var holdsWrites = false
  private var heldWrites: [UnsafeContinuation<Int32, Never>] = []
  private var flushInFlight: UnsafeContinuation<Int32, Never>?

  var hasFlushInFlight: Bool { flushInFlight != nil }
  var heldWriteCount: Int { heldWrites.count }

  private func next(_ results: inout [Int32]) -> Int32 { results.isEmpty ? 0 : results.removeFirst() }

  func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    reads += 1
    return next(&readResults)
  }

  func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    writes.append((offset, slice.byteCount, isDurable))
    sawNonZero = sawNonZero || slice.bytes.contains { $0 != 0 }
    if holdsWrites { return await withUnsafeContinuation { heldWrites.append($0) } }
    return next(&writeResults)
  }

  func synchronize() async -> Int32 {
    precondition(flushInFlight == nil, "two flushes in flight")
    flushesSubmitted += 1
    return await withUnsafeContinuation { flushInFlight = $0 }
  }

  func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    punches += 1
    return next(&punchResults)
  }

  func zero(at offset: UInt64, byteCount: UInt64) async -> Int32 {
    zeroes += 1
    return next(&zeroResults)
  }

  func checkIntegrity() async -> DiskFault? { fault }
  func close() async { isClosed = true }

  // Nothing here can be sent away: that is the real ports' business, and the simulator's.
  func oldestRequestAge(now: Instant) -> UInt64 { 0 }
  func abandon() {}
  var hungCount: Int { 0 }
  func drained() async {}

  func finishFlush(_ result: Int32 = 0) {
    let flush = flushInFlight
    flushInFlight = nil
    flush?.resume(returning: result)
  }

  func forgetFlushes() { flushesSubmitted = 0 }

  func finishWrite(_ result: Int32 = 0) { heldWrites.removeFirst().resume(returning: result) }
}
