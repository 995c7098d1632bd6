// nbd-memory ADDRESS BYTES [PSK-FILE]: serves one export kept in memory, through TLS where there are keys, until SIGTERM or SIGINT. For measuring the server alone.
import BlockDevice
import CLinux
import func Glibc.exit
import NBDServer
import Reactor

final class MemoryDevice: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let memory: UnsafeMutableRawPointer
  private let byteCount: Int
  override var geometry: BlockGeometry {
    BlockGeometry(byteCount: UInt64(byteCount), logicalSector: 512, physicalSector: 4096, discardGranularity: 4096, zeroesCheaply: true)
  }

  init?(reactor: any Reactor, byteCount: Int) {
    guard let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      memory != UnsafeMutableRawPointer(bitPattern: -1)
    else { return nil }
    self.memory = memory
    self.byteCount = byteCount
    super.init(reactor: reactor, layerName: "Memory", label: "memory")
  }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    slice.start.copyMemory(from: memory + Int(offset), byteCount: slice.byteCount)
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    (memory + Int(offset)).copyMemory(from: slice.start, byteCount: slice.byteCount)
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { FlushToken(number: 1) }

  override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    memset(memory + Int(offset), 0, Int(byteCount))
  }

  override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    memset(memory + Int(offset), 0, Int(byteCount))
  }
}

final class MemoryExport: Export, ExportDirectory, @unchecked Sendable {  // reactor-confined
  let name = "memory"
  let description = "a disk in memory"
  let device: BlockDevice
  let isReadOnly = false
  init(device: BlockDevice) { self.device = device }
  func close() {}
  func listExports(for client: ClientIdentity, _ send: ([String]) async -> Bool) async { _ = await send([name]) }
  func describeExport(named name: String, for client: ClientIdentity) throws(ExportError) -> ExportDescription {
    ExportDescription(name: self.name, description: description, geometry: device.geometry)
  }
  func openExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> any Export { self }
}

/// What the main thread waits for.
final class Latch: @unchecked Sendable {  // a semaphore is made for several threads
  private let semaphore: UnsafeMutablePointer<sem_t>
  init() {
    semaphore = .allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
  }
  func open() { sem_post(semaphore) }
  func wait() { while sem_wait(semaphore) != 0 {} }
}

guard (3...4).contains(CommandLine.arguments.count), let byteCount = Int(CommandLine.arguments[2]), byteCount > 0 else {
  print("usage: nbd-memory unix:PATH|tcp:HOST:PORT BYTES [PSK-FILE]")
  exit(2)
}
var signals = sigset_t()
sigemptyset(&signals)
sigaddset(&signals, SIGTERM)
sigaddset(&signals, SIGINT)
pthread_sigmask(SIG_BLOCK, &signals, nil)
let reactor = try RingReactor.start(name: "nbd-memory")
guard let device = MemoryDevice(reactor: reactor, byteCount: byteCount) else {
  print("no memory for \(byteCount) bytes")
  exit(1)
}
let keys = CommandLine.arguments.count > 3 ? CommandLine.arguments[3] : nil
let tls = try keys.map { try TLSContext(TLSConfiguration(isRequired: true, pskFile: $0)) }
let server = NBDServer(reactor: reactor, directory: MemoryExport(device: device), tls: tls)
let address = try ListenAddress(parsing: CommandLine.arguments[1])
// Not an async main: there the main thread would wait in sigsuspend(2) with nothing blocked, and the signal would end the process.
let finished = Latch()
let descriptor = signalfd(-1, &signals, Int32(SFD_CLOEXEC))
reactor.spawn { [server, address, descriptor, finished] in
  do {
    print("listening on \(try await server.start(listeners: [address]))")
    _ = await reactor.waitReadable(reactor.adopt(descriptor))
    await server.stop()
  } catch { print(error) }
  finished.open()
}
finished.wait()
reactor.stop()
