import BlockDevice
import CLinux
import Logging
import Reactor
import var Glibc.errno

@testable import NBDServer

/// A whole server on a real ring, of which the fuzzer is the client: one connection at a time, over a pair of sockets.
final class FuzzServer: @unchecked Sendable {  // the fuzzer's thread waits while the reactor works, and the other way round
  static let shared = FuzzServer()
  /// No connection takes so long that sends all it has and then ends. Seconds.
  static let patienceSeconds = 8

  private let reactor: RingReactor
  private let server: NBDServer
  let device: FuzzDevice
  private let directory: FuzzDirectory
  private let finished: UnsafeMutablePointer<sem_t>
  private var runs = 0

  private init() {
    guard let reactor = try? RingReactor.start(name: "fuzz") else { fatalError("no io_uring here") }
    self.reactor = reactor
    device = FuzzDevice(reactor: reactor)
    directory = FuzzDirectory(device)
    var logger = Logger(label: "fuzz")
    logger.logLevel = .critical
    server = NBDServer(reactor: reactor, directory: directory, logger: logger)
    finished = .allocate(capacity: 1)
    sem_init(finished, 0, 0)
    MemoryGrowth.allocated = { [self] in
      var measured = 0
      onReactor { _ in measured = MemoryGrowth.measured }
      return measured
    }
  }

  /// What the fuzzer wants of a connection.
  struct Manner {
    /// Sent in pieces of so many bytes; 0 for all at once.
    var pieceByteCount = 0
    /// Goes without reading a reply.
    var leavesAtOnce = false
    var isReadOnly = false
  }

  /// Serves one client that sends `bytes` and no more. Returns what it was sent until the server closed; the connection is over then, its
  /// requests are done, its export is closed and all buffers are back.
  func serve(_ bytes: [UInt8], _ manner: Manner) -> [UInt8] {
    var pair: [Int32] = [0, 0]
    precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0, "no pair of sockets")
    let (ours, theirs) = (pair[0], pair[1])
    onReactor { $0.directory.isReadOnly = manner.isReadOnly }
    reactor.spawn { [self] in
      await server.serveToTheEnd(descriptor: theirs)
      sem_post(finished)
    }
    let received = converse(ours, bytes, manner)
    close(ours)
    wait("the connection does not end")
    onReactor { own in
      precondition(own.reactor.buffers.heldCount == 0, "buffers were not given back")
      precondition(own.directory.openCount == 0, "the export was not closed")
      precondition(own.server.statistics.connections.isEmpty, "the connection is still known")
    }
    return received
  }

  /// Now and then, and after the first: a client that means well is served as ever.
  func serveHonestClient() {
    defer { runs += 1 }
    guard runs.isMultiple(of: 16) else { return }
    let request = RequestBytes(type: 0, offset: 512, length: 4096)
    let bytes =
      OptionBytes.clientFlags + OptionBytes.go + request.encoded(.simple, cookie: 7)
      + RequestBytes(type: 2).encoded(.simple, cookie: 8)
    let received = serve(bytes, Manner())
    let expected = FuzzDevice.content(512, 4096)
    precondition(received.count > 4112 && Array(received.suffix(4096)) == expected, "an honest client was not served")
  }

  // MARK: The client's side

  private func converse(_ descriptor: Int32, _ bytes: [UInt8], _ manner: Manner) -> [UInt8] {
    var sent = 0
    var received: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    var isSending = true
    while true {
      if isSending && sent == bytes.count {
        if manner.leavesAtOnce { return received }
        shutdown(descriptor, Int32(SHUT_WR))
        isSending = false
      }
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN | (isSending ? POLLOUT : 0)), revents: 0)
      let ready = poll(&entry, 1, Int32(FuzzServer.patienceSeconds * 1000))
      if ready < 0 && errno == EINTR { continue }  // libFuzzer's clock
      precondition(ready > 0, "the server neither reads nor answers nor closes")
      if isSending && Int32(entry.revents) & POLLOUT != 0 {
        let limit = manner.pieceByteCount == 0 ? bytes.count : min(bytes.count, sent + manner.pieceByteCount)
        let count = bytes.withUnsafeBytes {
          send(descriptor, $0.baseAddress! + sent, limit - sent, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
        if count > 0 { sent += count } else if errno != EAGAIN { isSending = false }
      }
      if Int32(entry.revents) & (POLLIN | POLLHUP | POLLERR) != 0 {
        let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
        if count > 0 { received += piece[..<count] } else if count == 0 || errno != EAGAIN { return received }
      }
    }
  }

  // MARK: The reactor's side

  private func wait(_ what: String) {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += FuzzServer.patienceSeconds
    while sem_timedwait(finished, &deadline) != 0 { precondition(errno == EINTR, what) }
  }

  func onReactor(_ body: @escaping (FuzzServer) -> Void) {
    nonisolated(unsafe) let body = body
    reactor.spawn { [self] in
      body(self)
      sem_post(finished)
    }
    wait("the reactor does not answer")
  }
}

