import CLinux
import PhysicalDisk
import Reactor

/// The content of a simulated disk at some time.
public struct SavedContent: @unchecked Sendable {  // never changed
  let medium: Medium
}

/// A disk as it lies on the table: its content lives through power cuts. `open` gives the port that the stack uses it by.
public final class SimulatedDisk: @unchecked Sendable {  // used by one thread at a time: see SimulatedMachine
  public let options: SimulatedDiskOptions
  /// Its place among the disks of its machine.
  public let index: Int
  /// False while it is pulled out.
  public private(set) var isPresent = true
  /// Rises whenever this disk loses its power, alone or with all.
  private(set) var powerCycle: UInt64 = 0
  /// Rises whenever it is pulled out: ports opened before do not get it back.
  private(set) var attachment: UInt64 = 0
  /// Somebody has it open, or what an owner that gave it up has sent is not over.
  public private(set) var isClaimed = false
  private unowned let machine: SimulatedMachine
  private var medium: Medium
  private var random: SeededRandom
  private var inFlight: [InFlightOperation] = []
  private var hung = WaitQueue()

  init(_ options: SimulatedDiskOptions, index: Int, machine: SimulatedMachine, medium: Medium? = nil) {
    self.options = options
    self.index = index
    self.machine = machine
    random = SeededRandom(seed: machine.seed, stream: 100 + UInt64(index))
    let garbage = SeededRandom.mix(machine.seed &+ UInt64(index) &+ 7)
    self.medium = medium ?? Medium(initialGarbage: options.startsWithGarbage ? garbage : nil)
  }

  public var facts: DiskFacts {
    DiskFacts(
      kind: .simulated, name: options.name, byteCount: options.byteCount, ioAlignment: options.ioAlignment,
      physicalSector: options.physicalSector, isRotational: options.isRotational, discardGranularity: options.discardGranularity,
      zeroesCheaply: options.zeroesCheaply)
  }

  // MARK: What tests do to it

  /// Claims the disk for the present power-on. The machine must be powered, the disk present and not claimed: nil otherwise.
  public func open() -> SimulatedDiskPort? {
    guard machine.isPowered, isPresent, !isClaimed, let reactor = machine.reactor else { return nil }
    isClaimed = true
    return SimulatedDiskPort(disk: self, reactor: reactor, machine: machine)
  }

  /// Pulls the cable: operations fail with -ENODEV, those in flight done or not by the seed. The disk keeps its power and its cache.
  public func vanish() {
    guard isPresent else { return }
    isPresent = false
    attachment += 1
    isClaimed = false
    machine.coverage.count(.diskVanished)
    machine.note("\(options.name) vanishes")
    hung.wakeAll()
  }

  /// It is there again, for a new `open`. Operations that were in flight when it vanished may still land.
  public func reappear() {
    guard !isPresent else { return }
    isPresent = true
    machine.coverage.count(.diskReturned)
    machine.note("\(options.name) returns")
  }

  /// The power of this disk alone goes and comes back: what was not flushed is kept, lost or torn; ports opened before answer -EIO.
  public func losePowerAlone() {
    machine.note("\(options.name) loses its power")
    losePower()
    powerOn()
  }

  /// Forgets what is on it, for good.
  func scrap() { medium = Medium(initialGarbage: nil) }

  /// Lets the operations go on that a `hang` holds.
  public func releaseHung() { hung.wakeAll() }

  /// What a read would see, without time, faults or trace.
  public func peek(at offset: UInt64, byteCount: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    bytes.withUnsafeMutableBytes { medium.read(into: $0, at: offset) }
    return bytes
  }

  /// Changes the medium behind everybody's back, durably: damage. Whole sectors of 512 bytes.
  public func poke(at offset: UInt64, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes {
      medium.write(
        .bytes(Payload(copying: $0), offset: 0), at: offset, byteCount: UInt64($0.count), sequence: medium.nextSequence(), isDurable: true)
    }
  }

  /// Something completed that no flush has covered.
  public var hasUnflushed: Bool { medium.hasUnflushed }

  func copyOfMedium() -> Medium { medium.copyOfCurrent() }

  /// What it holds now, its cache with it.
  public func save() -> SavedContent { SavedContent(medium: medium.copyOfCurrent()) }

  /// Makes it hold that, durably: a copy that was put back. Nothing may be in flight.
  public func restore(_ content: SavedContent) { medium = content.medium.copyOfCurrent() }

  /// One string for each operation in flight.
  var inFlightDescriptions: [String] {
    inFlight.map { "\(options.name) \($0.operation) \($0.bytes.lowerBound)+\($0.bytes.count)" }
  }

  // MARK: Power

  func powerOn() { isClaimed = false }

