import BlockDevice
import CLinux
import Reactor

@testable import NBDServer

/// A disk in memory that remembers what it was asked, and can be told to hold requests back or to fail them. Reactor-confined.
final class TestDevice: BlockDevice, @unchecked Sendable {
  struct Call: Equatable, Sendable {
    var operation: BlockOperation
    var offset: UInt64 = 0
    var byteCount: UInt64 = 0
    var flags: IOFlags = []
    var hint = CacheHint.normal
  }

  var shape: BlockGeometry
  private(set) var content: [UInt8]
  private(set) var calls: [Call] = []
  /// Thrown by every request while it is set.
  var failure: BlockError?
  /// While true, requests wait at the gate.
  private(set) var isGateShut = false
  private var gate = WaitQueue()
  /// So many reads from now on hang: their disk is given up and keeps the buffer. `stallsSilently`: the read says nothing of it.
  var stalls = 0
  var stallsSilently = false
  private var keptBySystem: [BufferSlice] = []
  /// What block status says, from offset 0 on; the rest is data. Its zeros are for the test to see to.
  var layout: [BlockExtent] = []
  /// Reads that begin here fail.
  var badOffset: UInt64?
  /// Zeroing writes no data.
  var zeroesFast = true
  var cacheByteCount: UInt64 = 0

  init(reactor: any Reactor, byteCount: Int, isReadOnly: Bool = false, isRotational: Bool = false) {
    shape = BlockGeometry(
      byteCount: UInt64(byteCount), logicalSector: 512, physicalSector: 4096, optimalByteCount: 3 << 16, isReadOnly: isReadOnly,
      isRotational: isRotational)
    content = [UInt8](repeating: 0, count: byteCount)
    super.init(reactor: reactor, layerName: "Test", label: "test")
  }

  override var geometry: BlockGeometry { shape }
  var waitingCount: Int { gate.count }

  func erase() { zero(0, UInt64(content.count)) }

  func shutGate() { isGateShut = true }
  func openGate() {
    isGateShut = false
    gate.wakeAll()
  }

  private func enter(_ call: Call) async throws(BlockError) {
    reactor.assertIsCurrent()
    calls.append(call)
    if isGateShut { await withUnsafeContinuation { gate.append($0) } }
    if let failure { throw failure }
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let call = Call(
      operation: .read, offset: offset, byteCount: UInt64(slice.byteCount), flags: request.flags, hint: request.cacheHint)
    try await enter(call)
    if let badOffset, offset == badOffset { throw BlockError(.ioFailed) }
    if stalls > 0 {
      stalls -= 1
      reactor.buffers.retain(slice.buffer)
      keptBySystem.append(slice)
      _ = memset(slice.start, 0xEE, slice.byteCount)
      if stallsSilently { return }
      throw BlockError(.stalled)
    }
    content.withUnsafeBytes { slice.start.copyMemory(from: $0.baseAddress! + Int(offset), byteCount: slice.byteCount) }
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await enter(Call(operation: .write, offset: offset, byteCount: UInt64(slice.byteCount), flags: request.flags))
    content.withUnsafeMutableBytes { ($0.baseAddress! + Int(offset)).copyMemory(from: slice.start, byteCount: slice.byteCount) }
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    try await enter(Call(operation: .flush, flags: request.flags))
    return FlushToken(number: 1)
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await enter(Call(operation: .discard, offset: offset, byteCount: byteCount, flags: request.flags))
    zero(offset, byteCount)
  }

