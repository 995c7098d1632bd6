import Reactor

/// What can be done to an operation; a rule of the plan names one of them.
public enum Fault: Sendable, Equatable {
  /// The power of the whole machine goes while this operation is in flight.
  case powerCut
  /// The disk is pulled out while this operation is in flight: -ENODEV from then on.
  case diskVanishes
  /// -EIO. Of a write, any sectors may have been written; of a flush, what was not yet durable is lost, though it may still be read until
  /// the power goes, and the next flush succeeds.
  case ioError
  /// -ENOSPC: the file system below a file disk is full. Nothing is written.
  case noSpace
  /// The operation takes so long, then it is done: also when nobody waits for it any more, with what its memory holds then.
  case stall(seconds: ClosedRange<UInt64>)
  /// The same, without an end before `SimulatedDisk.releaseHung()`, or the end of the power.
  case hang
  /// A read hands out one wrong bit; what is on the medium is right.
  case bitFlip
  /// A write that is answered with 0 and was never done.
  case phantomWrite
  /// A write that lands elsewhere on the same disk, answered with 0: somewhere within these bytes, nil for anywhere.
  case misdirectedWrite(within: Range<UInt64>? = nil)
}

/// When a rule fires.
public enum FaultTrigger: Sendable, Equatable {
  /// At the nth operation (from 1) that the rule's filters let through.
  case atMatch(UInt64)
  /// At the nth crash point (from 1) over all disks: writes, flushes, punches and zeroings in the order in which they complete.
  case atPoint(UInt64)
  /// So many crash points, over all disks, after the one at which the first operation came that the rule's filters let through; 0 for that
  /// one itself. For a power cut.
  case pointsAfterMatch(UInt64)
  /// So many times in a million, by the seed.
  case perMillion(UInt32)
  case always
}

/// One thing that goes wrong: which fault, where, when, and how often at most.
public struct FaultRule: Sendable {
  public var fault: Fault
  public var trigger: FaultTrigger
  /// Index of the disk in its machine; nil for any.
  public var disk: Int?
  public var operations: Set<DiskOperation>?
  /// Only operations that touch these bytes: a latent error of one sector.
  public var range: Range<UInt64>?
  /// How many times it fires; nil for no limit.
  public var limit: UInt64?
  public internal(set) var matchCount: UInt64 = 0
  public internal(set) var firedCount: UInt64 = 0
  private var firstMatchPoint: UInt64?

  public init(
    _ fault: Fault, _ trigger: FaultTrigger, disk: Int? = nil, operations: Set<DiskOperation>? = nil, range: Range<UInt64>? = nil,
    limit: UInt64? = nil
  ) {
    self.fault = fault
    self.trigger = trigger
    self.disk = disk
    self.operations = operations
    self.range = range
    self.limit = limit
  }

  /// Whether the fault means anything to the operation.
  private func applies(to operation: DiskOperation) -> Bool {
    switch fault {
    case .powerCut: operation.isCrashPoint
    case .ioError, .stall, .hang, .diskVanishes: operation != .close
    case .noSpace: operation == .write || operation == .durableWrite || operation == .zero
    case .bitFlip: operation == .read
    case .phantomWrite, .misdirectedWrite: operation == .write || operation == .durableWrite
    }
  }

  /// True where the rule is decided when the operation begins (it changes how long it takes), not when it completes.
  var isAtBeginning: Bool {
    switch fault {
    case .stall, .hang: true
    default: false
    }
  }

  /// Counts the operation where the filters let it through. With `isTaken` another rule has fired for it already.
  mutating func fires(
    _ operation: DiskOperation, disk: Int, _ bytes: Range<UInt64>, point: UInt64, isTaken: Bool, _ random: inout SeededRandom
  ) -> Bool {
    if case .pointsAfterMatch(let count) = trigger, let first = firstMatchPoint {
      guard operation.isCrashPoint, !isTaken, point >= first + count, firedCount < limit ?? .max else { return false }
      firedCount += 1
      return true
    }
    if let wanted = self.disk, wanted != disk { return false }
    if let operations, !operations.contains(operation) { return false }
    if let range, !range.overlaps(bytes) { return false }
    if !applies(to: operation) { return false }
    matchCount += 1
    if firstMatchPoint == nil { firstMatchPoint = point }
    if isTaken { return false }
    if let limit, firedCount >= limit { return false }
    let fires =
      switch trigger {
      case .atMatch(let number): matchCount == number
      case .atPoint(let number): operation.isCrashPoint && point == number
      case .pointsAfterMatch(let count): count == 0 && matchCount == 1
      case .perMillion(let rate): random.chance(perMillion: rate)
      case .always: true
      }
    if fires { firedCount += 1 }
    return fires
  }
}

/// The rules of a run, asked in their order; the first that fires decides.
public struct FaultPlan: Sendable {
  public var rules: [FaultRule]
  /// Points are counted, and rules asked, only while this is true: set-up can be left alone.
  public var isArmed = true
  /// Crash points completed since the plan was made or `restartCounting` was called.
  public private(set) var pointCount: UInt64 = 0

  public init(_ rules: [FaultRule] = []) { self.rules = rules }

  public mutating func add(_ rule: FaultRule) { rules.append(rule) }

  public mutating func restartCounting() { pointCount = 0 }

  mutating func faultAtBeginning(
    _ operation: DiskOperation, disk: Int, _ bytes: Range<UInt64>, _ random: inout SeededRandom
  ) -> Fault? {
    isArmed ? first(operation, disk: disk, bytes, &random, atBeginning: true) : nil
  }

  /// Counts the point, too.
  mutating func faultAtCompletion(
    _ operation: DiskOperation, disk: Int, _ bytes: Range<UInt64>, _ random: inout SeededRandom
  ) -> Fault? {
    guard isArmed else { return nil }
    if operation.isCrashPoint { pointCount += 1 }
    return first(operation, disk: disk, bytes, &random, atBeginning: false)
  }

  private mutating func first(
    _ operation: DiskOperation, disk: Int, _ bytes: Range<UInt64>, _ random: inout SeededRandom, atBeginning: Bool
  ) -> Fault? {
    var fault: Fault?
    for index in rules.indices where rules[index].isAtBeginning == atBeginning {
      if rules[index].fires(operation, disk: disk, bytes, point: pointCount, isTaken: fault != nil, &random) { fault = rules[index].fault }
    }
    return fault
  }
}