  func losePower() {
    powerCycle += 1
    isClaimed = false
    machine.coverage.count(.operationInFlightAtPowerCut, UInt64(inFlight.count))
    // From the digest, so that each point of a run has its own outcome; apart from `self.random`, so that a variant changes nothing else.
    var random = SeededRandom(seed: machine.digest.value ^ SeededRandom.mix(machine.crashVariant), stream: UInt64(index))
    inFlight.shuffle(using: &random)
    for operation in inFlight {
      operation.isLost = true
      // A write in flight is one more that may have reached the medium, in part or whole; it is never certain, FUA or not.
      switch operation.operation {
      case .flush: if random.coin() { medium.makeDurable(upTo: operation.coveredSequence) }
      case .read, .close: break
      default: change(operation, isDurable: false)
      }
    }
    inFlight.removeAll()
    var lottery = CrashLottery(random)
    medium.losePower(atomicUnit: options.atomicUnit, fate: { _ in lottery.fate(&machine.coverage) }, coin: { lottery.coin() })
    hung.wakeAll()
  }

  // MARK: An operation's life, called by the port

  func begin(_ operation: DiskOperation, _ bytes: Range<UInt64>, _ slice: BufferSlice?) -> InFlightOperation {
    let begun = InFlightOperation(operation, bytes, slice, at: machine.now, coveredSequence: medium.lastSequence)
    if begun.isChecked && inFlight.contains(where: { $0.bytes.overlaps(bytes) && $0.operation.isCrashPoint }) {
      machine.coverage.count(.overlappingWritesInFlight)
    }
    // A disk may look at the sectors early and answer late: what changes meanwhile is not in the answer.
    if operation == .read, let slice, random.coin() {
      begun.earlyContent = [UInt8](unsafeUninitializedCapacity: slice.byteCount) { buffer, count in
        medium.read(into: UnsafeMutableRawBufferPointer(buffer), at: bytes.lowerBound)
        count = slice.byteCount
      }
    }
    inFlight.append(begun)
    return begun
  }

  /// How long it takes, and what holds it up then.
  func delay(of operation: InFlightOperation) -> (nanoseconds: UInt64, stallSeconds: UInt64, hangs: Bool) {
    var nanoseconds = random.value(in: options.latencyNanoseconds)
    if operation.operation == .flush { nanoseconds *= 10 }
    if random.chance(perMillion: options.slowPerMillion) { nanoseconds *= 50 }
    switch machine.plan.faultAtBeginning(operation.operation, disk: index, operation.bytes, &machine.faultRandom) {
    case .stall(let seconds):
      machine.coverage.count(.stall)
      machine.note("\(options.name) stalls")
      return (nanoseconds, random.value(in: seconds), false)
    case .hang:
      machine.coverage.count(.hang)
      machine.note("\(options.name) hangs")
      return (nanoseconds, 0, true)
    default: return (nanoseconds, 0, false)
    }
  }

  /// For use inside `withUnsafeContinuation`.
  func hang(_ continuation: UnsafeContinuation<Void, Never>) { hung.append(continuation) }

  /// The moment an operation takes effect. Result as in `DiskPort`.
  func complete(_ operation: InFlightOperation, of port: SimulatedDiskPort) -> Int32 {
    guard port.hasPower, !operation.isLost else {
      machine.coverage.count(.operationWithoutPower)
      inFlight.removeAll { $0 === operation }
      return -EIO
    }
    checkBuffer(of: operation)
    if operation.waiter == nil && operation.operation == .read { machine.coverage.count(.abandonedReadLanded) }
    if operation.waiter == nil && operation.operation.isCrashPoint { machine.coverage.count(.abandonedWriteLanded) }
    let result: Int32
    if isPresent && port.isAttached {
      let fault = machine.plan.faultAtCompletion(operation.operation, disk: index, operation.bytes, &machine.faultRandom)
      result = apply(operation, fault)
    } else {
      machine.coverage.count(.operationOnVanishedDisk)
      if random.coin() && operation.operation.isCrashPoint && operation.operation != .flush { change(operation, isDurable: false) }
      result = -ENODEV
    }
    inFlight.removeAll { $0 === operation }
    machine.trace.add(
      operation.operation, disk: index, name: options.name, offset: operation.bytes.lowerBound, byteCount: UInt64(operation.bytes.count),
      result: result, content: InFlightOperation.checksum(operation.slice), point: machine.plan.pointCount, at: machine.now,
      step: machine.reactor?.stepCount ?? 0)
    return result
  }

  private func checkBuffer(of operation: InFlightOperation) {
    guard operation.isChecked, InFlightOperation.checksum(operation.slice) != operation.checksum else { return }
    let kind = operation.operation == .read ? "read from" : "write to"
    machine.reactor?.report(
      violation: "the buffer of a \(kind) \(options.name) at \(operation.bytes.lowerBound) changed while it was in flight")
  }

  func count(_ event: CoverageEvent) { machine.coverage.count(event) }
  func note(_ text: String) { machine.note("\(options.name) \(text)") }

