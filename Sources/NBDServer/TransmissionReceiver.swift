import CLinux
import Reactor

extension Transmission {
  /// The receiving task: reads requests and hands them to slots until no more can be read.
  func receive() async -> TransmissionEnd {
    let isExtended = style == .extended
    let headerByteCount = isExtended ? RequestHeader.extendedByteCount : RequestHeader.byteCount
    while true {
      let begunBefore = requestCount
      while staging.count >= headerByteCount, let bytes = staging.first {
        guard let request = isExtended ? RequestHeader.decodeExtended(bytes) : RequestHeader.decode(bytes) else { return .protocolBroken }
        staging.consume(headerByteCount)
        if let end = await begin(request) { return end }
      }
      if pacing.rests(after: Int(requestCount &- begunBefore), areAnswered: atWork == 0, at: reactor.now) {
        await reactor.sleep(until: reactor.now.advanced(nanoseconds: PacingLimits.restNanoseconds))
      }
      if isStopping { return .stopped }
      let count = await socket.receive(into: staging.room())
      if count <= 0 { return end(of: count) }
      staging.append(count)
    }
  }

  func end(of result: Int) -> TransmissionEnd {
    result == 0 ? .streamEnded : result == -Int(ECANCELED) && isStopping ? .stopped : .streamFailed
  }

  /// Starts a request, or queues its refusal; with a result when nothing can be read after it.
  private func begin(_ request: RequestHeader) async -> TransmissionEnd? {
    if rules.hasStatusPayload(request) { return await beginStatus(request) }
    let verdict = rules.judge(request, exportByteCount: device.geometry.byteCount)
    switch verdict {
    case .disconnect: return .disconnected
    case .unreadable: return .protocolBroken
    case .perform(let command):
      let slot = await takeSlot(byteCount: RequestRules.bufferByteCount(of: command, request))
      slot.header = request
      slot.command = command
      if command == .write, let end = await receivePayload(of: slot) {
        giveBack(slot)
        return end
      }
      // Waiting for a slot, for memory or for a buffer may have taken long.
      if requester.isGone {
        giveBack(slot)
        return .streamFailed
      }
      // What the read cache has is sent from its page: no task is woken for it, and nothing is copied.
      if command == .read, let slice = device.readInPlace(at: request.offset, byteCount: Int(request.length), template) {
        slot.payload = slice
        if style != .simple { slot.markWhole() }
        finish(slot)
      } else if command == .read && style != .simple && cutIntoParts(slot) {
        finish(slot)  // nothing but zeros
      } else {
        if command == .blockStatus { slot.metaContexts = rules.metaContexts }
        dispatch(slot)
      }
      return nil
    case .refuse(let error):
      return await answer(request, error)
    case .succeed:
      return await answer(request, .none)
    }
  }

  /// Answers a request that no device sees. A payload it brought is read all the same, so that the next header is found.
  func answer(_ request: RequestHeader, _ error: ReplyError) async -> TransmissionEnd? {
    if let end = await skip(rules.payloadByteCount(of: request)) { return end }
    return await answerAlone(request, error)
  }

  /// The same where nothing follows the header any more.
  func answerAlone(_ request: RequestHeader, _ error: ReplyError) async -> TransmissionEnd? {
    let slot = await takeSlot(byteCount: 0)
    slot.header = request
    slot.command = .flush  // any without data in its reply
    slot.error = error
    finish(slot)
    return nil
  }

  // MARK: Payloads

  /// Receives what is missing of a WRITE's payload straight into the buffer it is written from, and in the same receive what comes behind it.
  private func receivePayload(of slot: RequestSlot) async -> TransmissionEnd? {
    if requester.isGone { return .streamFailed }
    let slice = await reactor.buffers.acquire(byteCount: Int(slot.header.length))
    slot.payload = slice
    var filled = staging.take(upTo: slice.byteCount, to: slice.start)
    let isLarge = slice.byteCount >= WireLimits.largePayloadByteCount
    let tailByteCount = isLarge ? WireLimits.headersBehindLargePayload * RequestHeader.extendedByteCount : WireLimits.stagingByteCount
    receiving.begin(at: reactor.now)
    defer { receiving.end() }
    while filled < slice.byteCount {
      if isStopping { return .stopped }
      let rest = slice.part(from: filled, byteCount: slice.byteCount - filled).bytes
      staging.prepareMessage(payload: rest, tailByteCount: tailByteCount)
      let count = await socket.receive(staging.message)
      receiving.moved(count, at: reactor.now)
      if count <= 0 { return end(of: count) }
      let wanted = slice.byteCount - filled
      filled += min(count, wanted)
      if count > wanted { staging.append(count - wanted) }
    }
    return nil
  }

  private func skip(_ byteCount: UInt64) async -> TransmissionEnd? {
    var rest = byteCount - staging.drop(upTo: byteCount)
    if rest == 0 { return nil }
    let scrap = UnsafeMutableRawBufferPointer.allocate(byteCount: WireLimits.skipByteCount, alignment: 16)
    defer { scrap.deallocate() }
    receiving.begin(at: reactor.now)
    defer { receiving.end() }
    while rest > 0 {
      if isStopping { return .stopped }
      let piece = UnsafeMutableRawBufferPointer(rebasing: scrap[..<Int(min(rest, UInt64(scrap.count)))])
      let count = await socket.receive(into: piece)
      receiving.moved(count, at: reactor.now)
      if count <= 0 { return end(of: count) }
      rest -= UInt64(count)
    }
    return nil
  }
}