  override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    if request.flags.contains(.onlyFast) && !zeroesFast { throw BlockError(.unsupported) }
    try await enter(Call(operation: .writeZeroes, offset: offset, byteCount: byteCount, flags: request.flags))
    zero(offset, byteCount)
  }

  override var readCacheByteCount: UInt64 { cacheByteCount }

  /// The extents of a range, as `layout` has them.
  private func status(_ offset: UInt64, _ byteCount: UInt64) -> [BlockExtent] {
    let end = offset + byteCount
    var found: [BlockExtent] = []
    var position: UInt64 = 0
    let rest = BlockExtent(byteCount: .max, isAllocated: true, isZero: false)
    for extent in layout + [rest] where position < end {
      let (sum, overflow) = position.addingReportingOverflow(extent.byteCount)
      let next = overflow ? .max : sum
      if next > offset {
        var part = extent
        part.byteCount = min(next, end) - max(position, offset)
        found.append(part)
      }
      position = next
    }
    return found
  }

  override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    try await enter(Call(operation: .blockStatus, offset: offset, byteCount: byteCount))
    extents += status(offset, byteCount).prefix(limit)
  }

  override func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun {
    let first = status(offset, byteCount)[0]
    return ZeroRun(byteCount: first.byteCount, isZero: first.isZero)
  }

  /// What hung happens now: the system fills the buffers it kept, and lets go of them.
  func landStalledReads() {
    for slice in keptBySystem {
      _ = memset(slice.start, 0xDD, slice.byteCount)
      reactor.buffers.release(slice.buffer)
    }
    keptBySystem.removeAll()
  }

  var keptBySystemCount: Int { keptBySystem.count }

  private func zero(_ offset: UInt64, _ byteCount: UInt64) {
    content.withUnsafeMutableBytes { _ = memset($0.baseAddress! + Int(offset), 0, Int(byteCount)) }
  }
}

/// A few exports over TestDevices, with a count of who has them open. Reactor-confined.
final class TestDirectory: ExportDirectory, @unchecked Sendable {
  final class OpenExport: Export, @unchecked Sendable {
    let name: String
    let description = "a disk for tests"
    let device: BlockDevice
    let isReadOnly: Bool
    var isWithdrawn = false
    private let onClose: () -> Void

    init(name: String, device: BlockDevice, isReadOnly: Bool, onClose: @escaping () -> Void) {
      self.name = name
      self.device = device
      self.isReadOnly = isReadOnly
      self.onClose = onClose
    }

    func close() { onClose() }
  }

  var devices: [(name: String, device: TestDevice)] = []
  /// Names that clients may only read.
  var readOnlyNames: Set<String> = []
  /// Answered instead of the export.
  var refusals: [String: ExportError] = [:]
  /// While true, exports that are opened wait at the gate, as for a partition table that is read.
  private(set) var isGateShut = false
  private var gate = WaitQueue()
  /// Exports that are opened are withdrawn at once.
  var withdrawsAtOnce = false
  private(set) var openCount = 0
  private(set) var openedEver = 0
  /// Who asked last.
  private(set) var lastClient: ClientIdentity?

  var waitingCount: Int { gate.count }

  func shutGate() { isGateShut = true }
  func openGate() {
    isGateShut = false
    gate.wakeAll()
  }

  func listExports(for client: ClientIdentity, _ send: ([String]) async -> Bool) async {
    for entry in devices where !(await send([entry.name])) { return }
  }

  private func find(_ name: String) throws(ExportError) -> (name: String, device: TestDevice) {
    if let refusal = refusals[name] { throw refusal }
    if name.isEmpty, devices.count == 1 { return devices[0] }
    guard let entry = devices.first(where: { $0.name == name }) else {
      throw ExportError(.unknown, "there is no export '\(name)'")
    }
    return entry
  }

  func describeExport(named name: String, for client: ClientIdentity) throws(ExportError) -> ExportDescription {
    let (name, device) = try find(name)
    return ExportDescription(
      name: name, description: "a disk for tests", geometry: device.geometry, isReadOnly: readOnlyNames.contains(name))
  }

  func openExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> any Export {
    let (name, device) = try find(name)
    if isGateShut { await withUnsafeContinuation { gate.append($0) } }
    openCount += 1
    openedEver += 1
    lastClient = client
    let export = OpenExport(name: name, device: device, isReadOnly: readOnlyNames.contains(name)) { [self] in
      openCount -= 1
    }
    export.isWithdrawn = withdrawsAtOnce
    return export
  }
}
