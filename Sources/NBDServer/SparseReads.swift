import BlockDevice
import Reactor

// READs whose replies have chunks: what reads as zeros by the map alone needs neither disk nor buffer.

extension RequestSlot {
  /// All of a READ is data.
  @inline(__always)
  func markWhole() {
    parts.removeAll(keepingCapacity: true)
    if parts.capacity == 0 { parts.reserveCapacity(WireLimits.readParts) }
    parts.append(ReadPart(offset: header.offset, byteCount: header.length, isZero: false))
    payloadOffset = header.offset
  }
}

extension Transmission {
  /// Cuts a READ into stretches of data and of zeros, unless the client wants it in one. True when it is zeros from end to end.
  func cutIntoParts(_ slot: RequestSlot) -> Bool {
    slot.markWhole()
    let end = slot.header.offset + slot.header.length  // judged: within the export
    var run = device.zeroRun(at: slot.header.offset, byteCount: slot.header.length)
    if run.byteCount == slot.header.length {
      slot.parts[0].isZero = run.isZero
      return run.isZero
    }
    if slot.header.flags.contains(.dontFragment) { return false }
    slot.parts.removeAll(keepingCapacity: true)
    var position = slot.header.offset
    while true {
      // What does not fit in the last part is read, zeros or not.
      let isZero = run.isZero && (slot.parts.count < WireLimits.readParts - 1 || slot.parts.last?.isZero == true)
      if let last = slot.parts.last, last.isZero == isZero {
        slot.parts[slot.parts.count - 1].byteCount += run.byteCount
      } else {
        slot.parts.append(ReadPart(offset: position, byteCount: run.byteCount, isZero: isZero))
      }
      position += run.byteCount
      if position >= end { break }
      run = device.zeroRun(at: position, byteCount: end - position)
    }
    return slot.parts.count == 1 && slot.parts[0].isZero
  }

  /// Bytes from the first data to the last: what a buffer has to hold.
  func dataSpan(of slot: RequestSlot) -> Int {
    guard let first = slot.parts.first(where: { !$0.isZero }), let last = slot.parts.last(where: { !$0.isZero }) else { return 0 }
    slot.payloadOffset = first.offset
    return Int(last.offset + last.byteCount - first.offset)
  }

  func readParts(of slot: RequestSlot, into slice: BufferSlice) async throws(BlockError) {
    for index in slot.parts.indices where !slot.parts[index].isZero {
      let part = slot.parts[index]
      slot.errorOffset = part.offset
      let place = slice.part(from: Int(part.offset - slot.payloadOffset), byteCount: Int(part.byteCount))
      try await device.read(at: part.offset, into: place, template)
    }
    slot.errorOffset = nil
  }
}
