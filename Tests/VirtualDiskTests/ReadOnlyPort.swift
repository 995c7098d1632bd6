import PhysicalDisk
import Reactor
import Simulation
import Testing

/// A disk that may only be read: whoever tries to change it is found out.
final class ReadOnlyPort: DiskPort {
  let facts: DiskFacts
  private let port: SimulatedDiskPort

  init(_ port: SimulatedDiskPort) {
    self.port = port
    var facts = port.facts
    facts.isReadOnly = true
    facts.zeroesCheaply = false
    facts.discardGranularity = 0
    self.facts = facts
  }

  func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 { await port.read(slice, at: offset) }
  func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 { refuse("write at \(offset)") }
  func synchronize() async -> Int32 { refuse("flush") }
  func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 { refuse("discard at \(offset)") }
  func zero(at offset: UInt64, byteCount: UInt64) async -> Int32 { refuse("zeroing at \(offset)") }

  private func refuse(_ what: String) -> Int32 {
    Issue.record("\(facts.name) was asked for a \(what)")
    return -30  // EROFS
  }

  func oldestRequestAge(now: Instant) -> UInt64 { port.oldestRequestAge(now: now) }
  func abandon() { port.abandon() }
  var hungCount: Int { port.hungCount }
  func drained() async { await port.drained() }
  func close() async { await port.close() }
}
