import PhysicalDisk
import Reactor
import Simulation

/// State that only tasks of one reactor touch.
final class Recorder<Value>: @unchecked Sendable {
  var values: [Value] = []
}

struct Surprise: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension SimulatedMachine {
  func openDisk(_ index: Int) throws -> SimulatedDiskPort {
    guard let port = disks[index].open() else { throw Surprise("disk \(index) cannot be opened") }
    return port
  }

  func present() throws -> SimulatedReactor {
    guard let reactor else { throw Surprise("no power") }
    return reactor
  }
}

extension SimulatedDiskPort {
  /// Writes whole sectors of 512 bytes with `fill`.
  func write(_ fill: Fill, sectors: Range<UInt64>, _ reactor: SimulatedReactor, isDurable: Bool = false) async -> Int32 {
    let slice = await reactor.buffers.acquire(byteCount: sectors.count * 512)
    fill.write(to: slice.bytes, firstSector: sectors.lowerBound)
    let result = await write(slice, at: sectors.lowerBound * 512, isDurable: isDurable)
    reactor.buffers.release(slice.buffer)
    return result
  }

  /// What each sector holds; nil for what is no fill. Throws the errno.
  func fills(sectors: Range<UInt64>, _ reactor: SimulatedReactor) async throws -> [Fill?] {
    let slice = await reactor.buffers.acquire(byteCount: sectors.count * 512)
    defer { reactor.buffers.release(slice.buffer) }
    let result = await read(slice, at: sectors.lowerBound * 512)
    if result != 0 { throw Surprise("read failed: \(result)") }
    return sectors.enumerated().map { index, sector in
      Fill.read(UnsafeRawBufferPointer(slice.bytes.part(index * 512, 512)), number: sector)
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  func part(_ start: Int, _ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: self[start..<start + byteCount])
  }
}

extension SimulatedDisk {
  func peekFills(sectors: Range<UInt64>) -> [Fill?] {
    let bytes = peek(at: sectors.lowerBound * 512, byteCount: sectors.count * 512)
    return bytes.withUnsafeBytes { all in
      sectors.enumerated().map { index, sector in
        Fill.read(UnsafeRawBufferPointer(rebasing: all[index * 512..<index * 512 + 512]), number: sector)
      }
    }
  }
}

/// A machine with one disk of 1 MiB, and its power on.
func machineWithOneDisk(
  seed: UInt64, plan: [FaultRule] = [], _ change: (inout SimulatedDiskOptions) -> Void = { _ in }
) -> SimulatedMachine {
  let machine = SimulatedMachine(seed: seed, plan: FaultPlan(plan))
  var options = SimulatedDiskOptions.file("disk0", byteCount: 1 << 20)
  options.ioAlignment = 512
  change(&options)
  machine.addDisk(options)
  machine.powerOn()
  return machine
}

/// Runs `body` on the present power-on with the first disk opened.
func onDisk<Value: Sendable>(
  _ machine: SimulatedMachine, _ body: @escaping @Sendable (SimulatedDiskPort, SimulatedReactor) async throws -> Value
) throws -> Value {
  let reactor = try machine.present()
  let port = try machine.openDisk(0)
  return try reactor.runToCompletion { try await body(port, reactor) }
}
