import CLinux
import Reactor

/// The TLS layer of a `ClientSocket`: seals what is sent and opens what was received. The same rules hold as for the socket: one task may
/// receive and one may send at the same time. Its memory is bounded: `TLSLimits`.
final class TLSStream: @unchecked Sendable {  // reactor-confined
  private unowned let socket: ClientSocket
  private let session: TLSSession
  /// Small pieces of a message are sealed together.
  private let gathered: UnsafeMutableRawBufferPointer

  private init(_ socket: ClientSocket, _ session: TLSSession) {
    self.socket = socket
    self.session = session
    gathered = .allocate(byteCount: TLSLimits.recordByteCount, alignment: Int(getpagesize()))
  }

  deinit { gathered.deallocate() }

  /// Lets the system have the pages back that hold nothing. A receive may be waiting.
  func giveBackMemory() {
    session.giveBackMemory()
    madvise(gathered.baseAddress, gathered.count, MADV_DONTNEED)  // filled and emptied by each `seal`
  }

  // MARK: Handshake

  enum Outcome {
    case stream(TLSStream, TLSPeer)
    /// Why, for the log; nil when the client just went.
    case failed(String?)
  }

  /// The server's side of the handshake. The client's first bytes are still in the socket: nothing was read beyond its STARTTLS.
  static func accept(_ socket: ClientSocket, _ context: TLSContext) async -> Outcome {
    guard let session = await context.makeSession() else { return .failed("no memory for a TLS session") }
    let stream = TLSStream(socket, session)
    while true {
      let progress = await context.handshake(session)
      let isSent = await stream.flush()
      switch progress {
      case .done: return isSent ? .stream(stream, session.peer) : .failed(nil)
      case .failed: return .failed(session.errorText)
      case .again:
        guard isSent, await stream.fill() > 0 else { return .failed(nil) }
      }
    }
  }

  // MARK: Receiving

  /// What is there, at least one byte: a count, 0 at the stream's end, or -errno.
  func receive(into memory: UnsafeMutableRawBufferPointer) async -> Int {
    if memory.isEmpty { return 0 }
    while true {
      switch session.open(into: memory) {
      case .moved(let count): return count == 0 ? 0 : open(behind: count, of: memory)
      case .failed: return -Int(EPROTO)
      case .again:
        let count = await fill()
        if count <= 0 { return count }
      }
    }
  }

  /// Opens further records that have been received, without waiting; all in all.
  private func open(behind first: Int, of memory: UnsafeMutableRawBufferPointer) -> Int {
    var filled = first
    while filled < memory.count {
      // An end or a failure is met again by the next receive.
      guard case .moved(let count) = session.open(into: UnsafeMutableRawBufferPointer(rebasing: memory[filled...])), count > 0 else {
        break
      }
      filled += count
    }
    return filled
  }

  /// The same into several pieces of memory, in their order.
  func receive(_ message: UnsafeMutablePointer<msghdr>) async -> Int {
    var total = 0
    for index in 0..<message.pointee.msg_iovlen {
      let piece = message.pointee.msg_iov[index]
      let memory = UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
      if memory.isEmpty { continue }
      if total == 0 {
        let count = await receive(into: memory)
        if count <= 0 { return count }
        total = count
      } else {
        total += open(behind: 0, of: memory)
      }
      if total < message.pointee.byteCount(before: index + 1) { break }
    }
    return total
  }

  /// Receives from the network: a count, 0 at its end, or -errno.
  private func fill() async -> Int {
    let room = session.inputRoom
    // Full, and yet not enough for GnuTLS: no record is that long.
    if room.isEmpty { return -Int(EPROTO) }
    let count = await socket.receiveRaw(into: room)
    if count > 0 { session.addInput(count) }
    return count
  }

  // MARK: Sending

  /// Part of `message` or all of it, once the network has taken it: a count, or -errno.
  func send(_ message: UnsafeMutablePointer<msghdr>) async -> Int {
    guard let sealed = seal(message) else { return -Int(EPROTO) }
    return await flush() ? sealed : -Int(EPIPE)
  }

  /// As much of `message` as there is room for: a count; nil when the session has failed. Large pieces are sealed where they lie, small ones are
  /// gathered to whole records.
  private func seal(_ message: UnsafeMutablePointer<msghdr>) -> Int? {
    var sealed = 0
    var held = 0  // of `gathered`
    for index in 0..<message.pointee.msg_iovlen {
      let vector = message.pointee.msg_iov[index]
      var piece = UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len)
      while !piece.isEmpty {
        if held == 0 && piece.count >= gathered.count {
          guard let count = seal(piece) else { return nil }
          if count == 0 { return sealed }
          sealed += count
          piece = UnsafeRawBufferPointer(rebasing: piece[count...])
          continue
        }
        let count = min(piece.count, gathered.count - held)
        UnsafeMutableRawBufferPointer(rebasing: gathered[held..<held + count]).copyMemory(from: .init(rebasing: piece[..<count]))
        held += count
        piece = UnsafeRawBufferPointer(rebasing: piece[count...])
        if held == gathered.count {
          guard let count = seal(UnsafeRawBufferPointer(gathered)) else { return nil }
          sealed += count
          if count < held { return sealed }
          held = 0
        }
      }
    }
    if held > 0 {
      guard let count = seal(UnsafeRawBufferPointer(rebasing: gathered[..<held])) else { return nil }
      sealed += count
    }
    return sealed
  }

  /// One record: how much of it, 0 when there is no room, nil when the session has failed. It is less than all when the client has asked for shorter
  /// records.
  private func seal(_ bytes: UnsafeRawBufferPointer) -> Int? {
    switch session.seal(bytes) {
    case .moved(let count): count
    case .again: 0
    case .failed: nil
    }
  }

  func sendAll(_ bytes: [UInt8]) async -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      switch rest.withUnsafeBytes({ session.seal($0) }) {
      case .moved(let count): rest = rest.dropFirst(count)
      case .again: if !(await flush()) { return false }
      case .failed: return false
      }
    }
    return await flush()
  }

  /// Tells the client that nothing more comes.
  func sayGoodbye() async {
    session.sayGoodbye()
    _ = await flush()
  }

  /// Sends what was sealed; false when the network takes nothing any more.
  private func flush() async -> Bool {
    while true {
      let output = session.output
      if output.isEmpty { return true }
      let count = await socket.sendRaw(output)
      if count <= 0 { return false }
      session.removeOutput(count)
    }
  }
}

extension msghdr {
  /// Of its first `count` pieces.
  fileprivate func byteCount(before count: Int) -> Int { (0..<count).reduce(0) { $0 + msg_iov[$1].iov_len } }
}