/// A disk of almost 2^63 bytes that holds what `content` says, whatever is written to it; some stretches are known to be zeros. Remembers the sum of
/// what was written.
final class FuzzDevice: BlockDevice, @unchecked Sendable {  // reactor-confined
  static let byteCount: UInt64 = 1 << 63 - 4096
  private static let stretch: UInt64 = 16 << 10
  private static let run: UInt64 = 256
  /// Every fourth stretch of 16 KiB reads as zeros.
  static func isZero(_ offset: UInt64) -> Bool { offset / stretch % 4 == 3 }

  /// Of what was written since the last `reset`: see `mark`.
  private(set) var written: UInt64 = 0
  /// Reads that begin in every eighth MiB fail, and writes to it.
  var fails = false
  /// Every other request waits for a turn of the reactor, so that replies overtake each other.
  var dawdles = false
  private var calls = 0

  init(reactor: any Reactor) { super.init(reactor: reactor, layerName: "Fuzz", label: "fuzz") }

  override var geometry: BlockGeometry { BlockGeometry(byteCount: FuzzDevice.byteCount, logicalSector: 512, physicalSector: 4096) }

  func reset(fails: Bool, dawdles: Bool) {
    written = 0
    calls = 0
    self.fails = fails
    self.dawdles = dawdles
  }

  /// What one write adds to `written`: the order of writes does not matter.
  static func mark(_ offset: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var sum = offset &* 0x9e37_79b9_7f4a_7c15
    for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return sum | 1
  }

  static func fill(_ memory: UnsafeMutableRawPointer, _ offset: UInt64, _ byteCount: Int) {
    var done = 0
    while done < byteCount {
      let position = offset + UInt64(done)
      let count = min(byteCount - done, Int(run - position % run))
      memset(memory + done, isZero(position) ? 0 : Int32(UInt8(truncatingIfNeeded: position / run) | 1), count)
      done += count
    }
  }

  static func content(_ offset: UInt64, _ byteCount: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: byteCount) { memory, count in
      if let start = memory.baseAddress { fill(start, offset, byteCount) }
      count = byteCount
    }
  }

  private func begin(_ offset: UInt64) async throws(BlockError) {
    calls += 1
    if dawdles && calls.isMultiple(of: 2) { await reactor.sleep(milliseconds: 0) }
    if fails && offset >> 20 % 8 == 7 { throw BlockError(.ioFailed) }
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await begin(offset)
    FuzzDevice.fill(slice.start, offset, slice.byteCount)
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    try await begin(offset)
    written &+= FuzzDevice.mark(offset, UnsafeRawBufferPointer(slice.bytes))
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    try await begin(0)
    return FlushToken(number: 1)
  }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await begin(offset)
  }

  override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await begin(offset)
    if request.flags.contains(.onlyFast) { throw BlockError(.unsupported) }
  }

  override var readCacheByteCount: UInt64 { 256 << 10 }

  override func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun {
    let isZero = FuzzDevice.isZero(offset)
    let end =
      isZero ? offset - offset % FuzzDevice.stretch + FuzzDevice.stretch : (offset / FuzzDevice.stretch / 4 * 4 + 3) * FuzzDevice.stretch
    return ZeroRun(byteCount: min(byteCount, end - offset), isZero: isZero)
  }

  override func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    try await begin(offset)
    var position = offset
    while position < offset + byteCount && extents.count < limit {
      let run = performZeroRun(at: position, byteCount: offset + byteCount - position)
      extents.append(BlockExtent(byteCount: run.byteCount, isAllocated: !run.isZero, isZero: run.isZero, row: byRow ? position >> 16 : nil))
      position += run.byteCount
    }
  }
}

/// One export, "disk", and names that make long answers.
final class FuzzDirectory: ExportDirectory, Export, @unchecked Sendable {  // reactor-confined
  let name = "disk"
  let description = "a disk that is attacked"
  let device: BlockDevice
  var isReadOnly = false
  private(set) var openCount = 0

  init(_ device: BlockDevice) { self.device = device }

  func close() { openCount -= 1 }

  func listExports(for client: ClientIdentity, _ send: ([String]) async -> Bool) async {
    guard await send([name, String(repeating: "n", count: 4096)]) else { return }
    _ = await send([String(repeating: "n", count: 4097)])
  }

  private func find(_ name: String) throws(ExportError) {
    if name == "denied" { throw ExportError(.denied, "not for you") }
    guard name.isEmpty || name == self.name else { throw ExportError(.unknown, "there is no export '\(name)'") }
  }

  func describeExport(named name: String, for client: ClientIdentity) throws(ExportError) -> ExportDescription {
    try find(name)
    return ExportDescription(name: self.name, description: description, geometry: device.geometry, isReadOnly: isReadOnly)
  }

  func openExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> any Export {
    try find(name)
    openCount += 1
    return self
  }
}
