import BlockDevice
import Reactor

/// Puts the chunks of a BLOCK_STATUS reply together, one a context, as they go out.
struct StatusWriter {
  private let memory: UnsafeMutableRawPointer
  private let style: MessageStyle
  private let header: RequestHeader
  private(set) var byteCount = 0

  /// `memory` holds `WireLimits.statusReplyByteCount` bytes, and lives as long as this.
  init(_ memory: UnsafeMutableRawPointer, _ style: MessageStyle, _ header: RequestHeader) {
    self.memory = memory
    self.style = style
    self.header = header
  }

  private var isExtended: Bool { style == .extended }

  /// Extents that lie side by side and have the same flags become one. None reaches beyond the request, and the first is always there.
  mutating func append(_ context: MetaContext, _ extents: [BlockExtent], isLast: Bool) {
    let chunk = memory + byteCount
    let payload = chunk + ChunkHeader.byteCount(style)
    let descriptors = payload + (isExtended ? 8 : 4)
    let most = header.flags.contains(.requestOne) ? 1 : WireLimits.statusExtents
    var count = 0
    var rest = header.length
    var length: UInt64 = 0
    var flags: UInt64 = 0
    for extent in extents where rest > 0 && extent.byteCount > 0 {
      let part = min(extent.byteCount, rest)
      let partFlags = self.flags(extent, context)
      if length > 0 && partFlags != flags {
        if count + 1 == most { break }
        store(length, flags, descriptors, count)
        count += 1
        length = 0
      }
      flags = partFlags
      length += part  // within the request's length
      rest -= part
    }
    if length == 0 { (length, flags) = (rest, 0) }  // nothing is known of it
    store(length, flags, descriptors, count)
    count += 1
    let payloadByteCount = (isExtended ? 8 : 4) + count * (isExtended ? 16 : 8)
    payload.storeBytes(of: context.rawValue.bigEndian, as: UInt32.self)
    if isExtended { payload.storeBytes(of: UInt32(truncatingIfNeeded: count).bigEndian, toByteOffset: 4, as: UInt32.self) }
    let type = isExtended ? ChunkType.blockStatusExtended : .blockStatus
    ChunkHeader.store(type, style, header, payloadByteCount: payloadByteCount, isLast: isLast, at: chunk)
    byteCount += ChunkHeader.byteCount(style) + payloadByteCount
  }

  private func store(_ length: UInt64, _ flags: UInt64, _ descriptors: UnsafeMutableRawPointer, _ index: Int) {
    if isExtended {
      descriptors.storeBytes(of: length.bigEndian, toByteOffset: index * 16, as: UInt64.self)
      descriptors.storeBytes(of: flags.bigEndian, toByteOffset: index * 16 + 8, as: UInt64.self)
    } else {
      // A compact request is no longer than 32 bits say, and flags are made to fit.
      descriptors.storeBytes(of: UInt32(truncatingIfNeeded: length).bigEndian, toByteOffset: index * 8, as: UInt32.self)
      descriptors.storeBytes(of: UInt32(truncatingIfNeeded: flags).bigEndian, toByteOffset: index * 8 + 4, as: UInt32.self)
    }
  }

  private func flags(_ extent: BlockExtent, _ context: MetaContext) -> UInt64 {
    switch context {
    case .allocation:
      (extent.isAllocated ? 0 : AllocationState.hole) | (extent.isZero ? AllocationState.zero : 0)
    case .slab:
      // 0 is nobody's id. An id that is too long for a compact reply says so, and never looks like another's.
      isExtended ? extent.row ?? 0 : min(extent.row ?? 0, UInt64(UInt32.max))
    }
  }
}

/// What a BLOCK_STATUS with a payload asks for: 64 bits of length, then context ids of 32 bits.
enum StatusPayload {
  /// Bytes of those that may be right: at least one id, none twice.
  static func byteCounts(_ contexts: MetaContextSet) -> ClosedRange<UInt64> { 12...8 + 4 * UInt64(max(1, contexts.count)) }

  /// nil for an id that was not negotiated, or comes twice, or is cut off.
  static func decode(_ bytes: UnsafeRawBufferPointer, of negotiated: MetaContextSet) -> (length: UInt64, contexts: MetaContextSet)? {
    var reader = WireReader(bytes)
    guard let length = reader.integer(UInt64.self) else { return nil }
    var contexts: MetaContextSet = []
    while !reader.isAtEnd {
      guard let id = reader.integer(UInt32.self), let context = MetaContext(rawValue: id), negotiated.contains(context),
        !contexts.contains(context)
      else { return nil }
      contexts.insert(MetaContextSet(context))
    }
    return contexts.isEmpty ? nil : (length, contexts)
  }
}

extension Transmission {
  /// Asks the device once for each context, and makes the whole reply before any of it is sent.
  func tellStatus(_ slot: RequestSlot) async throws(BlockError) {
    let slice = await reactor.buffers.acquire(byteCount: WireLimits.statusReplyByteCount)
    slot.payload = slice
    var writer = StatusWriter(slice.start, style, slot.header)
    let limit = slot.header.flags.contains(.requestOne) ? 1 : WireLimits.statusExtents
    // One list a connection is kept: a list for each slot would be memory that a client could make the server keep.
    var extents: [BlockExtent] = []
    swap(&extents, &spareExtents)
    defer { spareExtents = extents }
    var left = slot.metaContexts.count
    for context in MetaContext.allCases where slot.metaContexts.contains(context) {
      extents.removeAll(keepingCapacity: true)
      try await device.blockStatus(
        at: slot.header.offset, byteCount: slot.header.length, limit: limit, byRow: context == .slab, into: &extents, template)
      left -= 1
      writer.append(context, extents, isLast: left == 0)
    }
    slot.payload = slice.part(from: 0, byteCount: writer.byteCount)
  }

  /// A BLOCK_STATUS that says in a payload what it asks for.
  func beginStatus(_ request: RequestHeader) async -> TransmissionEnd? {
    let payloadByteCount = Int(request.length)  // a few bytes: `StatusPayload.byteCounts`
    receiving.begin(at: reactor.now)
    defer { receiving.end() }
    while staging.count < payloadByteCount {
      if isStopping { return .stopped }
      let count = await socket.receive(into: staging.room())
      receiving.moved(count, at: reactor.now)
      if count <= 0 { return end(of: count) }
      staging.append(count)
    }
    let asked = StatusPayload.decode(UnsafeRawBufferPointer(start: staging.first, count: payloadByteCount), of: rules.metaContexts)
    staging.consume(payloadByteCount)
    guard let asked else { return await answerAlone(request, .badStatusPayload) }
    var request = request
    request.flags.remove(.payloadLength)
    request.length = asked.length
    switch rules.judge(request, exportByteCount: device.geometry.byteCount) {
    case .perform:
      let slot = await takeSlot(byteCount: WireLimits.statusReplyByteCount)
      slot.header = request
      slot.command = .blockStatus
      slot.metaContexts = asked.contexts
      if requester.isGone {
        giveBack(slot)
        return .streamFailed
      }
      dispatch(slot)
      return nil
    case .refuse(let error): return await answerAlone(request, error)
    case .succeed: return await answerAlone(request, .none)
    case .disconnect, .unreadable: return .protocolBroken
    }
  }
}