  private func apply(_ operation: InFlightOperation, _ fault: Fault?) -> Int32 {
    switch fault {
    case nil, .stall, .hang: return succeed(operation)
    case .powerCut:
      machine.cutPower()
      return -EIO
    case .diskVanishes:
      vanish()
      return -ENODEV
    case .ioError: return fail(operation)
    case .noSpace:
      machine.coverage.count(.noSpace)
      return -ENOSPC
    case .bitFlip:
      machine.coverage.count(.bitFlip)
      let result = succeed(operation)
      if let bytes = operation.slice?.bytes, !bytes.isEmpty { bytes[random.index(below: bytes.count)] ^= 1 << UInt8(random.below(8)) }
      return result
    case .phantomWrite:
      machine.coverage.count(.phantomWrite)
      return 0
    case .misdirectedWrite(let range):
      machine.coverage.count(.misdirectedWrite)
      let count = UInt64(operation.bytes.count)
      let area = range ?? 0..<options.byteCount
      let places = (UInt64(area.count) - count) / UInt64(options.ioAlignment) + 1
      let offset = area.lowerBound + random.below(places) * UInt64(options.ioAlignment)
      write(operation, at: offset, isDurable: operation.operation == .durableWrite)
      return 0
    }
  }

  private func succeed(_ operation: InFlightOperation) -> Int32 {
    switch operation.operation {
    case .read:
      machine.coverage.count(.read)
      if let slice = operation.slice {
        if let content = operation.earlyContent {
          slice.bytes.copyBytes(from: content)
        } else {
          medium.read(into: slice.bytes, at: operation.bytes.lowerBound)
        }
      }
    case .write:
      machine.coverage.count(.write)
      change(operation, isDurable: false)
    case .durableWrite:
      machine.coverage.count(.durableWrite)
      change(operation, isDurable: true)
    case .flush:
      machine.coverage.count(.flush)
      medium.makeDurable(upTo: operation.coveredSequence)
    case .punch:
      guard options.discardGranularity > 0 else { return -EOPNOTSUPP }
      machine.coverage.count(.punch)
      change(operation, isDurable: false)
    case .zero:
      guard options.supportsZero else { return -EOPNOTSUPP }
      machine.coverage.count(.zero)
      change(operation, isDurable: false)
    case .close: isClaimed = false
    }
    return 0
  }

  /// -EIO, with what such an error leaves behind.
  private func fail(_ operation: InFlightOperation) -> Int32 {
    switch operation.operation {
    case .read:
      machine.coverage.count(.readError)
      if let slice = operation.slice { memset(slice.start, 0xE5, slice.byteCount) }  // whoever uses it all the same shall be seen
    case .flush:
      machine.coverage.count(.flushError)
      if medium.hasUnflushed { machine.coverage.count(.dataGoneAfterFailedFlush) }
      medium.failFlush(upTo: operation.coveredSequence, isGoneNow: random.coin())
    case .write, .durableWrite:
      machine.coverage.count(.writeError)
      failWrite(operation)
    case .punch, .zero:
      machine.coverage.count(.writeError)
      if random.coin() { change(operation, isDurable: false) }
    case .close: break
    }
    return -EIO
  }

  /// Each atomic unit was written or not.
  private func failWrite(_ operation: InFlightOperation) {
    guard let slice = operation.slice else { return }
    let payload = Payload(copying: UnsafeRawBufferPointer(slice.bytes))
    let sequence = medium.nextSequence()
    for start in stride(from: 0, to: slice.byteCount, by: options.atomicUnit) where random.coin() {
      medium.write(
        .bytes(payload, offset: start), at: operation.bytes.lowerBound + UInt64(start),
        byteCount: UInt64(min(options.atomicUnit, slice.byteCount - start)), sequence: sequence, isDurable: false)
    }
  }

  /// Does to the medium what a write, punch or zeroing does.
  private func change(_ operation: InFlightOperation, isDurable: Bool) {
    switch operation.operation {
    case .write, .durableWrite: write(operation, at: operation.bytes.lowerBound, isDurable: isDurable)
    case .zero where options.supportsZero: fill(operation, .zeros)
    case .punch where options.discardGranularity > 0: punch(operation)
    default: break
    }
  }

  private func punch(_ operation: InFlightOperation) {
    switch options.zeroesCheaply ? 1 : random.below(3) {
    case 0: machine.coverage.count(.punchLeftContent)
    case 1:
      machine.coverage.count(.punchLeftZeros)
      fill(operation, .zeros)
    default:
      machine.coverage.count(.punchLeftGarbage)
      fill(operation, .garbage(random.next()))
    }
  }

  private func write(_ operation: InFlightOperation, at offset: UInt64, isDurable: Bool) {
    guard let slice = operation.slice else { return }
    let payload = Payload(copying: UnsafeRawBufferPointer(slice.bytes))
    medium.write(
      .bytes(payload, offset: 0), at: offset, byteCount: UInt64(slice.byteCount), sequence: medium.nextSequence(), isDurable: isDurable)
  }

  private func fill(_ operation: InFlightOperation, _ source: ContentSource) {
    medium.write(
      source, at: operation.bytes.lowerBound, byteCount: UInt64(operation.bytes.count), sequence: medium.nextSequence(), isDurable: false)
  }
}
