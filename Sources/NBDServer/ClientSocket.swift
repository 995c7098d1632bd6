import CLinux
import Reactor

/// The byte stream to a client. Everything a connection sends or receives goes through here: in the clear, or through TLS once that is there.
///
/// One task may receive and one may send at the same time. It is closed once, by its owner, when neither does any more.
final class ClientSocket: @unchecked Sendable {  // reactor-confined
  let reactor: RingReactor
  private let file: RingFile
  /// True for TCP, where closing with unread bytes resets the stream.
  private let resetsWhenUnread: Bool
  private(set) var isShutDown = false
  /// Nobody wants to receive any more: said once, it holds also for who is between two receives.
  private var isReceiveCancelled = false
  /// nil in the clear: the one thing that the plain path looks at.
  private var tls: TLSStream?

  /// Takes over `descriptor`, a connected stream socket.
  init(reactor: RingReactor, descriptor: Int32) {
    self.reactor = reactor
    file = reactor.adopt(descriptor)
    resetsWhenUnread = SocketOptions.configureAndCheckIsTCP(descriptor)
  }

  /// What is there, at least one byte: a count, 0 at the stream's end, or -errno.
  func receive(into memory: UnsafeMutableRawBufferPointer) async -> Int {
    if let tls { return await tls.receive(into: memory) }
    return await receiveRaw(into: memory)
  }

  /// What the network has, whatever it means.
  func receiveRaw(into memory: UnsafeMutableRawBufferPointer) async -> Int {
    if isReceiveCancelled { return -Int(ECANCELED) }
    return await receiveAnyway(into: memory)
  }

  private func receiveAnyway(into memory: UnsafeMutableRawBufferPointer) async -> Int {
    while true {
      let result = await reactor.receive(file, into: memory)
      if result != -EINTR { return Int(result) }
    }
  }

  /// The same into several pieces of memory, in their order.
  func receive(_ message: UnsafeMutablePointer<msghdr>) async -> Int {
    if let tls { return await tls.receive(message) }
    while true {
      let result = await reactor.receive(file, message: message)
      if result != -EINTR { return Int(result) }
    }
  }

  /// False when the stream ended or failed before `memory` was full.
  func receiveExactly(_ memory: UnsafeMutableRawBufferPointer) async -> Bool {
    var rest = memory
    while !rest.isEmpty {
      let count = await receive(into: rest)
      if count <= 0 { return false }
      rest = UnsafeMutableRawBufferPointer(rebasing: rest[count...])
    }
    return true
  }

  /// Part of `message` or all of it: a count, or -errno. A cancelled send has moved nothing and is tried again: `cancelReceive` cannot tell
  /// a connection's operations apart.
  func send(_ message: UnsafeMutablePointer<msghdr>) async -> Int {
    if let tls { return await tls.send(message) }
    while true {
      let result = await reactor.send(file, message: message)
      if result != -EINTR && result != -ECANCELED { return Int(result) }
      if isShutDown { return -Int(EPIPE) }
    }
  }

  /// The same for bytes that go out as they are.
  func sendRaw(_ memory: UnsafeRawBufferPointer) async -> Int {
    while true {
      let result = await reactor.send(file, memory)
      if result != -EINTR && result != -ECANCELED { return Int(result) }
      if isShutDown { return -Int(EPIPE) }
    }
  }

  func sendAll(_ bytes: [UInt8]) async -> Bool {
    if let tls { return await tls.sendAll(bytes) }
    // The bytes have to stay where they are while the task is suspended, which an array's pointer does not promise.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    var sent = 0
    while sent < bytes.count {
      let result = await sendRaw(UnsafeRawBufferPointer(rebasing: memory[sent..<bytes.count]))
      if result <= 0 { return false }
      sent += result
    }
    return true
  }

  // MARK: TLS

  var isEncrypted: Bool { tls != nil }

  /// Begins TLS, as its server; everything before was in the clear, everything after goes through it. Who the client proved to be, or why the
  /// connection is to be ended.
  func startTLS(_ context: TLSContext) async -> Result<TLSPeer, TLSHandshakeFailure> {
    switch await TLSStream.accept(self, context) {
    case .stream(let stream, let peer):
      tls = stream
      return .success(peer)
    case .failed(let reason): return .failure(TLSHandshakeFailure(reason: reason))
    }
  }

  /// What it keeps for busier times.
  func giveBackMemory() { tls?.giveBackMemory() }

  // MARK: The end

  /// The client has closed its end, or the stream is broken: nobody will read what is sent. A client of TCP that has closed is known by the first
  /// reply that it refuses, not before. A system call.
  var peerIsGone: Bool { reactor.isHungUp(file) }

  /// Ends a receive that waits; it returns -ECANCELED and has taken nothing. So does a later `receiveRaw`: the records of TLS take several receives,
  /// and whoever is between two of them would wait for a client that has nothing to say.
  func cancelReceive() async {
    isReceiveCancelled = true
    await reactor.cancelAll(file)
  }

  /// Ends the stream in both directions at once: whoever sends or receives is told.
  func abort() {
    if isShutDown { return }
    isShutDown = true
    reactor.shutdown(file, how: Int32(SHUT_RDWR))
  }

  /// Says goodbye: nothing more is sent, and on TCP what the client still sends is read away, so that it gets to read our last replies.
  /// Ends when the client has closed, or when someone calls `abort`.
  func finish() async {
    if isShutDown { return }
    await tls?.sayGoodbye()
    if isShutDown { return }
    reactor.shutdown(file, how: Int32(SHUT_WR))
    guard resetsWhenUnread else { return }
    let scrap = UnsafeMutableRawBufferPointer.allocate(byteCount: WireLimits.lingerReadByteCount, alignment: 1)
    defer { scrap.deallocate() }
    while await receiveAnyway(into: scrap) > 0 {}
  }

  func close() {
    abort()
    reactor.close(file)
  }
}

/// Why a client did not get through the TLS handshake; nil when it just went.
struct TLSHandshakeFailure: Error {
  var reason: String?
}
