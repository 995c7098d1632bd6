import Reactor

extension Transmission {
  /// The sending task: gathers every reply that is ready into one send, and frees their slots.
  func send() async {
    while true {
      if ready.isEmpty {
        if hasReceivedAll && inFlight == 0 { return }
        await withUnsafeContinuation { waitingSender = $0 }
        continue
      }
      while !batch.isFull, let slot = ready.popFirst() { batch.append(slot) }
      if !requester.isGone { await sendBatch() }
      for slot in batch.slots { giveBack(slot) }
      // Now, not before the next: a slot that lives on in here keeps a page of the heap from going back when the connection falls idle.
      batch.clear()
    }
  }

  private func sendBatch() async {
    sending.begin(at: reactor.now)
    defer { sending.end() }
    while batch.prepare() {
      let count = await socket.send(batch.message)
      sending.moved(count, at: reactor.now)
      if count <= 0 {
        requester.isGone = true
        socket.abort()  // so that the receiver learns of it; requests in flight are finished and their replies dropped
        return
      }
      batch.advance(count)
    }
  }
}
