import Reactor

/// Sums up a run in 64 bits: two runs that did the same at the same time have the same digest.
public struct TraceDigest: Hashable, Sendable, CustomStringConvertible {
  public private(set) var value: UInt64

  package init(value: UInt64) { self.value = value }

  public init(seed: UInt64 = 0) { value = SeededRandom.mix(seed ^ 0x73_7061_6365_706F) }

  public mutating func combine(_ word: UInt64) { value = SeededRandom.mix((value ^ word) &* 0x9E37_79B9_7F4A_7C15 &+ 1) }

  /// 16 hexadecimal digits.
  public var description: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// What happens to a simulated disk.
public enum DiskOperation: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  case read, write, durableWrite, flush, punch, zero, close

  public var description: String {
    switch self {
    case .read: "read"
    case .write: "write"
    case .durableWrite: "write-fua"
    case .flush: "flush"
    case .punch: "punch"
    case .zero: "zero"
    case .close: "close"
    }
  }

  /// Changes what a crash would leave: counted as a point at which to crash.
  public var isCrashPoint: Bool { self != .read && self != .close }
}

/// The events of a run: all of them in a digest, the last of them as text.
public struct Trace: Sendable {
  private enum Entry: Sendable {
    case operation(Instant, disk: String, DiskOperation, offset: UInt64, byteCount: UInt64, result: Int32, point: UInt64)
    case note(Instant, String)
  }

  private var entries: [Entry] = []
  private var oldest = 0
  private let limit: Int
  /// Gets every line as it comes.
  var sink: (@Sendable (String) -> Void)?
  public private(set) var digest: TraceDigest
  /// Events since the start, kept or not.
  public private(set) var eventCount: UInt64 = 0

  public init(seed: UInt64, limit: Int = SimulationLimits.traceLines) {
    digest = TraceDigest(seed: seed)
    self.limit = limit
  }

  /// `content` is a checksum of the bytes that were read or written; `step` the number of jobs the reactor had run.
  mutating func add(
    _ operation: DiskOperation, disk: Int, name: String, offset: UInt64, byteCount: UInt64, result: Int32, content: UInt32, point: UInt64,
    at time: Instant, step: UInt64
  ) {
    digest.combine(UInt64(operation.rawValue) | UInt64(disk) << 8 | UInt64(UInt32(bitPattern: result)) << 32)
    digest.combine(offset)
    digest.combine(byteCount)
    digest.combine(UInt64(content) | point << 32)
    digest.combine(time.nanoseconds)
    digest.combine(step)
    keep(.operation(time, disk: name, operation, offset: offset, byteCount: byteCount, result: result, point: point))
  }

  /// Anything else worth a line: a fault, a power cut, what a test does.
  public mutating func note(_ text: String, at time: Instant) {
    for byte in text.utf8 { digest.combine(UInt64(byte)) }
    digest.combine(time.nanoseconds)
    keep(.note(time, text))
  }

  private mutating func keep(_ entry: Entry) {
    eventCount += 1
    if let sink { sink(Trace.line(entry)) }
    if entries.count < limit {
      entries.append(entry)
    } else if limit > 0 {
      entries[oldest] = entry
      oldest = (oldest + 1) % limit
    }
  }

  /// The last lines, oldest first.
  public func lines(last count: Int = SimulationLimits.printedTraceLines) -> [String] {
    let ordered = entries[oldest...] + entries[..<oldest]
    return ordered.suffix(count).map(Trace.line)
  }

  private static func line(_ entry: Entry) -> String {
    switch entry {
    case .operation(let time, let disk, let operation, let offset, let byteCount, let result, let point):
      let number = operation.isCrashPoint ? " #\(point)" : ""
      return "\(microseconds(time)) \(disk) \(operation)\(number) \(offset)+\(byteCount) = \(result)"
    case .note(let time, let text): return "\(microseconds(time)) \(text)"
    }
  }

  /// Microseconds with three decimals.
  static func microseconds(_ time: Instant) -> String {
    let fraction = String(time.nanoseconds % 1000)
    return "\(time.nanoseconds / 1000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)us"
  }
}
